"""Tests the parts of the soak test: growth is detected, and a store's map is distinguished from other memory.

The soak test itself takes long: tests/all/soak.
"""

import mmap
import os
import pathlib
import random
import sys
import xml.etree.ElementTree

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "soak"))
import judge  # noqa: E402
import plot  # noqa: E402
import watch  # noqa: E402

MIB = 1 << 20
MINUTES = 10


def steady(changes=None):
    """Ten minutes of noisy samples that rise at first and then stay. `changes`: {name: f(s) added at second s}."""
    chance = random.Random(3)
    samples = []
    for s in range(0, 60 * MINUTES + 1, 5):
        one = {"s": float(s), "store.file": 40 * MIB * min(1, s / 200), "store.removed": s // 2,
               "restorer.pass": s // 60, "store.used": 39 * MIB, "call_lag": 0.002,
               "learner.step": 100 * s, "evaluator.step": 100 * s}
        for role in judge.ROLES:
            one[f"{role}.memory"] = (30 + min(20, s / 10) + chance.uniform(-2, 2)) * MIB
            one[f"{role}.map"], one[f"{role}.loop_lag"] = 40 * MIB, chance.uniform(0, 0.001)
            one[f"{role}.fds"], one[f"{role}.threads"] = 20 + (chance.random() < 0.2), 12
            one[f"{role}.work"] = 7 * s
        for kind in ("insert", "sample", "unary"):
            for quantile, high in (("p10", 0.8), ("p50", 2), ("p99", 90)):
                one[f"{kind}.{quantile}"] = chance.uniform(high / 2, high)
        for name, added in (changes or {}).items():
            one[name] += added(s)
        samples.append(one)
    return samples


def failures(samples):
    return [text for right, text in judge.judge(samples) if not right]


def test_a_steady_run_passes():
    assert failures(steady()) == []


@pytest.mark.parametrize("name, added, words", [
    ("learner.memory", lambda s: 12e3 * s, "learner: memory"),              # 3.4 MiB in the second half
    ("collector.fds", lambda s: s // 60, "collector: fds"),
    ("restorer.threads", lambda s: s // 120, "restorer: threads"),
    ("store.file", lambda s: 0.02 * MIB * s, "store: file"),
    ("store.file", lambda s: 100 * MIB * (s == 400), "store: file"),
    ("unary.p10", lambda s: 0.012 * s, "client: unary"),
    ("evaluator.work", lambda s: -7 * max(0, s - 500), "evaluator: "),     # no work after 500 s
    ("store.removed", lambda s: -(s // 2), "store: 0 episodes"),
])
def test_growth_and_stalls_are_found(name, added, words):
    [found] = failures(steady({name: added}))
    assert found.startswith(words), found


def test_the_plot_is_valid_svg():
    root = xml.etree.ElementTree.fromstring(plot.page(steady()))
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) > 20
    for line in lines:
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= plot.WIDTH and 0 <= y <= plot.HEIGHT


def test_the_store_map_is_not_counted_as_memory(tmp_path):
    other, store = watch.memory_of(os.getpid())
    assert other > 10 * MIB and store == 0
    path = tmp_path / "data.mdb"
    with open(path, "wb") as file:
        file.truncate(128 * MIB)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[i] for i in range(0, len(mapped), 4096)) == 0
        with_map, store = watch.memory_of(os.getpid())
    assert store == 128 * MIB and abs(with_map - other) < 64 * MIB
    assert watch.fds_of(os.getpid()) > 2 and watch.threads_of(os.getpid()) >= 1
