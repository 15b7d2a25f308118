"""Small synthetic logs in our layout: shards beside a metadata.json that gives the signature alone.

The numbers have cheetah-run's signature and are random walks: fit to be learned from, not worth learning.
"""

import json

import h5py
import numpy as np

CHEETAH = {"observation": [{"name": "position", "size": 8}, {"name": "velocity", "size": 9}],
           "action": {"min": [-1] * 6, "max": [1] * 6}, "rewards": ["run"], "control_period_s": 0.01}


def make_episode(generator, length, signature=CHEETAH):
    """One episode as its HDF5 arrays."""
    O = sum(part["size"] for part in signature["observation"])
    A, K = len(signature["action"]["min"]), len(signature["rewards"])
    rewards = generator.uniform(0, 1, (length, K)).astype("f4")
    return {
        "observations": generator.standard_normal((length + 1, O)).cumsum(0).astype("f4") / 16,
        "actions": generator.uniform(-1, 1, (length, A)).astype("f4"),
        "rewards": rewards[:, 0] if K == 1 else rewards,
        "terminations": np.zeros(length, bool),
        "truncations": np.arange(length) == length - 1,
    }


def write_shard(path, episodes):
    with h5py.File(path, "w") as file:
        for i, episode in enumerate(episodes):
            group = file.create_group(f"episode_{i}")
            for name, values in episode.items():
                group[name] = values
            group.attrs["id"] = i
            group.attrs["total_steps"] = len(episode["actions"])


def write_dataset(folder, lengths, spoil=(), signature=CHEETAH, per_shard=10, seed=5):
    """Episodes of these lengths; those whose number is in `spoil` get a NaN. Returns the good ones' arrays."""
    folder.mkdir()
    (folder / "metadata.json").write_text(json.dumps({"signature": signature}))
    generator = np.random.default_rng(seed)
    episodes = [make_episode(generator, length, signature) for length in lengths]
    for number in spoil:
        episodes[number]["observations"][lengths[number] // 2, 3] = np.nan
    for first in range(0, len(episodes), per_shard):
        write_shard(folder / f"shard-{first // per_shard:05d}.hdf5", episodes[first:first + per_shard])
    return [episode for number, episode in enumerate(episodes) if number not in spoil]
