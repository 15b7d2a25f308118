"""Observations of very different size, normalized: what is measured, what it is written into, who shares it."""

import json

import h5py
import numpy as np
import pytest
import safetensors.numpy

import policies
from test_learner import LEARNER, checkpoints

SIZES = np.array([1e4, 1, 1e-4, 0, 30], np.float32)   # of the five dimensions; one never changes
CENTERS = np.array([3e4, 0, 1e-3, 7, -2], np.float32)


@pytest.fixture
def sealed(workspace):
    """A sealed table of logs whose dimensions have these sizes; every observation that it holds."""
    folder, rng, seen = workspace.folder / "logs", np.random.default_rng(5), []
    folder.mkdir()
    signature = {"observation": [{"name": "sensors", "size": 5}], "action": {"min": [-1, -1], "max": [1, 1]},
                 "rewards": ["run"], "control_period_s": 0.02}
    (folder / "metadata.json").write_text(json.dumps({"signature": signature}))
    with h5py.File(folder / "shard-00000.hdf5", "w") as file:
        for i in range(20):
            T = 40 + i
            group = file.create_group(f"episode_{i}")
            group["observations"] = rng.standard_normal((T + 1, 5)).astype("f4") * SIZES + CENTERS
            group["actions"] = rng.uniform(-1, 1, (T, 2)).astype("f4")
            group["rewards"] = rng.standard_normal(T).astype("f4")
            group["terminations"] = np.arange(T) == -1
            group["truncations"] = np.arange(T) == T - 1
            group.attrs["id"], group.attrs["total_steps"] = i, T
            seen.append(group["observations"][()])
    workspace.configure(experiment={"name": "test", "seed": 3, "replay": [f"unix:{workspace.run_dir}/replay.sock"]},
                        learner={**LEARNER, "normalize": "standard"},
                        restorer={"folder": str(folder), "mode": "once"})
    workspace.serve("replay_server")
    workspace.start("restorer").succeed(30)
    workspace.seen = np.concatenate(seen).astype(float)
    return workspace


def test_the_policy_carries_mean_and_scale_of_the_table(sealed):
    learner = sealed.start("learner", "--steps=40")
    learner.succeed()
    arrays, notes = policies.load(sealed.run_dir / "policy_learner.safetensors")
    mean, scale = arrays["normalizer/mean"], arrays["normalizer/scale"]
    std = sealed.seen.std(0)
    assert notes["setting/normalize"] == "standard"
    assert np.all(np.abs(mean - sealed.seen.mean(0)) <= 0.03 * std + 1e-6)  # drawn rows, not each row once
    assert mean[3] == 7 and scale[3] == 0
    changing = [0, 1, 2, 4]
    np.testing.assert_allclose(scale[changing] * std[changing], 1, rtol=0.03)
    assert "observations are normalized" in learner.output.read_text() and "constant=1" in learner.output.read_text()
    # The checkpoint has the same two arrays.
    kept = safetensors.numpy.load_file(checkpoints(sealed.run_dir)[40])
    assert np.array_equal(kept["normalizer/mean"], mean) and np.array_equal(kept["normalizer/scale"], scale)


def test_auto_normalizes_a_new_run_and_keeps_what_an_old_one_has(sealed):
    """A run that was begun without goes on without, with one learner and with two ranks."""
    sealed.start("learner", "--steps=10", "--normalize=none", label="none").succeed()
    old = safetensors.numpy.load_file(checkpoints(sealed.run_dir)[10])
    assert not [name for name in old if name.startswith("normalizer/")]
    learner = sealed.start("learner", "--steps=20", "--normalize=auto", label="auto")
    learner.succeed()
    assert "resumed" in learner.output.read_text() and "observations are normalized" not in learner.output.read_text()
    ranks = [sealed.start("learner", "--steps=30", "--normalize=auto", "--ranks=2", f"--rank={rank}",
                          f"--exchange=unix:{sealed.run_dir}/exchange.sock", label=f"rank{rank}") for rank in range(2)]
    for rank in ranks:
        rank.succeed()
    kept = safetensors.numpy.load_file(checkpoints(sealed.run_dir)[30])
    assert sorted(kept) == sorted(old)
    # A new run under auto; then the same as standard, which it is.
    fresh = sealed.folder / "fresh"
    sealed.start("learner", f"--run_dir={fresh}", "--steps=10", "--normalize=auto", label="fresh").succeed()
    assert "normalizer/mean" in safetensors.numpy.load_file(checkpoints(fresh)[10])
    sealed.start("learner", f"--run_dir={fresh}", "--steps=20", "--normalize=standard", label="standard").succeed()


def test_the_size_of_rewards_is_told_and_scaled(sealed):
    """Values are reported in the units of the logs, whatever the scale; a size far from 1 is warned of."""
    plain = sealed.start("learner", "--steps=30", "--report_every=1", label="plain")
    plain.succeed()
    assert "reward=run mean=" in plain.output.read_text() and "far from 1" not in plain.output.read_text()
    values = sealed.json_lines("learner.jsonl")
    scaled = sealed.folder / "scaled"
    learner = sealed.start("learner", f"--run_dir={scaled}", "--steps=30", "--report_every=1", "--reward_scale=1000",
                           label="scaled")
    learner.succeed()
    assert "try learner.reward_scale: 1" in learner.output.read_text()
    first = json.loads((scaled / "learner.jsonl").read_text().splitlines()[0])
    assert np.isclose(first["target_mean"], values[0]["target_mean"], atol=0.02)
    assert first["critic_loss"] > 1e4 * values[0]["critic_loss"]


def test_ranks_share_what_rank_0_measured(sealed):
    one, two = sealed.folder / "one", sealed.folder / "two"
    sealed.start("learner", f"--run_dir={one}", "--steps=20", label="one").succeed()
    ranks = [sealed.start("learner", f"--run_dir={two}", "--steps=20", "--ranks=2", f"--rank={rank}",
                          f"--exchange=unix:{two}/exchange.sock", label=f"rank{rank}") for rank in range(2)]
    for rank in ranks:
        rank.succeed()
    left, right = (safetensors.numpy.load_file(checkpoints(folder)[20]) for folder in (one, two))
    for name in ("normalizer/mean", "normalizer/scale"):
        assert left[name].tobytes() == right[name].tobytes()
    assert max(np.abs(left[name] - right[name]).max() for name in left if name.startswith("policy/")) < 1e-5


def test_a_run_keeps_its_choice(sealed):
    sealed.start("learner", "--steps=20").succeed()
    refused = sealed.start("learner", "--steps=40", "--normalize=none")
    assert refused.wait(30) != 0
    assert "normalize standard, expected none" in refused.output.read_text()
