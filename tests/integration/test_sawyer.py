"""The Sawyer domain end to end: scripted logs, looked at, relabelled, learned from, evaluated."""

import csv
import json
import os
import shutil
import signal
import subprocess

import h5py
import numpy as np
import pytest

from processes import BUILD, ROOT, SLOW, wait_until

REWARDS = ["reach", "grasp", "lift", "place_wide", "place_narrow", "stack", "stack_leave", "bring_to_center",
           "bring_to_corner"]
SCRIPT = ROOT / "experiments" / "sawyer" / "rewards.lua"
EPISODES = 12


def collect(folder, *options):
    command = [BUILD / "collector" / "hindcast-collector", "--environment=sawyer-stack", "--act=script",
               f"--episodes={EPISODES}", f"--run_dir={folder}", *options]
    return subprocess.run(command, text=True, capture_output=True, timeout=120 * SLOW)


def hindcast(*words):
    return subprocess.run([BUILD / "hindcast", *words], text=True, capture_output=True, timeout=60 * SLOW)


def episodes(folder):
    """(observations, actions, rewards) of each episode of a dataset's only shard, by number."""
    shard, = folder.glob("*.hdf5")
    with h5py.File(shard) as file:
        return [tuple(file[f"episode_{i}"][part][:] for part in ("observations", "actions", "rewards"))
                for i in range(len(file))]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected")
    collected = collect(folder, "--script_noise=0,0.3", "--reset_episodes=4", "--seed=3")
    assert collected.returncode == 0, collected.stderr
    return folder / "logs"


def test_scripted_logs(logs):
    signature = json.loads((logs / "metadata.json").read_text())["signature"]
    assert signature["rewards"] == REWARDS and signature["control_period_s"] == pytest.approx(0.05)
    with open(logs / "returns.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == EPISODES and all(line["acting"] == "script" and line["steps"] == "200" for line in lines)
    assert len({line["task"] for line in lines}) > 3
    # Most succeed, also with this noise; success is the mean of the last 20 rewards of the task pursued.
    assert sum(line["success"] == "1" for line in lines) > EPISODES / 2
    logged = episodes(logs)
    assert len(logged) == EPISODES
    for line, (_, _, rewards) in zip(lines, logged, strict=True):
        threshold = {"place_narrow": 0.4, "stack_leave": 0.8}.get(line["task"], 0.9)
        assert line["success"] == str(int(rewards[-20:, REWARDS.index(line["task"])].mean() >= threshold))
    # The scene is new in episodes 1, 5, 9; the others go on where the one before ended.
    for i in range(1, EPISODES):
        goes_on = (logged[i - 1][0][-1] == logged[i][0][0]).all()
        assert goes_on == (i % 4 != 0)
    inspected = hindcast("dataset", "inspect", logs)
    assert inspected.returncode == 0, inspected.stderr
    assert f"{EPISODES} (0 end by termination), 0 bad" in inspected.stdout and "green_from_tool(3)" in inspected.stdout


def test_relabelling_gives_the_bits_of_the_environment(logs, tmp_path):
    made = hindcast("dataset", "relabel", f"--script={SCRIPT}", f"--to={tmp_path / 'all'}", logs)
    assert made.returncode == 0, made.stderr
    some = hindcast("dataset", "relabel", f"--script={SCRIPT}", "--rewards=bring_to_corner,lift",
                    f"--to={tmp_path / 'some'}", logs)
    assert some.returncode == 0, some.stderr
    for logged, relabelled, chosen in zip(episodes(logs), episodes(tmp_path / "all"), episodes(tmp_path / "some"),
                                          strict=True):
        for part in range(3):
            assert (logged[part].view(np.uint32) == relabelled[part].view(np.uint32)).all()
        assert (logged[2][:, [8, 2]] == chosen[2]).all()
    assert "relabel" in json.loads((tmp_path / "some" / "metadata.json").read_text())["made_by"]["program"]


@pytest.mark.parametrize("text, said", [
    ("return {lift = function(_, _, after) return after.gren_pos[3] end}", "file.lua:1: attempt to index"),
    ("return {lift = 3}", "lift: expected a name with a function"),
    ("return {lift = function() return io.open('x') end}", "file.lua:1: attempt to index"),
    ("return {\nlift = function( end}", "file.lua:2:")])
def test_a_wrong_script_is_told_with_its_line(logs, tmp_path, text, said):
    (tmp_path / "file.lua").write_text(text)
    made = hindcast("dataset", "relabel", f"--script={tmp_path / 'file.lua'}", f"--to={tmp_path / 'made'}", logs)
    assert made.returncode == 1 and said in made.stderr, made.stderr
    assert not list((tmp_path / "made").glob("*.hdf5"))


def test_relabelling_does_not_write_into_a_dataset(logs, tmp_path):
    shutil.copytree(logs, tmp_path / "copy")
    made = hindcast("dataset", "relabel", f"--script={SCRIPT}", f"--to={tmp_path / 'copy'}", logs)
    assert made.returncode == 1 and "holds a dataset already" in made.stderr
    assert hindcast("dataset", "relabel", f"--to={tmp_path / 'x'}", logs).returncode == 2


def test_learned_and_evaluated(logs, workspace):
    """Two of the tasks: the evaluator reports the success of each."""
    workspace.configure(
        experiment={"environment": "sawyer-stack", "seed": 1}, replay_server={"map_bytes": 64 << 20},
        restorer={"folder": str(logs), "rewards": ["reach", "stack"]},
        learner={"widths": [32, 32], "batch_snippets": 8, "snippet_transitions": 4, "samples": 2, "steps": 20,
                 "threads": 1, "target_period": 10, "publish_every": 20, "report_every": 20},
        evaluator={"window_episodes": 1, "episodes": 2})
    up = workspace.up()
    assert up.wait(120) == 0, up.output.read_text()
    report = json.loads((workspace.run_dir / "evaluation.json").read_text())
    assert [task["task"] for task in report["tasks"]] == ["reach", "stack"] and report["steps"] == 800
    for task in report["tasks"]:
        assert 0 <= task["success_low"] <= task["success_rate"] <= task["success_high"] <= 1


@pytest.mark.long
def test_the_experiment_goes_on_after_a_kill(workspace, monkeypatch):
    """experiments/sawyer/compare, all of it with tiny numbers: logs, three algorithms, two tasks by relabelling."""
    monkeypatch.setenv("BUILD", os.path.relpath(BUILD, ROOT))
    folder = workspace.folder / "runs"

    def compare(*flags, steps=60, name="compare"):
        return workspace.start_command(
            name, ROOT / "experiments" / "sawyer" / "compare", f"--run-dir={folder}", "--logs=20", "--jobs=2",
            f"--steps={steps}", *flags, "--", "--learner.widths=16,16", "--learner.report_every=10",
            "--learner.publish_every=20", "--evaluator.window_episodes=1", "--evaluator.episodes=2")

    def told(name, *flags, seconds=10):
        process = compare(*flags, name=name)
        process.succeed(seconds)
        return process.output.read_text()

    process = compare("--only=abm+mpo", steps=1000000)
    learning = folder / "abm+mpo" / "seed-1" / "learner.jsonl"
    wait_until(lambda: learning.exists() and learning.stat().st_size > 0, "learning", alive=process)
    status = told("status", "--status")
    assert "logs: 20 of 20 episodes\nabm+mpo  seed 1: step " in status and "bm+mpo   seed 1: not begun" in status
    process.signal(signal.SIGKILL)
    wait_until(lambda: workspace.living() == [], "the processes of the command to end")

    lines = told("again", seconds=180).splitlines()
    with open(folder / "logs" / "logs" / "returns.csv") as file:
        pursued = {line["task"] for line in csv.DictReader(file)}
    assert pursued <= set(REWARDS[:7])
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert rows[0] == ["task", "the logs' own", "abm+mpo", "bm+mpo", "mpo"]
    assert [row[0] for row in rows[1:8]] == REWARDS[:7]
    assert all("%" in cell for row in rows[1:8] for cell in row[2:])
    assert [row[0] for row in rows if row[0] in REWARDS[7:] and row[1].startswith("not pursued, ")] == 2 * REWARDS[7:]
    assert told("ended", "--status").count("done, ") == 4


def test_what_the_environment_lacks_is_refused(tmp_path):
    refused = collect(tmp_path, "--environment=cheetah-run")
    assert refused.returncode == 2 and "collector.act script: cheetah-run has no script" in refused.stderr
