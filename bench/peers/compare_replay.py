"""`run replay`: Reverb and our replay server, inserting, sampling and answering one sample, in turns."""

import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import tempfile

import environment
from compare_learner import processor, say
from environment import PEERS

STEPS = 10  # of a snippet
TABLES = ("steps", "arrays")
WAYS = ("client", "dataset:1024:1", "dataset:512:1", "dataset:512:2", "dataset:100:4")
LATENCIES = ("one:client", "one:stream")
WRITERS = (1, 2)
START_S, TURN_S = 300, 300  # limits: import of TensorFlow; a turn, beyond its seconds


class Process:
    """replay_reverb.py in one of its roles."""

    def __init__(self, python, role, port):
        self._role = role
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen([python, PEERS / "replay_reverb.py", role, str(port)], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log)

    def ask(self, *words):
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def answer(self, timeout_s):
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            environment.fail(f"Reverb's {self._role}: no answer within {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            said = [text for text in self._log.read().splitlines() if text.strip()]
            environment.fail(f"Reverb's {self._role}: {said[-1] if said else 'ended without a word'}")
        return json.loads(line)

    def close(self):
        self._process.kill()
        self._process.communicate()
        self._log.close()


class Reverb:
    """A server, two writers and a sampler, warm."""

    def __init__(self, python, stack):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        def start(role):
            process = Process(python, role, port)
            stack.callback(process.close)
            return process
        self._server = start("server")
        self._server.answer(START_S)
        self._writers = [start("writer") for _ in WRITERS]
        self._sampler = start("sampler")
        for process in (*self._writers, self._sampler):
            process.answer(START_S)

    def insert(self, table, n_writers, seconds, items=10**9):
        """Steps a second of so many writers together."""
        writers = self._writers[:n_writers]
        for writer in writers:
            writer.ask(table, seconds, items)
        done = [writer.answer(seconds + TURN_S) for writer in writers]
        return sum(STEPS * one["items"] / one["seconds"] for one in done)

    def sample(self, table, way, seconds):
        """Snippets a second, or microseconds for one."""
        self._sampler.ask(table, way, seconds)
        done = self._sampler.answer(seconds + TURN_S)
        return done["p50_us"] if "p50_us" in done else done["items"] / done["seconds"]


def ours(args):
    done = subprocess.run([args.program, "--json", "--rounds=1", f"--seconds={args.seconds}"], text=True, check=False,
                          capture_output=True, timeout=TURN_S + 20 * args.seconds)
    if done.returncode != 0:
        environment.fail(f"bench_replay: {done.stderr.strip()}")
    return {name: value["value"] for name, value in json.loads(done.stdout).items()}


def take_turns(args, reverb):
    """{(what, way): a figure of each round}; Reverb in each of its ways, then ours."""
    figures = {}
    def note(*key, value):
        figures.setdefault(key, []).append(value)
    for _ in range(args.rounds):
        for table in TABLES:
            for n in WRITERS:
                note("insert", f"{table}:{n}", value=reverb.insert(table, n, args.seconds))
            for way in WAYS:
                note("sample", f"{table}:{way}", value=reverb.sample(table, way, args.seconds))
            for way in LATENCIES:
                note("latency", f"{table}:{way}", value=reverb.sample(table, way, args.seconds))
        mine = ours(args)
        note("insert", "ours", value=mine["insert_steps"])
        note("insert", "ours-fresh", value=mine["insert_steps_fresh"])
        note("sample", "ours", value=mine["sample_snippets"])
        note("latency", "ours", value=mine["sample_one_p50"])
    return {key: statistics.median(values) for key, values in figures.items()}


def compare(args, reverb):
    """A line for each way of Reverb's; ratio: how many times ours is faster."""
    medians = take_turns(args, reverb)
    units = {"insert": "steps_per_s", "sample": "snippets_per_s", "latency": "p50_us"}
    results = []
    for (what, way), median in medians.items():
        mine = medians[what, "ours"]
        result = {"part": what, "way": way, units[what]: median}
        if not way.startswith("ours"):
            result["ratio"] = median / mine if what == "latency" else mine / median
        results.append(result)
    # Reverb's best way counts: with whole arrays, and for each kind of single sample.
    def best(what, choose, *parts):
        return choose(value for (kind, way), value in medians.items()
                      if kind == what and not way.startswith("ours") and any(part in way for part in parts))
    results.append({"part": "summary",
                    "insert_over_arrays": medians["insert", "ours"] / best("insert", max, "arrays"),
                    "insert_over_steps": medians["insert", "ours"] / best("insert", max, "steps"),
                    "sample_over_best": medians["sample", "ours"] / best("sample", max, ""),
                    "latency_under_client": best("latency", min, "one:client") / medians["latency", "ours"],
                    "latency_under_stream": best("latency", min, "one:stream") / medians["latency", "ours"]})
    return results


def parse(arguments):
    parser = environment.parser_of("replay", __doc__, 3, 3.0)
    parser.add_argument("--fill", type=int, default=100_000, help="items in each of Reverb's tables before it is timed")
    args = environment.parse(parser, arguments, "bench/bench_replay", "bench_replay")
    if args.fill < 1:
        parser.error("--fill: expected more than 0")
    return args


def main(arguments):
    args = parse(arguments)
    python = environment.python("reverb")
    machine = {"processor": processor(), "cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}
    say(f"machine processor=\"{machine['processor']}\" cores={machine['cores']} load={machine['load']}")
    with contextlib.ExitStack() as stack:
        reverb = Reverb(python, stack)
        for table in TABLES:
            reverb.insert(table, len(WRITERS), 600, args.fill // len(WRITERS))
        results = compare(args, reverb)
    for result in results:
        say(environment.line_of(result))
    if args.json is not None:
        environment.write_json(args.json, {"machine": machine, "rounds": args.rounds, "seconds": args.seconds,
                                           "results": results})
    return 0
