"""A plant with no simulator on Hindcast's side: a cart on a rail, in physical units of very different size.

It records itself as users' programs do (CSV, robomimic, npz) and measures a policy that was learned from the records.
"""

import csv
import json

import h5py
import numpy as np

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
