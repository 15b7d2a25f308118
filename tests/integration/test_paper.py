"""experiments/paper: its statistics against their definitions, and the whole command on tiny runs, with an interruption."""

import csv
import itertools
import json
import os
import signal
import statistics
import sys

import numpy as np
import pytest

from processes import BUILD, ROOT, wait_until

sys.path.insert(0, str(ROOT / "experiments/paper"))
import scores  # noqa: E402


def test_interquartile_mean_is_numpys_mean_of_the_middle():
    rng = np.random.default_rng(1)
    for n in (1, 3, 4, 7, 50):
        values = rng.normal(size=n)
        middle = np.sort(values)[n // 4 : n - n // 4]
        assert scores.interquartile_mean(list(values)) == pytest.approx(middle.mean())


def test_probability_of_improvement_counts_pairs_of_runs():
    x = {"a": [[1, 3], [5, 5]], "b": [[0], [1]]}
    y = {"a": [[2], [4, 4]], "b": [[1], [1]]}
    # a: runs of x score 2 and 5, of y 2 and 4: one tie, one loss, two wins. b: 0 and 1 against 1 and 1.
    assert scores.probability_of_improvement(x, y) == pytest.approx(((0.5 + 0 + 1 + 1) / 4 + (0 + 0 + 0.5 + 0.5) / 4) / 2)
    assert scores.probability_of_improvement(y, x) == pytest.approx(1 - scores.probability_of_improvement(x, y))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Runs differ by N(0, 1), episodes within a run by N(0, 2): the mean over runs is 10."""
    rng = np.random.default_rng(2)
    covered = []
    for seed in range(60):
        runs = [list(10 + rng.normal() + 2 * rng.normal(size=20)) for _ in range(20)]
        low, high = scores.interval(scores.of_runs, {"a": runs}, seed=seed)
        assert low < scores.of_runs({"a": runs}) < high
        covered.append(low < 10 < high)
    assert statistics.fmean(covered) > 0.8


def test_an_interval_is_within_a_domain():
    """Strata are domains: a run of one never takes the place of a run of the other."""
    low, high = scores.interval(scores.of_runs, {"a": [[0.0]] * 4, "b": [[100.0]] * 4})
    assert (low, high) == (50, 50)


def read_csv(path):
    comments, rows = [], []
    with open(path, newline="") as file:
        for line in file:
            (comments if line.startswith("#") else rows).append(line)
    return comments, list(csv.DictReader(rows))


def test_the_command_goes_on_where_it_was_stopped_and_reports_what_its_runs_made(workspace, monkeypatch):
    monkeypatch.setenv("BUILD", os.path.relpath(BUILD, ROOT))
    made, docs = workspace.folder / "made", workspace.folder / "docs"
    command = [ROOT / "experiments/paper/run", "--scale=0.005", "--steps=80", "--only=cheetah", "--seeds=1",
               "--data-seeds=1,2", "--figure=6,9", "--nice=0", f"--run-dir={made}", f"--write={docs}", "--",
               "--learner.widths=16,16", "--evaluator.episodes=3", "--evaluator.window_episodes=1"]
    first = workspace.start_command("paper", *command)
    wait_until(lambda: (made / "cheetah/online/seed-1/summary.json").exists(), "the first online run", alive=first)
    first.signal(signal.SIGTERM)
    assert first.wait(20) == 1
    wait_until(lambda: workspace.living() == [], "the processes of the command to end")
    summary = made / "cheetah/online/seed-1/summary.json"
    written = summary.stat().st_mtime_ns
    workspace.start_command("paper", *command).succeed(200)
    assert summary.stat().st_mtime_ns == written

    comments, rows = read_csv(docs / "cheetah.csv")
    assert comments[0].startswith("# experiments/paper/run --scale=0.005") and comments[1].startswith("# commit ")
    assert [(row["quality"], row["algorithm"], row["policy"]) for row in rows] == list(itertools.product(
        ("high", "low"), ("bm", "abm", "bm+mpo", "abm+mpo"), ("best", "last")))
    assert all(row["episodes"] == "3" and row["steps"] == "80" for row in rows)
    _, online = read_csv(docs / "cheetah-online.csv")
    assert [(row["seed"], row["episode"]) for row in online] == [(str(s), str(e + 1)) for s in (1, 2) for e in range(5)]
    _, shards = read_csv(docs / "cheetah-logs.csv")
    made_of = json.loads((made / "cheetah/online/seed-2/logs/metadata.json").read_text())["shards"]
    assert [(row["seed"], row["episodes"]) for row in shards] == [(str(s), "1") for s in (1, 2) for _ in range(5)]
    assert [row["xxh64"] for row in shards if row["seed"] == "2"] == [shard["xxh64"] for shard in made_of]
    assert len((docs / "cheetah-figure-9.svg").read_text()) > 1000
    page = (docs / "cheetah.md").read_text()
    assert "| high | 10 |" in page and "| low | 2 |" in page and "figure 9: 8 of 8 runs" in page

    # The low-quality logs are the first fifth of each seed's, and nothing else.
    low = [float(row["return"]) for row in online if row["episode"] == "1"]
    assert f"| low | 2 | {statistics.fmean(low):.0f} |" in page
    for quality, episodes in (("high", 10), ("low", 2)):
        restored = json.loads((made / "cheetah" / quality / "bm" / "seed-1" / "restorer.json").read_text())
        assert restored["episodes"] == episodes
        assert restored["returns"]["run"]["max"] == pytest.approx(max(
            float(row["return"]) for row in online if quality == "high" or row["episode"] == "1"), abs=1e-3)
