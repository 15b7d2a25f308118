#!/usr/bin/env python3
"""Makes logs in which rewards are rare: pendulum-swingup, hundreds of episodes of random torques and a few good ones.

    third_party/venv/bin/python experiments/prioritized/make_logs.py FOLDER [--episodes 300] [--good 6] [--seed 1]

The reward of pendulum-swingup is 1 while the pendulum is within 8 degrees of upright, else 0, and its motor is too weak
to lift it without swinging. Random torques (a walk with a memory of half a second) hardly ever get there. The good
episodes are driven by a controller that pumps energy and balances, with noise. Needs dm_control, numpy and h5py
(tests/requirements.txt).
"""
import argparse
import json
import pathlib

import h5py
import numpy as np
from dm_control import suite

STEPS = 1000            # of an episode
TOP_ENERGY = 9.81 * 0.5 # of a mass of 1 kg, 0.5 m above the hinge [J]
INERTIA = 0.25          # kg m^2
DAMP, NOISE = 0.96, 0.3 # of random torques, per 20 ms; of good ones


def torque(observation):
    """Pumps energy until the pendulum can reach the top, balances near it."""
    height, aside, speed = *observation["orientation"], observation["velocity"][0]
    if height > 0.95:
        return -15 * aside - 4 * speed
    energy = 0.5 * INERTIA * speed**2 + TOP_ENERGY * height
    return np.sign(speed) * np.clip(4 * (TOP_ENERGY - energy), -1, 1)


def roll_out(environment, good, random):
    step, walk = environment.reset(), 0.0
    observations, actions, rewards = [], [], []
    for _ in range(STEPS):
        observations.append(np.concatenate([step.observation["orientation"], step.observation["velocity"]]))
        walk = DAMP * walk + random.normal(scale=NOISE)
        action = torque(step.observation) + random.normal(scale=NOISE) if good else walk
        actions.append([np.clip(action, -1, 1)])
        step = environment.step(actions[-1])
        rewards.append(step.reward)
    observations.append(np.concatenate([step.observation["orientation"], step.observation["velocity"]]))
    return np.array(observations, "f4"), np.array(actions, "f4"), np.array(rewards, "f4")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--good", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    environment = suite.load("pendulum", "swingup", {"random": options.seed})
    good = set(random.choice(options.episodes, options.good, replace=False).tolist())
    options.folder.mkdir(parents=True)
    signature = {"observation": [{"name": "orientation", "size": 2}, {"name": "velocity", "size": 1}],
                 "action": {"min": [-1], "max": [1]}, "rewards": ["swingup"], "control_period_s": 0.02}
    returns = np.zeros(options.episodes)
    with h5py.File(options.folder / "shard-00000.hdf5", "w") as file:
        for i in range(options.episodes):
            observations, actions, rewards = roll_out(environment, i in good, random)
            group = file.create_group(f"episode_{i}")
            group["observations"], group["actions"], group["rewards"] = observations, actions, rewards
            group["terminations"] = np.zeros(STEPS, bool)
            group["truncations"] = np.arange(STEPS) == STEPS - 1
            group.attrs["id"], group.attrs["total_steps"] = i, STEPS
            returns[i] = rewards.sum()
    (options.folder / "metadata.json").write_text(json.dumps({"signature": signature}))
    chosen = np.isin(np.arange(options.episodes), sorted(good))
    print(f"{options.episodes} episodes; returns of the {options.good} good ones {returns[chosen].mean():.0f} on average, "
          f"of the others {returns[~chosen].mean():.2f}; {(returns > 0).sum()} episodes have a reward, "
          f"{returns.sum() / STEPS / options.episodes:.2%} of the transitions")


if __name__ == "__main__":
    main()
