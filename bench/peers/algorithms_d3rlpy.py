"""Trains one algorithm of d3rlpy on logs in Hindcast's layout and measures what it acts like. Started by
compare_algorithms.py; prints {"returns": [..], "train_s": ..}.

Batch, hidden layers, discount and BCQ's candidates are given, observations are standardised, as in ours; everything else
is d3rlpy's own."""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import d3rlpy
import h5py
import numpy as np
import torch


def read(folder):
    """All episodes, one after another; the observation after an episode's last action is not among them."""
    parts = {"observations": [], "actions": [], "rewards": [], "terminals": [], "timeouts": []}
    for path in sorted(folder.glob("*.hdf5")):
        with h5py.File(path) as file:
            for episode in sorted(file.values(), key=lambda group: group.attrs["id"]):
                T = len(episode["actions"])
                parts["observations"].append(episode["observations"][:T])
                parts["actions"].append(episode["actions"][:])
                parts["rewards"].append(episode["rewards"][:].reshape(T, -1)[:, :1])
                parts["terminals"].append(np.float32(episode["terminations"][:]))
                parts["timeouts"].append(np.float32(np.arange(T) == T - 1) * (1 - parts["terminals"][-1]))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def make(args):
    layers = d3rlpy.models.VectorEncoderFactory(hidden_units=args.widths)
    common = {"batch_size": args.batch, "observation_scaler": d3rlpy.preprocessing.StandardObservationScaler()}
    actor_critic = {**common, "gamma": args.gamma, "actor_encoder_factory": layers, "critic_encoder_factory": layers}
    algos = d3rlpy.algos
    return {
        "bc": lambda: algos.BCConfig(**common, encoder_factory=layers),
        "crr": lambda: algos.CRRConfig(**actor_critic),
        "iql": lambda: algos.IQLConfig(**actor_critic, value_encoder_factory=layers),
        "td3+bc": lambda: algos.TD3PlusBCConfig(**actor_critic),
        "bcq": lambda: algos.BCQConfig(**actor_critic, imitator_encoder_factory=layers,
                                       n_action_samples=args.candidates),
    }[args.algorithm]().create(device="cpu:0")


def measure(algo, args, O):
    """Returns of episodes, which all run at once."""
    with subprocess.Popen([args.python, pathlib.Path(__file__).with_name("algorithms_episodes.py"), args.task,
                           str(args.episodes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as episodes:
        while episodes.stdout.read(1) == b"o":
            x = np.frombuffer(episodes.stdout.read(4 * args.episodes * O), np.float32).reshape(args.episodes, O)
            episodes.stdin.write(np.float32(np.clip(algo.predict(x), -1, 1)).tobytes())
            episodes.stdin.flush()
        returns = np.frombuffer(episodes.stdout.read(), np.float32)
        episodes.stdin.close()
    if len(returns) != args.episodes:
        sys.exit("algorithms_episodes.py ended early")
    return [float(value) for value in returns]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm")
    parser.add_argument("logs", type=pathlib.Path)
    parser.add_argument("--task", required=True)
    parser.add_argument("--python", required=True, help="with dm_control")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--widths", type=json.loads, required=True)
    parser.add_argument("--gamma", type=float, required=True)
    parser.add_argument("--candidates", type=int, required=True)
    parser.add_argument("--episodes", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    d3rlpy.seed(args.seed)
    logs = read(args.logs)
    algo = make(args)
    begin = time.monotonic()
    algo.fit(d3rlpy.dataset.MDPDataset(**logs), n_steps=args.steps, n_steps_per_epoch=min(args.steps, 1000),
             logger_adapter=d3rlpy.logging.NoopAdapterFactory(), show_progress=False)
    train_s = time.monotonic() - begin
    returns = measure(algo, args, logs["observations"].shape[1])
    print(json.dumps({"returns": returns, "train_s": train_s}))


if __name__ == "__main__":
    main()
