"""The whole system: `hindcast up` from logs to policy, with interruptions, killed processes and restarts."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import safetensors

import logs
import policies
from processes import BINARIES, wait_until
from test_learner import further, last_step, reached

LENGTHS = [60] * 9 + [1] + [45] * 10
SPOILT = 13  # number of the episode that has a NaN in its observations
STEPS = 200
ROLES = {"replay_server", "restorer", "learner", "evaluator"}


@pytest.fixture
def experiment(workspace):
    episodes = [logs.episode(number, length) for number, length in enumerate(LENGTHS)]
    for episode in episodes:
        episode["observations"][:, 0] %= 7  # the numbering of the rows is too large for an input of a network
    workspace.returns = [episode["rewards"].sum() for number, episode in enumerate(episodes) if number != SPOILT]
    episodes[SPOILT]["observations"][20, 3] = np.nan
    logs.write_dataset(workspace.folder / "logs", [episodes[:10], episodes[10:]])
    workspace.configure(
        experiment={"name": "tiny", "environment": "cheetah-run", "seed": 4},
        replay_server={"map_bytes": 64 << 20},
        restorer={"folder": str(workspace.folder / "logs")},
        learner={"widths": [32, 32], "batch_snippets": 16, "snippet_transitions": 4, "samples": 4, "steps": STEPS,
                 "threads": 1, "target_period": 20, "publish_every": 20, "report_every": 20,
                 "checkpoint_every_seconds": 0, "checkpoint_every_steps": 50, "keep_checkpoints": 2},
        evaluator={"window_episodes": 2, "episodes": 2, "threads": 1, "min_interval_s": 0})
    return workspace


def final_parameters(run_dir, steps):
    """{name: bytes} of the newest checkpoint, which must be that of the finished run."""
    [*_, path] = sorted((run_dir / "checkpoints").glob("step-*.safetensors"))
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["finished"] == "true" and file.metadata()["learner_step"] == str(steps)
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}


def endless(workspace):
    """Starts a run without a last step, and returns it once it learns and has been evaluated."""
    up = workspace.up("--learner.steps=0")
    wait_until(lambda: reached(workspace.run_dir, 100)() and workspace.json_lines("evaluator.jsonl"),
               "a first evaluation", alive=up)
    return up


def say(*arguments):
    """What `hindcast ARGUMENTS` prints."""
    done = subprocess.run([BINARIES["hindcast"], *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_logs_to_policy(experiment):
    up = experiment.up()
    scraped = {}

    def scrape():
        for role in ROLES:
            scraped[role] = experiment.metrics(role) or scraped.get(role)
        return up.ended() is not None

    wait_until(scrape, "the end of the run")
    up.succeed()
    assert experiment.living() == []
    assert {role for role, metrics in scraped.items() if metrics} >= {"replay_server", "learner", "evaluator"}
    assert scraped["replay_server"]["hindcast_replay_transitions"] == sum(LENGTHS) - LENGTHS[SPOILT]

    summary = experiment.json("summary.json")
    assert summary["learner_steps"] == STEPS and summary["algorithm"] == "abm+mpo"
    assert summary["logged_return_mean"] == pytest.approx(np.mean(experiment.returns), rel=1e-5)
    assert summary["logged_return_max"] == pytest.approx(np.max(experiment.returns), rel=1e-5)
    for key in ("policy_return_mean", "prior_return_mean", "last_policy_return_mean", "learner_steps_per_second",
                "learning_seconds", "policy_learner_step", "logged_return_p90"):
        assert np.isfinite(summary[key]), key
    assert "policy_return_mean" in up.tail()

    restorer = (experiment.run_dir / "restorer.log").read_text()
    assert "log-001.hdf5" in restorer and "episode_3" in restorer  # number 13

    steps = [line["step"] for line in experiment.json_lines("learner.jsonl")]
    assert steps == list(range(20, STEPS + 1, 20))
    evaluations = experiment.json_lines("evaluator.jsonl")
    versions, evaluated = ([line[key] for line in evaluations] for key in ("version", "learner_step"))
    assert versions == sorted(set(versions)) and evaluated == sorted(evaluated)
    assert all(len(line["tasks"][0]["returns"]) == 2 for line in evaluations)
    assert experiment.json("evaluation.json")["last"]["learner_step"] == STEPS
    assert not list(experiment.run_dir.rglob("*.tmp*"))

    for name in ("policy", "policy_last"):
        arrays, notes = policies.load(experiment.run_dir / f"{name}.safetensors")
        assert notes["format"] == "hindcast-policy-1" and json.loads(notes["signature"])["rewards"] == ["run"]
        assert arrays["policy/layers/0/weight"].shape == (32, 17)
        assert arrays["policy/mean/weight"].shape == (6, 32)
        action = policies.mean_action(arrays, np.zeros((1, 17)))
        assert action.shape == (1, 6) and np.isfinite(action).all()

    # Repeating the command on a finished run changes nothing.
    again = experiment.up()
    again.succeed()
    assert [line["step"] for line in experiment.json_lines("learner.jsonl")] == steps


@pytest.mark.parametrize("algorithm, acting, networks", [
    ("svg", "gaussian", {"policy"}),
    ("abm+svg", "gaussian", {"policy", "prior"}),
    ("bcq", "perturbed_argmax", {"policy", "critic", "perturb"}),
    ("bear", "argmax", {"policy", "critic", "prior"}),
    ("crr", "gaussian", {"policy"}),
    ("iql", "gaussian", {"policy"}),
    ("td3+bc", "gaussian", {"policy"}),
])
def test_the_other_algorithms_learn_and_act(experiment, algorithm, acting, networks):
    up = experiment.up(f"--learner.algorithm={algorithm}", "--learner.steps=60", "--learner.publish_every=60")
    wait_until(lambda: up.ended() is not None, "the end of the run")
    up.succeed()
    summary = experiment.json("summary.json")
    assert summary["algorithm"] == algorithm and summary["learner_steps"] == 60
    assert np.isfinite(summary["last_policy_return_mean"])
    with safetensors.safe_open(experiment.run_dir / "policy_last.safetensors", "np") as file:
        assert file.metadata()["acting"] == acting
        assert {name.split("/")[0] for name in file.keys()} == networks | {"normalizer", "observed"}


def test_ctrl_c_shuts_down_cleanly_and_the_same_command_continues(experiment):
    up = endless(experiment)
    status = [line.split()[:2] for line in say("status", experiment.run_dir).splitlines()]
    assert status == [[role, "running"] for role in ("evaluator", "learner", "replay_server")]  # the restorer is done
    up.signal(signal.SIGINT)
    assert up.wait(20) == 130
    assert experiment.living() == []
    assert "no process is running" in say("status", experiment.run_dir)
    step = max(line["step"] for line in experiment.json_lines("learner.jsonl"))
    evaluations = len(experiment.json_lines("evaluator.jsonl"))
    for role in ROLES:
        assert "exit_code=0" in (experiment.run_dir / f"{role}.log").read_text()[-300:], role

    goal = step + 100
    first = float((experiment.run_dir / "up.seconds").read_text())
    start = time.monotonic()
    experiment.up(f"--learner.steps={goal}").succeed()
    took = time.monotonic() - start
    assert 0 < first < experiment.json("summary.json")["wall_seconds"] <= first + took
    steps = [line["step"] for line in experiment.json_lines("learner.jsonl")]
    assert steps[-1] == goal and steps == sorted(set(steps))
    assert len(experiment.json_lines("evaluator.jsonl")) > evaluations
    assert experiment.json("summary.json")["learner_steps"] == steps[-1]
    assert (experiment.run_dir / "restorer.log").read_text().count("left out") <= 2  # the logs are not inserted again


def test_killed_processes_are_restarted_without_changing_the_result(experiment):
    """Learner, replay server and evaluator are killed in turn. The run ends with the bits of an undisturbed one."""
    slower = ("--learner.batch_snippets=32", "--learner.snippet_transitions=6", "--learner.samples=10")
    up = experiment.up("--learner.steps=0", *slower)  # unlimited, so that it does not end before all kills
    for role in ("learner", "replay_server", "evaluator", "learner"):
        wait_until(further(experiment.run_dir, 100), f"100 more steps before {role} is killed", alive=up)
        status = wait_until(lambda: experiment.status(role), f"{role} to answer", alive=up)
        os.kill(status["pid"], signal.SIGKILL)
    wait_until(further(experiment.run_dir, 100), "100 more steps", alive=up)
    assert up.tail().count("starting it again") == 4
    up.signal(signal.SIGINT)
    assert up.wait(30) == 130
    steps = last_step(experiment.run_dir) + 100
    calm = experiment.folder / "calm"
    experiment.up(f"--learner.steps={steps}", *slower).succeed()
    experiment.up(f"--learner.steps={steps}", *slower, f"--experiment.run_dir={calm}", "--up.evaluators=0").succeed()
    assert experiment.living() == []
    calm, disturbed = (final_parameters(folder, steps) for folder in (calm, experiment.run_dir))
    assert len(calm) > 50 and calm.keys() == disturbed.keys()
    assert [name for name in calm if calm[name] != disturbed[name]] == []


def test_seeds_run_one_after_another(workspace):
    """Collects logs from scratch, as experiments/collect-cheetah-run.yaml does, on a small scale."""
    workspace.configure(
        experiment={"environment": "cheetah-run"},
        up={"restorers": 0, "evaluators": 0, "collectors": 1, "seeds": [3, 8]},
        replay_server={"map_bytes": 64 << 20, "min_transitions": 2000, "samples_per_insert": 4,
                       "samples_per_insert_tolerance": 2000},
        learner={"algorithm": "mpo", "normalize": "none", "require_sealed": False, "widths": [16, 16], "samples": 4,
                 "threads": 1, "batch_snippets": 16, "snippet_transitions": 4, "publish_every": 20, "report_every": 20},
        collector={"insert": True, "episodes": 5, "shard_episodes": 2, "finish_run": True})
    workspace.up().succeed()
    assert workspace.living() == []
    logged = []
    for seed in (3, 8):
        folder = workspace.run_dir / f"seed-{seed}"
        assert json.loads((folder / "summary.json").read_text())["learner_steps"] > 0
        shards = json.loads((folder / "logs" / "metadata.json").read_text())["shards"]
        assert [shard["episodes"] for shard in shards] == [2, 2, 1]
        logged.append((folder / "logs" / "returns.csv").read_text().splitlines())
        assert len(logged[-1]) == 1 + 5
        assert "5 " in say("dataset", "inspect", folder / "logs")
    assert logged[0] != logged[1]
    workspace.up().succeed(10)  # both seeds are finished, so nothing runs again
    assert [(workspace.run_dir / f"seed-{seed}" / "logs" / "returns.csv").read_text().splitlines()
            for seed in (3, 8)] == logged


def test_the_processes_of_a_killed_up_end(experiment):
    up = endless(experiment)
    up.kill()
    wait_until(lambda: experiment.living() == [], "its processes to end", 20)
    experiment.up("--learner.steps=100").succeed()


def test_an_evaluator_killed_after_the_learner_has_exited_still_finishes(experiment):
    """The evaluator is still at an early version. `hindcast up` restarts it and the learner, which has the last one."""
    up = experiment.up("--learner.steps=60", "--evaluator.window_episodes=800")
    log = experiment.run_dir / "learner.log"
    wait_until(lambda: log.exists() and "exit_code=0" in log.read_text(), "the learner to exit", alive=up)
    assert not (experiment.run_dir / "policy_last.safetensors").exists(), "the evaluator finished too early"
    os.kill(experiment.status("evaluator")["pid"], signal.SIGKILL)
    up.succeed(180)  # it measures 800 episodes once more
    assert "learner is asked once more" in up.tail()
    assert experiment.json("evaluation.json")["last"]["learner_step"] == 60


def test_a_process_that_cannot_run_ends_the_run_and_its_error_is_shown(experiment):
    """The existing table has a different signature, so the restorer cannot fill it."""
    other = {**logs.SIGNATURE, "observation": [{"name": "position", "size": 4}, {"name": "velocity", "size": 13}]}
    logs.write_dataset(experiment.folder / "other", [[logs.episode(0, 20)]], other)
    server = experiment.serve("replay_server")
    experiment.start("restorer", f"--folder={experiment.folder}/other").succeed()
    server.stop()
    up = experiment.up()
    assert up.wait() == 2  # a restart would not help, so none is tried
    assert "starting it again" not in up.tail()
    assert experiment.living() == []
    for word in ("hindcast up: restorer", "restorer.log", "position", "4", "8"):
        assert word in up.tail(), word
