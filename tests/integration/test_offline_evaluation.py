"""Off-policy evaluation end to end: a plant whose policies have known values, `hindcast up` that chooses without an
environment, `hindcast policy evaluate --offline` killed and continued, and bad input."""

import json
import math
import os
import pathlib
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

import logs
import policies
from processes import BINARIES, ROOT, SLOW, Workspace, carrying, wait_until

GAMMA, T = 0.9, 60
SIGNATURE = {"observation": [{"name": "s", "size": 1}], "action": {"min": [-1.0], "max": [1.0]}, "rewards": ["run"],
             "control_period_s": 0.1}
SMALL = ("--offline_evaluator.widths=32,32", "--offline_evaluator.threads=1", "--offline_evaluator.critics=2",
         "--offline_evaluator.resamples=200")


def plant_episode(rng, reward=None):
    """s becomes (1 + action) / 2; the reward is s + 0.3 action; a time limit ends the episode."""
    actions = rng.uniform(-1, 1, T)
    states = np.concatenate([rng.uniform(0, 1, 1), (1 + actions) / 2])
    rewards = states[:-1] + 0.3 * actions if reward is None else np.full(T, reward)
    return {"observations": np.float32(states)[:, None], "actions": np.float32(actions)[:, None],
            "rewards": np.float32(rewards), "terminations": np.zeros(T, bool), "truncations": np.arange(T) == T - 1}


def known_value(s, c, gamma):
    """Of the policy that always takes action c, at state s; of an episode of T steps where gamma is 1."""
    later = gamma / (1 - gamma) if gamma < 1 else T - 1
    return s + 0.3 * c + later * ((1 + c) / 2 + 0.3 * c)


def write_policy(path, c, signature=SIGNATURE, O=1, acting="gaussian"):
    """A policy whose mean action is always c: no weights, one bias."""
    arrays = policies.make(np.random.default_rng(0), O + (len(signature["rewards"]) > 1) * len(signature["rewards"]),
                           1, (8, 8))
    arrays = {name: np.zeros_like(array) for name, array in arrays.items()}
    arrays["policy/mean/bias"][:] = math.atanh(c)
    if acting == "argmax":
        arrays |= policies.make(np.random.default_rng(1), O + 1, 1, (8, 8), "critic", ["out"])
    notes = {**policies.notes(O, 1, (8, 8)), "acting": acting, "candidates": "20", "setting/gamma": str(GAMMA),
             "signature": json.dumps(signature), "tasks": str(len(signature["rewards"]))}
    policies.save(path, arrays, notes)
    return path


def configure(workspace, episodes, holdout=0, **experiment):
    logs.write_dataset(workspace.folder / "logs", [episodes], SIGNATURE)
    workspace.configure(
        experiment={"name": "plant", "seed": 3, **experiment},
        up={"evaluators": 0},
        replay_server={"map_bytes": 64 << 20},
        restorer={"folder": str(workspace.folder / "logs"), "holdout": holdout},
        learner={"algorithm": "abm+mpo", "widths": [16, 16], "batch_snippets": 8, "snippet_transitions": 4,
                 "samples": 4, "steps": 60, "threads": 1, "gamma": GAMMA, "target_period": 5, "publish_every": 10,
                 "report_every": 20, "keep_policies": 3},
        offline_evaluator={"steps": 150, "widths": [16, 16], "threads": 1, "resamples": 200})


@pytest.fixture(scope="module")
def run():
    """A run that has ended, with its choice; tests read it and evaluate other policies on its table."""
    workspace = Workspace()
    rng = np.random.default_rng(1)
    workspace.episodes = [plant_episode(rng) for _ in range(40)]
    configure(workspace, workspace.episodes, holdout=0.3, choose="offline")
    up = workspace.up()
    up.succeed(120)
    workspace.said = up.tail()
    yield workspace
    workspace.close()


def evaluate(run, *arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "policy", "evaluate", "--offline", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120 * SLOW, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_the_best_of_the_kept_policies_is_left(run):
    report = json.loads((run.run_dir / "offline_evaluation.json").read_text())
    summary = json.loads((run.run_dir / "summary.json").read_text())
    # Of six publications at most three are kept, every second; the last one is listed once. And their priors.
    files = ["candidates/step-00000020", "candidates/step-00000040", "policy_learner"]
    listed = {policy["name"] for policy in report["policies"]}
    assert listed == {file + kind for file in files for kind in ("", " prior")}
    assert [policy["rank"] for policy in report["policies"]] == list(range(1, len(listed) + 1))
    values = [policy["value"] for policy in report["policies"]]
    assert values == sorted(values, reverse=True)
    # The last policy, unless the intervals of others lie above its own: then the best of those.
    [last] = [policy for policy in report["policies"] if policy["last"]]
    [chosen] = [policy for policy in report["policies"] if policy["chosen"]]
    assert chosen == next(policy for policy in report["policies"]
                          if policy is last or (policy["value_low"] > last["value_high"] and not policy["leaves_data"]))
    assert summary["chosen_policy"] == chosen["name"] and summary["ranking"] == report["policies"]
    arrays, notes = policies.load(run.run_dir / "policy.safetensors")
    assert [float(notes[f"offline_value{end}"]) for end in ("", "_low", "_high")] == pytest.approx(
        [chosen["value"], chosen["value_low"], chosen["value_high"]], rel=1e-12)
    kept, _ = policies.load(pathlib.Path(chosen["path"]))
    network = "prior" if chosen["prior"] else "policy"
    assert (arrays["policy/mean/weight"] == kept[f"{network}/mean/weight"]).all()
    assert (run.run_dir / "policy_last.safetensors").read_bytes() == (
        run.run_dir / "policy_learner.safetensors").read_bytes()
    assert "no episodes are held out" not in run.said and chosen["name"] in run.said


@pytest.mark.parametrize("method, flags, gamma", [
    ("fitted_q", [], GAMMA), ("model", [], 1), ("model", [f"--offline_evaluator.gamma={GAMMA}"], GAMMA)])
def test_values_of_known_policies_are_found(run, method, flags, gamma):
    actions = (-0.5, -0.1, 0.3, 0.6)
    files = [write_policy(run.folder / f"always{c}.safetensors", c) for c in actions]
    out = run.folder / "known.json"
    done = evaluate(run, f"--to={out}", *SMALL, "--offline_evaluator.steps=1500",
                    f"--offline_evaluator.method={method}", *flags, run.run_dir, "--policies", *files)
    report = json.loads(out.read_text())
    assert report["method"] == method and report["gamma"] == gamma
    mean_start = np.mean([episode["observations"][0, 0] for episode in run.episodes])
    for policy in report["policies"]:
        c = float(policy["path"].rpartition("always")[2].removesuffix(".safetensors"))
        want = known_value(mean_start, c, gamma)
        assert policy["value"] == pytest.approx(want, abs=0.5, rel=0.05), (c, want)
        assert policy["value_low"] < policy["value"] < policy["value_high"]
        assert not policy["leaves_data"]
    order = [policy["path"] for policy in report["policies"]]
    assert order == [str(path) for path in reversed(files)]
    [behaviour] = report["behaviour"]
    returns = [sum(gamma ** t * r for t, r in enumerate(episode["rewards"])) for episode in run.episodes]
    assert behaviour["known"] == pytest.approx(np.mean(returns), abs=0.5, rel=0.1) and behaviour["fits"]
    assert report["held_out"] is True and report["starts_table"] == "default_holdout"
    assert report["starts"] > 1 and report["episodes"] + report["starts"] == len(run.episodes)
    pair = report["differences"][0]
    assert pair["difference_low"] <= pair["difference"] <= pair["difference_high"]
    assert "always0.6" in done.stdout and "the logs' own run" in done.stdout
    # The program that compares rankings: here the true return of a policy is the action in its file's name.
    name = "import sys; print(sys.argv[1].rpartition('always')[2].removesuffix('.safetensors'))"
    command = [sys.executable, ROOT / "experiments" / "rank-offline", f"--truth={run.folder / 'truth.json'}",
               f"--measure={sys.executable} -c {shlex.quote(name)}", out]
    judged = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert ["known.json", "value", "1.00", "0.00", "0.00", "4"] in [line.split() for line in judged.splitlines()]
    assert set(json.loads((run.folder / "truth.json").read_text()).values()) == set(actions)


def test_a_killed_evaluation_goes_on_with_the_same_bits(run):
    files = [write_policy(run.folder / f"k{c}.safetensors", c, acting=acting)
             for c, acting in ((-0.4, "gaussian"), (0.4, "argmax"))]
    flags = (*SMALL, "--offline_evaluator.steps=2500", "--offline_evaluator.checkpoint_every_seconds=0.05")
    whole, cut = run.folder / "whole.json", run.folder / "cut.json"
    evaluate(run, f"--to={whole}", *flags, run.run_dir, "--policies", *files)
    command = run.start_command("evaluate", BINARIES["hindcast"], "policy", "evaluate", "--offline", f"--to={cut}",
                                *flags, run.run_dir, "--policies", *files)
    checkpoint = run.folder / "cut.json.checkpoint"
    wait_until(checkpoint.exists, "a checkpoint", alive=command)
    killed = carrying(f"report={cut}")
    assert killed and not cut.exists(), "the evaluation was over before it could be killed"
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    command.succeed(120)
    log = (run.run_dir / "offline_evaluator.log").read_text()
    assert "the evaluation goes on step=" in log
    one, other = json.loads(whole.read_text()), json.loads(cut.read_text())
    for report in (one, other):
        del report["seconds"], report["loss"]
    assert one == other


def test_policies_for_other_rows_are_refused(run):
    fits = write_policy(run.folder / "fits.safetensors", 0.1)
    other = {**SIGNATURE, "observation": [{"name": "s", "size": 2}]}
    wider = write_policy(run.folder / "wider.safetensors", 0.1, other, O=2)
    refused = evaluate(run, run.run_dir, "--policies", fits, wider, status=2).stderr
    assert f"{wider}: observation 2, actions 1, tasks 1: expected 1, 1, 1 as in {fits}" in refused
    refused = evaluate(run, run.run_dir, "--policies", wider, status=2).stderr
    assert "table default" in refused and " s" in refused
    two = {**SIGNATURE, "rewards": ["run", "walk"]}
    tasks = write_policy(run.folder / "tasks.safetensors", 0.1, two)
    refused = evaluate(run, run.run_dir, "--policies", tasks, status=2).stderr
    assert "table default" in refused and "walk" in refused
    refused = evaluate(run, run.run_dir, "--policies", run.folder / "absent.safetensors", status=1).stderr
    assert "absent.safetensors: No such file" in refused
    assert "expected --offline and RUN" in evaluate(run, status=2).stderr
    assert "at least one file" in evaluate(run, run.run_dir, "--policies", status=2).stderr
    assert 'lr: "7": expected a number' in evaluate(run, "--offline_evaluator.lr=7", run.run_dir, status=2).stderr


def test_without_held_out_episodes_the_starts_are_those_of_training(workspace):
    rng = np.random.default_rng(5)
    episodes = [plant_episode(rng) for _ in range(6)]
    configure(workspace, episodes)
    workspace.up("--learner.steps=10", "--learner.keep_policies=0").succeed(60)
    done = evaluate(workspace, "--offline_evaluator.acting=sample", workspace.config)
    report = json.loads((workspace.run_dir / "offline_evaluation.json").read_text())
    assert report["held_out"] is False and report["starts"] == report["episodes"] == 6
    assert report["acting"] == "sample" and len(report["policies"]) == 2  # the last policy, and its prior
    assert "no episodes are held out" in done.stdout
    # Here the returns of all episodes are known.
    [behaviour] = report["behaviour"]
    assert behaviour["known"] == pytest.approx(np.mean([sum(episode["rewards"]) for episode in episodes]), rel=1e-5)


def test_models_and_episodes_that_terminate_exclude_each_other(workspace):
    rng = np.random.default_rng(4)
    episodes = [plant_episode(rng) for _ in range(4)]
    episodes[1]["terminations"][-1], episodes[1]["truncations"][-1] = True, False
    configure(workspace, episodes)
    workspace.up("--learner.steps=5").succeed(60)
    evaluate(workspace, workspace.config)
    assert json.loads((workspace.run_dir / "offline_evaluation.json").read_text())["method"] == "fitted_q"
    refused = evaluate(workspace, "--offline_evaluator.method=model", workspace.run_dir, status=2).stderr
    assert "offline_evaluator.method: model: expected fitted_q, since 1 of the 4 episodes of table default" in refused


def export(run_dir, to):
    subprocess.run([BINARIES["hindcast"], "policy", "export", f"--safetensors={to}", run_dir], check=True,
                   capture_output=True, timeout=60)
    return to.read_bytes()


def test_a_run_that_no_longer_chooses_has_no_choice(workspace):
    rng = np.random.default_rng(6)
    configure(workspace, [plant_episode(rng) for _ in range(6)], choose="offline")
    workspace.up("--learner.steps=10").succeed(60)
    summary = workspace.run_dir / "summary.json"
    assert "chosen_policy" in json.loads(summary.read_text())
    learner, out = workspace.run_dir / "policy_learner.safetensors", workspace.folder / "exported.safetensors"
    assert export(workspace.run_dir, out) == (workspace.run_dir / "policy.safetensors").read_bytes()
    first = learner.read_bytes()
    workspace.up("--learner.steps=20", "--experiment.choose=last").succeed(60)
    # What was chosen is gone, and what is exported is what this start has learned.
    assert export(workspace.run_dir, out) == learner.read_bytes() != first
    assert not list(workspace.run_dir.glob("policy.safetensors")) + list(workspace.run_dir.glob("policy_last.*"))
    assert (workspace.run_dir / "offline_evaluation.json").exists()
    assert "chosen_policy" not in json.loads(summary.read_text()) and "ranking" not in summary.read_text()


def test_logs_that_cannot_tell_are_refused(workspace):
    rng = np.random.default_rng(2)
    configure(workspace, [plant_episode(rng, reward=0.5) for _ in range(4)])
    workspace.up("--learner.steps=5").succeed(60)
    refused = evaluate(workspace, workspace.config, status=2).stderr
    assert "table default: reward run: 0.5 in all 240 transitions, and no episode terminates" in refused
    refused = evaluate(workspace, "--offline_evaluator.gamma=1", "--offline_evaluator.method=fitted_q",
                       workspace.run_dir, status=2).stderr
    assert "gamma 1: expected below 1, since none of the 4 episodes of table default terminates" in refused


def test_choosing_offline_and_evaluators_exclude_each_other(workspace):
    rng = np.random.default_rng(2)
    configure(workspace, [plant_episode(rng) for _ in range(4)], choose="offline", environment="cheetah-run")
    up = workspace.up("--up.evaluators=1")
    assert up.wait() == 2
    assert "experiment.choose: offline: expected up.evaluators 0, not 1" in up.tail()
