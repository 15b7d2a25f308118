"""`run environment`: the control suite in dm_control, in mujoco.rollout and in ours, one core, in turns."""

import json
import os
import statistics
import subprocess

import environment
from compare_learner import processor, say
from environment import PEERS

TASKS = ("cheetah-run", "walker-walk", "quadruped-walk")
TURN_S = 120  # limit of a turn beyond its seconds


def one_core():
    """Affinity of everything that is measured: the same core for all."""
    core = min(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {core})


class Suite:
    """environment_suite.py, warm, waiting for its turns."""

    def __init__(self, python):
        self._process = subprocess.Popen([python, PEERS / "environment_suite.py"], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE, preexec_fn=one_core(),
                                         env=os.environ | {"OMP_NUM_THREADS": "1"})

    def measure(self, way, task, seconds):
        self._process.stdin.write(f"{way} {task} {seconds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            environment.fail(f"{way} {task}: environment_suite.py ended with {self._process.wait()}")
        return json.loads(line)["steps_per_s"]

    def close(self):
        self._process.kill()
        self._process.communicate()


def ours(args, task):
    """Whole episodes with their resets, as dm_control has them, and steps alone, as rollout has them. The bench walks
    a bare loop beside ours, so that half of its time is ours."""
    done = subprocess.run([args.program, f"--tasks={task}", f"--seconds={2 * args.seconds}", "--json"], text=True,
                          capture_output=True, timeout=TURN_S + 4 * args.seconds, preexec_fn=one_core(), check=False)
    if done.returncode != 0:
        environment.fail(f"{task}: {done.stderr.strip()}")
    values = {value["name"]: value["value"] for value in json.loads(done.stdout)}
    return values[f"{task}_episode_steps"], values[f"{task}_control_steps"]


def compare(args, suite, task):
    speeds = {"dm_control": [], "rollout": [], "episodes": [], "steps": []}
    for _ in range(args.rounds):
        for way in ("dm_control", "rollout"):
            speeds[way].append(suite.measure(way, task, args.seconds))
        episodes, steps = ours(args, task)
        speeds["episodes"].append(episodes)
        speeds["steps"].append(steps)
    median = {name: statistics.median(values) for name, values in speeds.items()}
    return {"task": task, "ours_steps_per_s": float(median["steps"]), "dm_control_steps_per_s": median["dm_control"],
            "rollout_steps_per_s": median["rollout"],
            "over_dm_control": median["episodes"] / median["dm_control"],
            "over_rollout": median["steps"] / median["rollout"]}


def parse(arguments):
    parser = environment.parser_of("environment", __doc__, 5, 2.0, python_with="dm_control and mujoco")
    parser.add_argument("--tasks", default=",".join(TASKS), help="a list")
    return environment.parse(parser, arguments, "bench/bench_environment", "bench_environment")


def main(arguments):
    args = parse(arguments)
    machine = {"processor": processor(), "load": round(os.getloadavg()[0], 2)}
    say(f"machine processor=\"{machine['processor']}\" load={machine['load']}")
    results = []
    suite = Suite(args.python)
    try:
        for task in args.tasks.split(","):
            results.append(compare(args, suite, task))
            say(environment.line_of(results[-1]))
    finally:
        suite.close()
    if args.json is not None:
        environment.write_json(args.json, {"machine": machine, "rounds": args.rounds, "seconds": args.seconds,
                                           "results": results})
    return 0
