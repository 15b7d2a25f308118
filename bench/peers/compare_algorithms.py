"""`run algorithms`: baselines of d3rlpy and ours on the same logs, with the same sizes and steps, by MuJoCo returns."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import environment
from compare_learner import processor, say
from environment import PEERS, ROOT

TASK, LOGS = "cheetah-run", ROOT / "data/cheetah-run"
# Theirs and ours
ALGORITHMS = {"bc": "bm", "bcq": "bcq", "crr": "crr", "iql": "iql", "td3+bc": "td3+bc"}
# Of both: 32 snippets of 8, as in the experiment; the candidates of BCQ's backup are our default.
BATCH, WIDTHS, GAMMA, CANDIDATES = 256, [256, 256, 256], 0.99, 10
T_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895)  # Student's t by the number of seeds, from 2 on


def theirs(args, interpreter, algorithm, seed):
    """Mean return of the policy after the last step. A file holds what is known."""
    path = args.run_dir / "d3rlpy" / algorithm / f"seed-{seed}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [interpreter, PEERS / "algorithms_d3rlpy.py", algorithm, LOGS, f"--task={TASK}",
                   f"--python={args.python}", f"--seed={seed}", f"--steps={args.steps}", f"--batch={BATCH}",
                   f"--widths={WIDTHS}", f"--gamma={GAMMA}", f"--candidates={CANDIDATES}",
                   f"--episodes={args.episodes}", f"--threads={args.threads}"]
        done = subprocess.run(list(map(str, command)), text=True, capture_output=True, check=False)
        if done.returncode != 0:
            environment.fail(f"d3rlpy {algorithm} seed {seed}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
        environment.write_json(path, json.loads(done.stdout.splitlines()[-1]))
    return statistics.fmean(json.loads(path.read_text())["returns"])


def ours(args, algorithm, seed):
    """The same of a run of ours, which goes on where it was."""
    folder = args.run_dir / "ours"
    command = [ROOT / "experiments/compare-cheetah-run", f"--algorithms={ALGORITHMS[algorithm]}", f"--seeds={seed}",
               "--jobs=1", f"--run-dir={folder}", "--", f"--learner.steps={args.steps}",
               f"--learner.widths={WIDTHS}", f"--learner.gamma={GAMMA}", f"--learner.candidates={CANDIDATES}",
               "--learner.normalize=standard", f"--evaluator.episodes={args.episodes}", "--evaluator.threads=1",
               "--evaluator.min_interval_s=60", *args.flags]
    done = subprocess.run(list(map(str, command)), text=True, capture_output=True, check=False,
                          env=os.environ | {"BUILD": str(args.build)})
    if done.returncode != 0:
        environment.fail(f"ours {algorithm} seed {seed}: {done.stderr.strip()}")
    summary = json.loads((folder / ALGORITHMS[algorithm] / f"seed-{seed}" / "summary.json").read_text())
    return summary["last_policy_return_mean"]


def result_of(algorithm, peer, returns):
    mean = statistics.fmean(returns)
    half = T_95[len(returns) - 2] * statistics.stdev(returns) / len(returns) ** 0.5 if len(returns) > 1 else 0.0
    return {"algorithm": algorithm, "peer": peer, "return": mean, "low": mean - half, "high": mean + half,
            "seeds": "/".join(f"{value:.0f}" for value in returns)}


def parse(arguments):
    flags = arguments[arguments.index("--") + 1:] if "--" in arguments else []
    parser = environment.parser_of("algorithms", __doc__, python_with="dm_control and mujoco")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS), help="a list")
    parser.add_argument("--peers", default="d3rlpy,ours", help="a list")
    parser.add_argument("--seeds", default="1,2,3", help="a list")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1, help="of d3rlpy; ours has one")
    parser.add_argument("--run-dir", type=pathlib.Path, default=ROOT / "runs/compare-algorithms")
    args = environment.parse(parser, arguments[:len(arguments) - len(flags) - bool("--" in arguments)], "hindcast",
                             "hindcast")
    args.flags = flags
    args.run_dir = args.run_dir.resolve()
    args.algorithms, args.peers = args.algorithms.split(","), args.peers.split(",")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    unknown = (set(args.algorithms) - set(ALGORITHMS)) | (set(args.peers) - {"d3rlpy", "ours"})
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; expected {', '.join(ALGORITHMS)}; d3rlpy, ours")
    return args


def main(arguments):
    args = parse(arguments)
    machine = {"processor": processor(), "load": round(os.getloadavg()[0], 2)}
    say(f"machine processor=\"{machine['processor']}\" load={machine['load']}")
    interpreter = environment.python("d3rlpy") if "d3rlpy" in args.peers else None
    returns = {(algorithm, peer): [] for algorithm in args.algorithms for peer in args.peers}
    # Seed by seed, so that an early look has something of every algorithm.
    for seed in args.seeds:
        for algorithm, peer in returns:
            value = (theirs(args, interpreter, algorithm, seed) if peer == "d3rlpy" else ours(args, algorithm, seed))
            returns[algorithm, peer].append(value)
            print(f"{algorithm} {peer} seed {seed}: {value:.1f}", file=sys.stderr, flush=True)
    results = [result_of(algorithm, peer, values) for (algorithm, peer), values in returns.items()]
    for result in results:
        say(environment.line_of(result))
    if args.json is not None:
        environment.write_json(args.json, {"machine": machine, "steps": args.steps, "results": results})
    return 0
