"""`run policy`: one action at a time, by libhindcast_policy and by onnxruntime under Python, one core, in turns."""

import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

import environment
from compare_environment import one_core
from compare_learner import processor, say
from environment import PEERS

TURN_S = 60  # limit of a turn beyond its seconds


def output_of(args, *command):
    done = subprocess.run(list(map(str, command)), text=True, capture_output=True, timeout=TURN_S + args.seconds,
                          preexec_fn=one_core(), check=False)
    if done.returncode != 0:
        environment.fail(done.stderr.strip())
    return done.stdout


def ours(args, rate):
    text = output_of(args, args.program, "policy", "bench", args.policy, f"--rate={rate}", f"--seconds={args.seconds}",
                     "--acting=mean")
    p50, p99, p999 = re.search(r"p50 (\S+) .*p99 (\S+) .*p99\.9 (\S+)", text).groups()
    return {"p50_us": float(p50), "p99_us": float(p99), "p999_us": float(p999)}


def theirs(args, model, rate):
    return json.loads(output_of(args, args.python, PEERS / "policy_onnxruntime.py", model, rate, args.seconds))


def compare(args, model, rate):
    """A result for each of both, medians of the rounds; ratio is theirs over ours, of the medians of one action."""
    turns = {"ours": [], "onnxruntime": []}
    for _ in range(args.rounds):
        turns["ours"].append(ours(args, rate))
        turns["onnxruntime"].append(theirs(args, model, rate))
    median = {way: {name: statistics.median(turn[name] for turn in of) for name in of[0]} for way, of in turns.items()}
    return [{"rate_hz": rate, "way": way, **figures, "ratio": figures["p50_us"] / median["ours"]["p50_us"]}
            for way, figures in median.items()]


def parse(arguments):
    parser = environment.parser_of("policy", __doc__, 3, 3.0, python_with="onnxruntime")
    parser.add_argument("policy", help="a run folder or a policy file")
    parser.add_argument("--rates", default="1000,0", help="a list; 0: one action after another")
    return environment.parse(parser, arguments, "hindcast", "hindcast")


def main(arguments):
    args = parse(arguments)
    machine = {"processor": processor(), "load": round(os.getloadavg()[0], 2)}
    say(f"machine processor=\"{machine['processor']}\" load={machine['load']}")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "policy.onnx"
        output_of(args, args.program, "policy", "export", args.policy, f"--onnx={model}", "--acting=mean")
        for rate in args.rates.split(","):
            for result in compare(args, model, float(rate)):
                results.append(result)
                say(environment.line_of(result))
    if args.json is not None:
        environment.write_json(args.json, {"machine": machine, "rounds": args.rounds, "seconds": args.seconds,
                                           "results": results})
    return 0
