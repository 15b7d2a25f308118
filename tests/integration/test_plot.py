"""hindcast dataset inspect --plot: an SVG that a parser reads, with what the logs hold."""

import csv
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np

import logs
from processes import BINARIES

SVG = "{http://www.w3.org/2000/svg}"


def inspect(*arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "dataset", "inspect", *map(str, arguments)], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(path):
    """(texts, rectangles as (x, y, width, height, fill)) of a picture, all inside of it."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == SVG + "svg"
    width, height = float(root.get("width")), float(root.get("height"))
    assert 800 <= width <= 1200 and 300 < height < 20000
    texts = [element.text for element in root.iter(SVG + "text")]
    boxes = [tuple(float(element.get(key)) for key in ("x", "y", "width", "height")) + (element.get("fill"),)
             for element in root.iter(SVG + "rect") if element.get("x") is not None]
    for x, y, w, h, _ in boxes:
        assert x >= 0 and y >= 0 and x + w <= width + 0.2 and y + h <= height + 0.2
    for element in root.iter(SVG + "text"):
        assert 0 <= float(element.get("x")) <= width and 0 < float(element.get("y")) <= height
        assert int(element.get("font-size")) >= 10
    return texts, boxes


def test_what_the_logs_hold_is_drawn(tmp_path):
    episodes = [logs.episode(i, T) for i, T in enumerate([5, 30, 12, 64])]
    for one in episodes:
        one["observations"][:, 3] = 2.5
        one["observations"][:, 4] *= 1e4
        one["actions"][::2, 1] = 1
    logs.write_dataset(tmp_path / "a<b>&c", [episodes])
    inspect(f"--plot={tmp_path / 'p.svg'}", tmp_path / "a<b>&c")
    texts, boxes = read(tmp_path / "p.svg")
    assert any("a<b>&c" in text for text in texts)
    assert "4 episodes, 111 transitions" in texts
    returns = [float(one["rewards"].astype(np.float64).sum()) for one in episodes]
    assert any(text.startswith(f"return, run: median {sorted(returns)[2]:.4g}") for text in texts)
    assert any(text.startswith("length in transitions: median 30") for text in texts)
    rows = np.concatenate([one["observations"] for one in episodes])
    for i, name in enumerate(["position[0]", "position[7]", "velocity[8]"]):
        column = (0, 7, 16)[i]
        at = texts.index(name)
        low, high = (float(f"{value:.3g}") for value in (rows[:, column].min(), rows[:, column].max()))
        assert texts[at + 1] == f"{low:.3g} .. {high:.3g}, std {rows[:, column].astype(np.float64).std():.3g}"
    assert texts[texts.index("position[3]") + 1] == "2.5 .. 2.5, constant 2.5"
    at_limit = np.mean(np.concatenate([np.abs(one["actions"][:, 1]) >= 1 - 1e-6 for one in episodes]))
    assert f"action 1: {100 * at_limit:.1f}% at its limits" in texts
    assert sum(text.startswith("action ") for text in texts) == logs.A
    assert "times are not logged" in texts
    # What is constant or at a limit is red: one observation, one end of one action (and the few by chance).
    assert sum(fill == "#c0392b" for *_, fill in boxes) >= 2


def test_gaps_are_drawn(tmp_path):
    with open(tmp_path / "run.csv", "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "q", "tau", "reward"])
        for t in range(30):
            writer.writerow([t * 0.02 + (t > 9) * 0.5 + (t > 19) * 100, t, t % 3 - 1, 1])
    mapping = tmp_path / "m.yaml"
    mapping.write_text("format: csv\ncontrol_period_s: 0.02\nepisodes: {by: recording}\nobservation: {q: q}\n"
                       "last_observation: none\naction: {columns: tau, min: [-1], max: [1]}\n"
                       "rewards: {reward: reward}\ntime: t\n")
    said = inspect(f"--mapping={mapping}", f"--plot={tmp_path / 'p.svg'}", tmp_path / "run.csv")
    assert "time gaps: 2 intervals" in said
    texts, _ = read(tmp_path / "p.svg")
    assert any(text.startswith("2 gaps, the longest 100.02 s") for text in texts)
    assert texts[texts.index("10 to 30 periods") + 1] == "1" and texts[texts.index("longer") + 1] == "1"


def test_wrong_names_and_empty_logs(tmp_path):
    assert "expected the name of an .svg file" in inspect("--plot=p.png", tmp_path, status=2)
    bad = logs.episode(0, 5)
    bad["observations"][:] = np.nan
    logs.write_dataset(tmp_path / "logs", [[bad]])
    assert "there is no good episode" in inspect(f"--plot={tmp_path / 'p.svg'}", tmp_path / "logs", status=1)
    assert not (tmp_path / "p.svg").exists()
