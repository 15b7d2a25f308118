"""Writes logs with h5py in Minari's layout, with Hindcast's metadata.json or with Minari's."""

import json

import h5py
import numpy as np

O, A = 17, 6
SIGNATURE = {
    "observation": [{"name": "position", "size": 8}, {"name": "velocity", "size": 9}],
    "action": {"min": [-1.0] * A, "max": [1.0] * A}, "rewards": ["run"], "control_period_s": 0.01}


def episode(number, T, K=1, terminated=False):
    """Returns a dict of arrays. The first element of each observation identifies it: 1000 * number + t."""
    random = np.random.default_rng(number)
    observations = random.standard_normal((T + 1, O)).astype(np.float32)
    observations[:, 0] = 1000 * number + np.arange(T + 1)
    terminations, truncations = np.zeros(T, bool), np.zeros(T, bool)
    terminations[-1], truncations[-1] = terminated, not terminated
    rewards = random.random((T, K) if K > 1 else T).astype(np.float32)
    return {"observations": observations, "actions": random.uniform(-1, 1, (T, A)).astype(np.float32),
            "rewards": rewards, "terminations": terminations, "truncations": truncations}


def rows(one):
    """The rows that the replay must hold for an episode, of shape (T + 1, W)."""
    T = len(one["actions"])
    made = np.zeros((T + 1, O + A + one["rewards"].reshape(T, -1).shape[1] + 1), np.float32)
    made[:, :O] = one["observations"]
    made[:T, O:O + A] = one["actions"]
    made[:T, O + A:-1] = one["rewards"].reshape(T, -1)
    made[:T, -1] = 1 - one["terminations"]
    return made


def write_file(path, episodes, first=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, one in enumerate(episodes, first):
            group = file.create_group(f"episode_{number}")
            group.attrs["id"], group.attrs["total_steps"] = number, len(one["actions"])
            for name, values in one.items():
                if isinstance(values, dict):
                    for part, array in values.items():
                        group.create_dataset(f"{name}/{part}", data=array)
                else:
                    group.create_dataset(name, data=values)


def write_dataset(folder, files, signature=SIGNATURE):
    """Writes one file for each list of episodes in `files`, and a metadata.json with the signature only."""
    for i, episodes in enumerate(files):
        write_file(folder / f"log-{i:03}.hdf5", episodes)
    (folder / "metadata.json").write_text(json.dumps({"signature": signature}))


def minari_metadata(observation_space, action_space, episodes):
    return {"total_episodes": len(episodes), "total_steps": sum(len(e["actions"]) for e in episodes),
            "data_format": "hdf5", "observation_space": json.dumps(observation_space),
            "action_space": json.dumps(action_space), "dataset_id": "test/x-v0", "minari_version": "0.5.0"}


def box(size, low=-np.inf, high=np.inf, dtype="float64"):
    return {"type": "Box", "dtype": dtype, "shape": [size], "low": [low] * size, "high": [high] * size}
