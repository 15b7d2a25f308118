"""Commands of the documentation that no other test runs, in a small form: benchmarks, experiments, comparisons of runs."""

import json
import os
import subprocess

import pytest

from processes import BINARIES, BUILD, ROOT, SLOW
from test_up import experiment  # noqa: F401 (a fixture)

PYTHON = ROOT / "third_party/venv/bin/python"


def lines(*command):
    """What a command prints, line by line, word by word."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300 * SLOW, cwd=ROOT, check=False,
                          env=os.environ | {"BUILD": str(BUILD)})
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def up(run_dir, config, *flags):
    lines(BINARIES["hindcast"], "up", config, f"--experiment.run_dir={run_dir}", *flags)
    return run_dir


def test_reports_of_two_runs_are_compared(experiment):  # noqa: F811
    flags = ("--up.evaluators=0", "--learner.steps=40", "--learner.report_every=10")
    runs = [up(experiment.folder / name, experiment.config, *flags, f"--learner.evaluation_precision={precision}")
            for name, precision in (("a", "f32"), ("b", "f32"), ("c", "bf16"))]
    a, b, c = (run / "learner.jsonl" for run in runs)
    first, _, *numbers = lines(ROOT / "bench/compare_reports.py", a, b)
    assert first == "4 reports, steps 10 to 40".split()
    assert {"critic_loss", "value_mean"} <= {name for name, *_ in numbers}
    assert {(mean, largest) for *_, mean, largest in numbers if mean != "nan"} == {("0.00e+00", "0.00e+00")}
    _, _, *numbers = lines(ROOT / "bench/compare_reports.py", a, c)
    assert 0 < float({name: mean for name, _, mean, _ in numbers}["value_mean"]) < 0.1


def test_policies_are_ranked(experiment):  # noqa: F811
    # More than are needed: a policy or a checkpoint is left out while the one before is being written.
    run = up(experiment.folder / "run", experiment.config, "--up.evaluators=0", "--learner.steps=1200",
             "--learner.publish_every=100", "--learner.keep_policies=6", "--learner.checkpoint_every_steps=100",
             "--learner.keep_checkpoints=20")
    report, truth = experiment.folder / "rank.json", experiment.folder / "truth.json"
    lines(BINARIES["hindcast"], "policy", "evaluate", "--offline", f"--to={report}", "--offline_evaluator.priors=false",
          "--offline_evaluator.widths=16,16", "--offline_evaluator.steps=60", "--offline_evaluator.resamples=200", run,
          "--policies", *sorted((run / "candidates").glob("*.safetensors")))
    command = (PYTHON, ROOT / "experiments/rank-offline", f"--truth={truth}", "--environment=cheetah-run", "--episodes=1",
               f"--logs={experiment.folder / 'logs'}", report)
    judged = lines(*command)
    ranked = json.loads(report.read_text())["policies"]
    measured = json.loads(truth.read_text())
    n, with_critic = len(ranked), sum((run / f"checkpoints/step-{policy['learner_step']:08}.safetensors").exists()
                                      for policy in ranked)
    assert min(n, with_critic) >= 3 and len(measured) == n and all(0 <= value < 1000 for value in measured.values())
    for score, of in ((["value"], n), (["own", "value"], n), (["own", "Q(s0)"], with_critic)):
        [row] = [words for words in judged if words[:-4] == ["rank.json", *score]]
        assert row[-1] == str(of) and -1 <= float(row[1 + len(score)]) <= 1, row
    # What was measured is not measured again.
    assert lines(*command) == [words for words in judged if words[-1] not in measured]


def test_logs_with_rare_rewards_are_learned_in_both_ways(tmp_path):
    made, = lines(PYTHON, ROOT / "experiments/prioritized/make_logs.py", tmp_path / "logs", "--episodes=40", "--good=6")
    assert made[:5] == "40 episodes of 50 steps;".split()
    command = (ROOT / "experiments/prioritized/compare", tmp_path / "logs", tmp_path / "runs", "--seeds", "1", "--",
               "--learner.steps=40", "--learner.publish_every=10", "--learner.threads=1", "--evaluator.window_episodes=1",
               "--evaluator.episodes=1")
    _, *rows = compared = lines(*command)
    assert [row[:2] for row in rows] == [["uniform", "1"], ["prioritized", "1"]]
    assert all(0 <= float(row[2]) <= float(row[3]) + 1 for row in rows)
    reports = [(tmp_path / "runs" / arm / "seed-1" / "learner.jsonl").read_text() for arm in ("uniform", "prioritized")]
    assert ["importance_weight" in report for report in reports] == [False, True]
    assert lines(*command) == compared


@pytest.mark.parametrize("part, layouts", [("read", ["shards", "csv"]), ("restore", ["shards"])])
def test_bench_restorer(part, layouts):
    rows = [dict(word.split("=") for word in words) for words in lines(
        BUILD / "bench/bench_restorer", f"--parts={part}", f"--layouts={','.join(layouts)}", "--rounds=1", "--seconds=0.1",
        "--scale=0.02")
        if words[0].startswith("part=")]
    assert [(row["part"], row["layout"]) for row in rows] == [(part, layout) for layout in layouts]
    assert all(float(row["rows_per_s"]) > 1000 and float(row["gb_per_s"]) > 0 for row in rows)


def test_bench_environment():
    figures = {name: float(value) for name, value, _ in lines(
        BUILD / "bench/bench_environment", "--tasks=sawyer-stack,sawyer-stack:held", "--seconds=0.1")}
    for task in ("sawyer-stack", "sawyer-stack:held"):
        assert 0.2 < figures[f"{task}_bare_ratio"] < 5, figures


def test_bench_relabel():
    functions, steps = lines(BUILD / "bench/bench_relabel", "--seconds=0.1")
    assert functions == ["relabel_functions", "9", "functions"]
    assert steps[::2] == ["relabel_steps", "steps/s"] and float(steps[1]) > 1000
