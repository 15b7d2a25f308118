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
