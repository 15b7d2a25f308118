"""A plant with no simulator on Hindcast's side: a cart on a rail, in physical units of very different size.

It records itself as users' programs do (CSV, robomimic, npz) and measures a policy that was learned from the records.
"""

import csv
import json
import os
import warnings

import gymnasium
import h5py
import minari
import numpy as np
import pyarrow
import pyarrow.parquet
from minari.data_collector import EpisodeBuffer

PERIOD = 0.05             # s
LOW, HIGH = -6.0, 10.0    # N
GOAL, NEAR = 0.4, 0.05    # m
STEPS = 60                # of an episode at most
TICKS = 40000.0           # encoder, per m
SLICES = (("encoder", 1), ("speed", 1), ("strain", 1))


class Cart:
    def __init__(self, random):
        self.x, self.v, self.force, self.held = GOAL + random.uniform(-1, 1), random.normal(0, 0.2), 0.0, 0

    def observe(self):
        return np.array([self.x * TICKS, self.v, self.force * 1e-5])

    def step(self, force):
        self.force = float(np.clip(force, LOW, HIGH))
        self.v += PERIOD * (self.force - 2 - 1.5 * self.v) / 1.2  # a rail that slopes by 2 N
        self.x += PERIOD * self.v
        self.held = self.held + 1 if abs(self.x - GOAL) < NEAR and abs(self.v) < 0.3 else 0
        return self.held >= 4


def rollout(policy, random):
    """(observations (T + 1, 3), actions (T, 1), rewards (T), success)."""
    cart = Cart(random)
    observations, actions, success = [cart.observe()], [], False
    while len(actions) < STEPS and not success:
        actions.append([float(np.clip(policy(observations[-1]), LOW, HIGH))])
        success = cart.step(actions[-1][0])
        observations.append(cart.observe())
    rewards = np.zeros(len(actions))
    rewards[-1] = success
    return np.array(observations), np.array(actions), rewards, success


def operator(random):
    """Whoever was at the controls: gains and an offset of their own, and a shaking hand."""
    kp, kd, offset = random.uniform(3, 14), random.uniform(0.5, 4), random.normal(0, 1.2)
    return lambda o: kp * (GOAL - o[0] / TICKS) - kd * o[1] + 2 + offset + random.normal(0, 1.5)


def records(n, seed=1):
    random = np.random.default_rng(seed)
    return [rollout(operator(random), random) for _ in range(n)]


def success(policy, n=50, seed=9):
    return np.mean([rollout(policy, np.random.default_rng(seed + i))[3] for i in range(n)])


def write_csv(folder, episodes):
    """A file for each episode; the last row has an observation alone, and the success of the step that led there."""
    folder.mkdir()
    for i, (observations, actions, rewards, _) in enumerate(episodes):
        with open(folder / f"run_{i:03}.csv", "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "encoder", "speed", "strain", "command", "success"])
            for t, o in enumerate(observations.tolist()):
                writer.writerow([f"{t * PERIOD:.3f}", *map(repr, o), actions[t][0] if t < len(actions) else "",
                                 int(t > 0 and rewards[t - 1])])
    return folder


def write_npz(folder, episodes):
    folder.mkdir()
    for i, (observations, actions, _, succeeded) in enumerate(episodes):
        np.savez(folder / f"run_{i:03}.npz", encoder=observations[:, 0], speed=observations[:, 1],
                 strain=observations[:, 2], command=actions, success=np.array(succeeded))
    return folder


def write_robomimic(path, episodes):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "cart"})
        for i, (observations, actions, rewards, _) in enumerate(episodes):
            demo = data.create_group(f"demo_{i}")
            demo.attrs["num_samples"] = len(actions)
            for j, (name, _) in enumerate(SLICES):
                demo[f"obs/{name}"] = observations[:-1, j:j + 1]
                demo[f"next_obs/{name}"] = observations[1:, j:j + 1]
            demo["actions"], demo["rewards"] = actions, rewards
            demo["dones"] = np.arange(1, len(actions) + 1) == len(actions)
    return path


def write_d4rl(path, episodes):
    last = [np.arange(1, len(actions) + 1) == len(actions) for _, actions, _, _ in episodes]
    with h5py.File(path, "w") as file:
        file["observations"] = np.concatenate([o[:-1] for o, _, _, _ in episodes])
        file["next_observations"] = np.concatenate([o[1:] for o, _, _, _ in episodes])
        file["actions"] = np.concatenate([a for _, a, _, _ in episodes])
        file["rewards"] = np.concatenate([r for _, _, r, _ in episodes])
        file["terminals"] = np.concatenate([l & s for l, (_, _, _, s) in zip(last, episodes)])
        file["timeouts"] = np.concatenate([l & ~np.bool_(s) for l, (_, _, _, s) in zip(last, episodes)])
    return path


def write_minari(folder, episodes):
    """By the minari package, with Dict observations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["MINARI_DATASETS_PATH"] = str(folder)
        folder.mkdir()
        box = gymnasium.spaces.Box
        buffers = []
        for i, (observations, actions, rewards, succeeded) in enumerate(episodes):
            last = np.arange(1, len(actions) + 1) == len(actions)
            parts = {name: observations[:, j:j + 1] for j, (name, _) in enumerate(SLICES)}
            buffers.append(EpisodeBuffer(id=i, observations=parts, actions=actions, rewards=rewards,
                                         terminations=last & bool(succeeded), truncations=last & (not succeeded)))
        minari.create_dataset_from_buffers(
            "cart/records-v0", buffer=buffers, env=None, eval_env=None, algorithm_name="hand", author="x",
            author_email="x@example.org", code_permalink="none", description="x",
            observation_space=gymnasium.spaces.Dict({name: box(-np.inf, np.inf, (1,), np.float64) for name, _ in SLICES}),
            action_space=box(LOW, HIGH, (1,), np.float64))
    return folder / "cart" / "records-v0"


def write_lerobot(folder, episodes):
    """Version 3: one Parquet file, no observation after the last action."""
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    lengths = [len(actions) for _, actions, _, _ in episodes]
    ends = np.cumsum(lengths)
    states = np.concatenate([o[:-1] for o, _, _, _ in episodes]).astype(np.float32)
    actions = np.concatenate([a for _, a, _, _ in episodes]).astype(np.float32)
    last = np.concatenate([np.arange(1, n + 1) == n for n in lengths])
    pyarrow.parquet.write_table(pyarrow.table({
        "observation.state": pyarrow.array(states.tolist(), pyarrow.list_(pyarrow.float32(), 3)),
        "action": pyarrow.array(actions.tolist(), pyarrow.list_(pyarrow.float32(), 1)),
        "timestamp": np.concatenate([np.arange(n) * PERIOD for n in lengths]).astype(np.float32),
        "frame_index": np.concatenate([np.arange(n) for n in lengths]),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths), "index": np.arange(ends[-1]),
        "task_index": np.zeros(ends[-1], int),
        "next.reward": np.concatenate([r for _, _, r, _ in episodes]).astype(np.float32), "next.done": last,
        "next.success": last & np.repeat([bool(s) for _, _, _, s in episodes], lengths),
    }), folder / "data/chunk-000/file-000.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([
        {"episode_index": i, "length": n, "dataset_from_index": int(end - n), "dataset_to_index": int(end),
         "data/chunk_index": 0, "data/file_index": 0} for i, (n, end) in enumerate(zip(lengths, ends))]),
        folder / "meta/episodes/chunk-000/file-000.parquet")
    number = {"dtype": "float32", "names": None}
    (folder / "meta/info.json").write_text(json.dumps({
        "codebase_version": "v3.0", "robot_type": "cart", "total_episodes": len(lengths), "total_frames": int(ends[-1]),
        "fps": round(1 / PERIOD), "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {"observation.state": {**number, "shape": [3], "names": [name for name, _ in SLICES]},
                     "action": {**number, "shape": [1]}, "next.reward": {**number, "shape": [1]}}}))
    return folder
