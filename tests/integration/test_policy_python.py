"""Compares the actions of a policy in numpy and in C, on the states of episodes of hindcast-evaluator."""

import json
import os
import subprocess

import h5py
import numpy as np
import pytest

import policies
from processes import BINARIES

os.environ["MUJOCO_GL"] = "disable"  # no rendering
from dm_control import suite  # noqa: E402

SIZES = {"cheetah-run": (17, 6), "quadruped-walk": (78, 12)}
WIDTHS = (48, 40, 33)  # not all multiples of the kernels' block sizes


def measure(folder, environment, *flags):
    """Evaluates folder/policy.safetensors. Returns (report, printed table)."""
    done = subprocess.run([BINARIES["evaluator"], f"--policy={folder}/policy.safetensors",
                           f"--environment={environment}", "--seed=3", *flags],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def make(folder, environment, prior=False):
    rng = np.random.default_rng(5)
    arrays = policies.make(rng, *SIZES[environment], WIDTHS)
    if prior:
        arrays |= policies.make(rng, *SIZES[environment], WIDTHS, "prior")
    policies.save(folder / "policy.safetensors", arrays, policies.notes(*SIZES[environment], WIDTHS))


@pytest.mark.parametrize("environment", SIZES)
def test_numpy_gives_the_actions_of_the_evaluator(tmp_path, environment):
    make(tmp_path, environment)
    report, _ = measure(tmp_path, environment, "--episodes=2", f"--save={tmp_path}/logs")
    arrays, notes = policies.load(tmp_path / "policy.safetensors")
    assert notes["learner_step"] == "7" and report["learner_step"] == 7
    limits = json.loads((tmp_path / "logs" / "metadata.json").read_text())["signature"]
    low, high = (np.array(limits["action"][side]) for side in ("min", "max"))
    with h5py.File(tmp_path / "logs" / "shard-00000.hdf5") as shard:
        assert len(shard) == 2
        for number in range(2):
            episode = shard[f"episode_{number}"]
            logged = (episode["actions"][:] - low) / (high - low) * 2 - 1
            ours = policies.mean_action(arrays, episode["observations"][:-1].astype(np.float64))
            worst = np.abs(logged - ours).max()
            print(f"episode {number}: worst difference {worst:.2e}")
            assert worst < 2e-5
            assert logged.std() > 0.05  # the actions do vary
            total = episode["rewards"][:].astype(np.float64).sum()
            assert report["tasks"][0]["returns"][number] == pytest.approx(total, rel=1e-6)


def act_in_dm_control(environment, arrays, first):
    """Observations and rewards of an episode of dm_control's cheetah-run with the policy in numpy.

    The episode starts in the state of observation `first`, which has everything but the horizontal position.
    """
    environment.reset()
    with environment.physics.reset_context():
        environment.physics.data.qpos[:] = [0, *first[:8]]
        environment.physics.data.qvel[:] = first[8:]
    observations, rewards, last = [first], [], False
    while not last:
        step = environment.step(policies.mean_action(arrays, observations[-1][None].astype(np.float64))[0])
        observations.append(np.concatenate([step.observation["position"], step.observation["velocity"]]))
        rewards.append(step.reward)
        last = step.last()
    return np.array(observations), np.array(rewards)


def test_dm_control_gives_the_same_returns(tmp_path):
    """From equal initial states the motion is equal until rounding errors have grown, and mean returns agree."""
    make(tmp_path, "cheetah-run")
    report, _ = measure(tmp_path, "cheetah-run", "--episodes=4", f"--save={tmp_path}/logs")
    arrays, _ = policies.load(tmp_path / "policy.safetensors")
    environment = suite.load("cheetah", "run")
    totals = []
    with h5py.File(tmp_path / "logs" / "shard-00000.hdf5") as shard:
        for number in range(4):
            episode = shard[f"episode_{number}"]
            logged = episode["observations"][:]
            observations, rewards = act_in_dm_control(environment, arrays, logged[0])
            assert observations.shape == logged.shape
            worst = np.abs(observations - logged)[:100].max()
            print(f"episode {number}: worst difference in 100 steps {worst:.2e}")
            assert worst < 1e-2
            assert np.abs(rewards - episode["rewards"][:])[:100].max() < 1e-3
            totals.append(rewards.sum())
    ours = np.array(report["tasks"][0]["returns"])
    noise = np.sqrt((ours.var() + np.var(totals)) / 4)
    assert abs(ours.mean() - np.mean(totals)) < 4 * noise, (ours, totals)


def test_returns_depend_on_the_seed_and_not_on_threads(tmp_path):
    make(tmp_path, "cheetah-run", prior=True)
    one, table = measure(tmp_path, "cheetah-run", "--episodes=6", "--threads=1")
    three, _ = measure(tmp_path, "cheetah-run", "--episodes=6", "--threads=3")
    other, _ = measure(tmp_path, "cheetah-run", "--episodes=6", "--experiment.seed=4")
    assert one["tasks"][0]["returns"] == three["tasks"][0]["returns"]
    assert one["prior"]["tasks"][0]["returns"] == three["prior"]["tasks"][0]["returns"]
    assert one["tasks"][0]["returns"] != other["tasks"][0]["returns"]
    task = one["tasks"][0]
    returns = np.array(task["returns"])
    assert task["mean"] == pytest.approx(returns.mean()) and task["std"] == pytest.approx(returns.std())
    assert [task["q1"], task["median"], task["q3"]] == pytest.approx(np.quantile(returns, [0.25, 0.5, 0.75]))
    assert task["iqm"] == pytest.approx(np.sort(returns)[1:-1].mean()) and task["iqm_low"] <= task["iqm"] <= task["iqm_high"]
    assert one["prior_return_mean"] == one["prior"]["return_mean"] != one["return_mean"]
    assert "prior" in table and "median" in table


def test_a_policy_that_chooses_acts_by_fewer_candidates_and_by_its_mean(tmp_path):
    """--candidates=N is the package with N candidates, and with 1 the package without a critic."""
    make(tmp_path, "cheetah-run")
    path, (O, A) = tmp_path / "policy.safetensors", SIZES["cheetah-run"]
    arrays, notes = policies.load(path)
    mean, _ = measure(tmp_path, "cheetah-run", "--episodes=2")
    assert mean["candidates"] == 1
    arrays |= policies.make(np.random.default_rng(6), O + A, 1, WIDTHS, "critic", ["out"])

    def returns(of, *flags):
        policies.save(path, arrays, {**notes, "acting": "argmax", "candidates": str(of)})
        report, _ = measure(tmp_path, "cheetah-run", "--episodes=2", *flags)
        return report["candidates"], report["tasks"][0]["returns"]

    assert returns(9)[0] == 9 and returns(9) == returns(9, "--candidates=10")
    assert returns(9, "--candidates=3") == returns(3) != returns(9)
    assert returns(9, "--candidates=1") == (1, mean["tasks"][0]["returns"])


@pytest.mark.parametrize("damage, said", [
    (lambda raw: raw[:-1], "data_offsets"),
    (lambda raw: raw.replace(b"hindcast-policy-1", b"hindcast-policy-9"), "hindcast-policy-9"),
    (lambda raw: raw[:-4] + b"\x00\x00\xc0\x7f", "not finite"),
])
def test_damaged_files_are_refused_with_a_reason(tmp_path, damage, said):
    make(tmp_path, "cheetah-run")
    path = tmp_path / "policy.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    done = subprocess.run([BINARIES["evaluator"], f"--policy={path}", "--environment=cheetah-run"],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert str(path) in done.stderr and said in done.stderr
