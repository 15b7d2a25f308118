"""Layouts of research datasets: ExORL's npz files and RL Unplugged's TFRecord files, value for value."""

import json
import subprocess

import h5py
import numpy as np
import pytest

import tfrecords
from processes import BINARIES

LENGTHS = [12, 1, 40, 7]


def dataset(*arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "dataset", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def episode(number, T, terminated=False):
    random = np.random.default_rng(number)
    discount = np.ones(T, np.float32)
    discount[-1] = 0 if terminated else 1
    return {"position": random.standard_normal((T + 1, 3)).astype(np.float32),
            "velocity": random.standard_normal((T + 1, 2)).astype(np.float32),
            "action": random.uniform(-1, 1, (T, 2)).astype(np.float32),
            "reward": random.random(T).astype(np.float32), "discount": discount}


def imported(folder):
    metadata = json.loads((folder / "metadata.json").read_text())
    episodes = []
    for shard in metadata["shards"]:
        with h5py.File(folder / shard["file"]) as file:
            for name in sorted(file, key=lambda one: int(one.split("_")[1])):
                group = file[name]
                parts = group["observations"]
                parts = {"observation": parts[()]} if isinstance(parts, h5py.Dataset) else \
                    {part: parts[part][()] for part in parts}
                episodes.append((parts, group["actions"][()], group["rewards"][()], group["terminations"][()]))
    return metadata, episodes


def check(folder, episodes, whole=False):
    metadata, ours = imported(folder)
    assert len(ours) == len(episodes)
    slices = [part["name"] for part in metadata["signature"]["observation"]]
    for (parts, actions, rewards, terminations), one in zip(ours, episodes):
        if whole:
            expected = np.concatenate([one["position"], one["velocity"]], 1)
            assert np.array_equal(np.concatenate([parts[name] for name in slices], 1), expected)
        else:
            # One array where there are several slices has them side by side.
            expected = np.concatenate([one[name] for name in slices], 1)
            found = np.concatenate([parts[name] for name in slices], 1) if len(parts) > 1 else next(iter(parts.values()))
            assert slices == ["position", "velocity"] and np.array_equal(found, expected)
        np.testing.assert_allclose(actions, one["action"], rtol=0, atol=1e-6)
        assert np.array_equal(rewards.ravel(), one["reward"])
        assert terminations.tolist() == [False] * (len(one["reward"]) - 1) + [one["discount"][-1] == 0]


# ---- ExORL ----

def write_exorl(folder, episodes, **changes):
    """As ExORL's replay buffer saves episodes: every array has a row for the reset, with a dummy action."""
    folder.mkdir()
    for number, one in enumerate(episodes):
        T = len(one["reward"])
        arrays = {"observation": np.concatenate([one["position"], one["velocity"]], 1),
                  "action": np.concatenate([np.zeros((1, 2), np.float32), one["action"]]),
                  "reward": np.concatenate([[0], one["reward"]]).astype(np.float32)[:, None],
                  "discount": np.concatenate([[1], one["discount"]]).astype(np.float32)[:, None],
                  "physics": np.zeros((T + 1, 18))}
        with open(folder / f"episode_{number:06}_{T}.npz", "wb") as file:
            np.savez_compressed(file, **(arrays | changes))
    return folder


def test_exorl(tmp_path):
    episodes = [episode(number, T, terminated=number == 2) for number, T in enumerate(LENGTHS)]
    source = write_exorl(tmp_path / "logs", episodes)
    mapped = dataset("map", source)
    assert "the layout of ExORL" in mapped and '"physics" is left out' in mapped and "  row: next\n" in mapped
    dataset("import", f"--to={tmp_path / 'a'}", source)
    check(tmp_path / "a", episodes, whole=True)
    # The proposal is a mapping file; a control period makes it complete.
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(mapped.replace("control_period_s: 0\n", "control_period_s: 0.02\n"))
    dataset("import", f"--to={tmp_path / 'b'}", f"--mapping={mapping}", source)
    check(tmp_path / "b", episodes, whole=True)
    assert imported(tmp_path / "b")[0]["signature"]["control_period_s"] == 0.02
    # The restorer and inspect read it without a question.
    assert "episodes     4 (1 end by termination), 0 bad" in dataset("inspect", source)


def test_a_first_action_is_no_dummy_everywhere(tmp_path):
    """An action other than 0 in the first row: not ExORL's layout, so the general rules count."""
    source = write_exorl(tmp_path / "logs", [episode(0, 5)], action=np.ones((6, 2)))
    assert "the layout of ExORL" not in dataset("map", source)


# ---- TFRecord ----

def steps(one):
    """RL Unplugged's control suite: each Example has two steps; one more ends the episode."""
    T = len(one["reward"])
    for t in range(T):
        last = t + 1 == T
        two = {f"observation/{name}": one[name][t:t + 2] for name in ("position", "velocity")}
        two |= {name: np.stack([one[name][t], np.zeros_like(one[name][t]) if last else one[name][t + 1]])
                for name in ("action", "reward", "discount")}
        yield two | {"step_type": np.array([0 if t == 0 else 1, 2 if last else 1])}
    yield {name: values[-1:] for name, values in (("observation/position", one["position"]),
                                                  ("observation/velocity", one["velocity"]),
                                                  ("action", one["action"]), ("reward", one["reward"]),
                                                  ("discount", one["discount"]))} | {"step_type": np.array([2])}


def sarsa(one):
    T = len(one["reward"])
    for t in range(T):
        yield {f"o_tm1/{name}": one[name][t] for name in ("position", "velocity")} | \
            {f"o_t/{name}": one[name][t + 1] for name in ("position", "velocity")} | \
            {"a_tm1": one["action"][t], "r_t": one["reward"][t:t + 1], "d_t": one["discount"][t:t + 1],
             "a_t": one["action"][min(t + 1, T - 1)]}


@pytest.mark.parametrize("layout", [steps, sarsa])
def test_tfrecords(tmp_path, layout):
    episodes = [episode(number, T, terminated=number == 2) for number, T in enumerate(LENGTHS)]
    source = tmp_path / "logs"
    source.mkdir()
    tfrecords.write(source / "dataset-00000-of-00002", [x for one in episodes[:2] for x in layout(one)])
    tfrecords.write(source / "dataset-00001-of-00002", [x for one in episodes[2:] for x in layout(one)])
    mapped = dataset("map", source)
    assert "format: tfrecord" in mapped and 'by: column, column: "episode"' in mapped
    assert 'terminated: {column: "discount", row: same, below: 0.5}' in mapped
    dataset("import", f"--to={tmp_path / 'out'}", source)
    check(tmp_path / "out", episodes)


def test_images_are_left_out(tmp_path):
    one = episode(0, 5)
    path = tmp_path / "log"
    tfrecords.write(path, [two | {"observation/pixels": [b"\x00" * 30, b"\x01" * 30]} for two in list(steps(one))[:-1]])
    assert 'column "observation/pixels" is left out: it holds images' in dataset("map", path)
    dataset("import", f"--to={tmp_path / 'out'}", path)
    check(tmp_path / "out", [one])


def test_damaged_records_are_refused(tmp_path):
    one = episode(0, 5)
    path = tmp_path / "log"
    tfrecords.write(path, list(steps(one)))
    good = path.read_bytes()
    second = len(tfrecords.record(tfrecords.example(list(steps(one))[0])))
    for name, bad, word in (
            ("data", good[:second + 20] + bytes([good[second + 20] ^ 1]) + good[second + 21:],
             "record 1: its checksum is wrong"),
            ("length", good[:second] + bytes([good[second] ^ 1]) + good[second + 1:],
             "record 1: the checksum of its length is wrong"),
            ("cut", good[:-30], "but the file ends after"),
            ("tail", good + b"\x00" * 5, "the file ends within a record"),
            ("message", good + tfrecords.record(b"\xff" * 9), "record 6: is not a tf.train.Example"),
            ("other", good + tfrecords.record(tfrecords.example({"x": np.ones(2)})), "record 6: no feature is called reward"),
            ("size", good + tfrecords.record(tfrecords.example(list(steps(one))[0] | {"action": np.ones(3)})),
             "record 6: feature action: 3 numbers, expected 4")):
        path.write_bytes(bad)
        said = dataset("import", f"--to={tmp_path / name}", path, status=1)
        assert word in said and str(path) in said, said


def test_gzip_is_refused_with_the_way_on(tmp_path):
    path = tmp_path / "log.gz"
    path.write_bytes(b"\x1f\x8b\x08" + b"\x00" * 40)
    assert "is compressed with gzip: unpack it first (gunzip)" in dataset("map", path, status=1)
