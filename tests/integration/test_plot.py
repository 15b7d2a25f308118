"""hindcast dataset inspect --plot and hindcast plot: SVGs that a parser reads, with what logs and runs hold."""

import csv
import json
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import PIL.Image
import pytest

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


# ---- hindcast plot ----

def plot(*arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "plot", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_run(folder, steps, returns, losses=(1.0, 0.5)):
    folder.mkdir(parents=True)
    with open(folder / "evaluator.jsonl", "w", encoding="ascii") as file:
        for step, value in zip(steps, returns):
            file.write(json.dumps({"learner_step": step, "time": 1000 + 3.6 * step, "return_mean": value,
                                   "tasks": [{"task": "run", "mean": value}]}) + "\n")
    with open(folder / "learner.jsonl", "w", encoding="ascii") as file:
        for i, value in enumerate(losses):
            file.write(json.dumps({"step": 10 * i, "time": 1000 + i, "critic_loss": value}) + "\n")


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_run_is_drawn_and_written_as_it_is(tmp_path):
    steps, returns = [0, 100, 300], [1.5, 20.25, 10]
    write_run(tmp_path / "a<b", steps, returns)
    (tmp_path / "a<b" / "restorer.json").write_text(json.dumps({"returns": {"run": {"mean": 5, "max": 25}}}))
    plot(tmp_path / "a<b", f"--out={tmp_path / 'p.csv'}")
    header, *lines = rows(tmp_path / "p.csv")
    assert header == ["run", "seeds", "learner_step", "return_mean", "lowest", "highest"]
    assert [[float(x) for x in line[2:4]] for line in lines] == [list(pair) for pair in zip(steps, returns)]
    plot(tmp_path / "a<b/", "--axis=hours", f"--out={tmp_path / 'p.svg'}")
    texts, _ = read(tmp_path / "p.svg")
    assert "hours" in texts and "return_mean" in texts
    assert "a<b: 10 at the end (dashes: logs, mean 5, best 25)" in texts
    lines = [line.get("points").split() for line in ElementTree.parse(tmp_path / "p.svg").getroot().iter(SVG + "polyline")]
    assert max(map(len, lines)) == 3
    plot(tmp_path / "a<b", "--axis=hours", f"--out={tmp_path / 'h.csv'}")
    assert [float(line[2]) for line in rows(tmp_path / "h.csv")[1:]] == pytest.approx([0, 0.1, 0.3])


def test_logs_that_runs_share_are_drawn_once(tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / name, [0, 100], [1, 2])
        (tmp_path / name / "restorer.json").write_text(json.dumps({"returns": {"run": {"mean": 5, "max": 25}}}))

    def levels():
        root = ElementTree.parse(tmp_path / "p.svg").getroot()
        return [line for line in root.iter(SVG + "polyline") if line.get("stroke-dasharray")]

    plot(tmp_path / "one", tmp_path / "two", f"--out={tmp_path / 'p.svg'}")
    texts, _ = read(tmp_path / "p.svg")
    assert {"one: 2 at the end", "two: 2 at the end", "logs: mean 5, best 25"} <= set(texts)
    assert len(levels()) == 3  # two in the picture, one in the legend
    (tmp_path / "two" / "restorer.json").write_text(json.dumps({"returns": {"run": {"mean": 5, "max": 26}}}))
    plot(tmp_path / "one", tmp_path / "two", f"--out={tmp_path / 'p.svg'}")
    assert "two: 2 at the end (dashes: logs, mean 5, best 26)" in read(tmp_path / "p.svg")[0] and len(levels()) == 4


def test_a_picture(tmp_path):
    write_run(tmp_path / "a", [0, 100, 300], [1.5, 20.25, 10])
    plot(tmp_path / "a", f"--out={tmp_path / 'p.png'}")
    picture = np.asarray(PIL.Image.open(tmp_path / "p.png").convert("RGB"), int)
    assert picture.shape[1] > 1000 and (picture.min(axis=-1) > 240).mean() > 0.5  # mostly white
    colours = np.abs(picture - picture.mean(axis=-1, keepdims=True)).max(axis=-1) > 40
    assert 0.0003 < colours.mean() < 0.2  # the curve
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "p.png"]
    done = subprocess.run([BINARIES["hindcast"], "plot", tmp_path / "a", f"--out={tmp_path / 'q.png'}"], text=True,
                          env={"PATH": "/nowhere"}, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1 and "librsvg2-bin" in done.stderr and not (tmp_path / "q.png").exists()


def test_seeds_are_averaged_where_all_have_values(tmp_path):
    write_run(tmp_path / "sweep" / "seed-1", [0, 100, 200], [0, 10, 20])
    write_run(tmp_path / "sweep" / "seed-2", [50, 150, 250], [0, 30, 30])
    write_run(tmp_path / "sweep" / "seed-3", [], [], losses=[])
    write_run(tmp_path / "one", [0, 250], [7, 8])
    plot(tmp_path / "sweep", tmp_path / "one", f"--out={tmp_path / 'p.csv'}")
    lines = [line for line in rows(tmp_path / "p.csv")[1:] if line[0] == "sweep"]
    x, mean, low, high = np.array([[float(value) for value in line[2:]] for line in lines]).T
    assert {line[1] for line in lines} == {"2"} and x[0] == 50 and x[-1] == 200
    first, second = np.interp(x, [0, 100, 200], [0, 10, 20]), np.interp(x, [50, 150, 250], [0, 30, 30])
    np.testing.assert_allclose(mean, (first + second) / 2)
    np.testing.assert_allclose(low, np.minimum(first, second))
    np.testing.assert_allclose(high, np.maximum(first, second))
    plot(tmp_path / "sweep", tmp_path / "one", f"--out={tmp_path / 'p.svg'}")
    texts, _ = read(tmp_path / "p.svg")
    assert any(text.startswith("sweep, 2 seeds: 25 at the end") for text in texts) and "one: 8 at the end" in texts
    assert len(list(ElementTree.parse(tmp_path / "p.svg").getroot().iter(SVG + "polygon"))) == 1


def test_other_columns_and_wrong_names(tmp_path):
    write_run(tmp_path / "a", [0, 1], [2, 3])
    plot(tmp_path / "a", "--column=critic_loss", f"--out={tmp_path / 'p.csv'}")
    assert [line[3] for line in rows(tmp_path / "p.csv")[1:]] == ["1", "0.5"]
    said = plot(tmp_path / "a", "--column=critic_los", f"--out={tmp_path / 'q.svg'}", status=1)
    assert "no column critic_los; there are: learner_step, time, return_mean, tasks/run/mean, step" in said
    assert not (tmp_path / "q.svg").exists()
    (tmp_path / "nothing").mkdir()
    assert "no column return_mean; there are: none yet" in plot(tmp_path / "nothing", status=1)
    assert "no such run" in plot(tmp_path / "nowhere", status=1)
    for wrong in ([], [tmp_path / "a", "--axis=days"], [tmp_path / "a", "--what"]):
        assert "usage" in plot(*wrong, status=2)
