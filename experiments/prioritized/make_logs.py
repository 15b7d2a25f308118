#!/usr/bin/env python3
"""Makes logs in which rewards are rare: reacher-hard, 2000 short episodes, of which one in twenty was made to succeed.

    third_party/venv/bin/python experiments/prioritized/make_logs.py FOLDER [--episodes 2000] [--good 100] [--seed 1]

The reward of reacher-hard is 1 while the finger is in a target of 1.5 cm, else 0. An episode here is one second. Random
torques hardly ever pass through the target in that time. The good episodes are driven to the target by a controller,
with noise. Needs dm_control, numpy and h5py (tests/requirements.txt).
"""
import argparse
import json
import pathlib

import h5py
import numpy as np
from dm_control import suite

STEPS = 50                   # of an episode, 20 ms each
LINK = 0.12                  # length of both links [m]
STIFFNESS, DAMPING = 800, 1  # of the controller
MEMORY, NOISE = 0.96, 0.3    # of random torques, per step; of good ones


def torque(observation):
    """Pulls the finger to the target, as a spring would."""
    shoulder, wrist = observation["position"]
    s1, c1, s2, c2 = np.sin(shoulder), np.cos(shoulder), np.sin(shoulder + wrist), np.cos(shoulder + wrist)
    jacobian = LINK * np.array([[-s1 - s2, -s2], [c1 + c2, c2]])
    return STIFFNESS * jacobian.T @ observation["to_target"] - DAMPING * observation["velocity"]


def row(observation):
    return np.concatenate([observation[name] for name in ("position", "to_target", "velocity")])


def roll_out(environment, good, random):
    step, walk = environment.reset(), np.zeros(2)
    observations, actions, rewards = [row(step.observation)], [], []
    for _ in range(STEPS):
        walk = MEMORY * walk + random.normal(scale=NOISE, size=2)
        action = torque(step.observation) + random.normal(scale=NOISE, size=2) if good else walk
        actions.append(np.clip(action, -1, 1))
        step = environment.step(actions[-1])
        rewards.append(step.reward)
        observations.append(row(step.observation))
    return np.array(observations, "f4"), np.array(actions, "f4"), np.array(rewards, "f4")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--good", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    environment = suite.load("reacher", "hard", {"random": options.seed})
    good = np.isin(np.arange(options.episodes), random.choice(options.episodes, options.good, replace=False))
    options.folder.mkdir(parents=True)
    signature = {"observation": [{"name": name, "size": 2} for name in ("position", "to_target", "velocity")],
                 "action": {"min": [-1, -1], "max": [1, 1]}, "rewards": ["hard"], "control_period_s": 0.02}
    returns = np.zeros(options.episodes)
    with h5py.File(options.folder / "shard-00000.hdf5", "w") as file:
        for i in range(options.episodes):
            observations, actions, rewards = roll_out(environment, good[i], random)
            group = file.create_group(f"episode_{i}")
            group["observations"], group["actions"], group["rewards"] = observations, actions, rewards
            group["terminations"] = np.zeros(STEPS, bool)
            group["truncations"] = np.arange(STEPS) == STEPS - 1
            group.attrs["id"], group.attrs["total_steps"] = i, STEPS
            returns[i] = rewards.sum()
    (options.folder / "metadata.json").write_text(json.dumps({"signature": signature}))
    print(f"{options.episodes} episodes of {STEPS} steps; return of the {options.good} good ones "
          f"{returns[good].mean():.0f} on average, of the others {returns[~good].mean():.2f}; {(returns > 0).sum()} "
          f"episodes and {returns.sum() / STEPS / options.episodes:.2%} of the transitions have a reward")


if __name__ == "__main__":
    main()
