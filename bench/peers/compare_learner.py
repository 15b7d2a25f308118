"""`run learner`: JAX, PyTorch and our learner on the same step, in turns."""

import argparse
import json
import os
import pathlib
import platform
import re
import select
import statistics
import subprocess
import sys
import tempfile

import environment
from environment import PEERS, ROOT, line_of

SIZES = {"quick": (64, 8), "large": (512, 10)}  # snippets, transitions
PRECISIONS = ("f32", "bf16")  # of the peers; "bf16" is theirs where no gradient is needed
# Ours beside each of them: bench_learner's names, and those of the ratios
OURS = {"f32": ("f32",), "bf16": ("bf16-evaluation", "bf16")}
RATIOS = {"f32": "ratio", "bf16-evaluation": "ratio_bf16_evaluation", "bf16": "ratio_bf16"}

# Every way a peer's program knows, those that have won so far, and those that a user would write down first.
WAYS = {
    "all": {
        "jax": ("whole", "blocks16", "blocks32", "blocks64"),
        "torch": ("eager-whole", "eager-blocks16", "eager-blocks64", "compiled-whole", "compiled-blocks64"),
    },
    "usual": {"jax": ("blocks16", "blocks64"), "torch": ("eager-blocks64", "compiled-blocks64")},
    "plain": {"jax": ("whole",), "torch": ("eager-whole", "compiled-whole")},
}
# With more than one thread also these
WAYS_THREADS = {"jax": ("blocks16-split", "blocks32-split"), "torch": ()}
TRIALS, TRIAL_S = 3, 0.5  # the best of them counts: other work can only slow a way down
READY_TIMEOUT_S = 900  # import, the reference case, compilation
STEP_TIMEOUT_S = 120   # beyond the seconds asked for


class Failed(Exception):
    pass


def surroundings(peer, threads):
    """Environment and affinity of a measured process: the first `threads` cores that we may use ourselves."""
    # OPENBLAS_CORETYPE is set in some images, and a wrong one halves OpenBLAS (our bench's yardstick).
    env = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "PYTHONPATH")}
    env |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    env["TORCHINDUCTOR_CACHE_DIR"] = str(ROOT / f"third_party/peers-venv-{peer}/compiled")
    cores = set(sorted(os.sched_getaffinity(0))[:threads])
    return {"env": env, "preexec_fn": lambda: os.sched_setaffinity(0, cores)}


class Peer:
    """A peer's program, warm, waiting for its turns."""

    def __init__(self, name, interpreter, way, precision, size, threads):
        self.name, self.way, self.precision = name, way, precision
        self._log = tempfile.TemporaryFile("w+")
        command = [interpreter, PEERS / f"learner_{name}.py", "--way", way, "--precision", precision, "--size", size]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, **surroundings(name, threads)
        )
        try:
            self.facts = self._answer(READY_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def _answer(self, timeout_s):
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise Failed(f"no answer within {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            said = [text for text in self._log.read().splitlines() if text.strip()]
            raise Failed(said[-1] if said else "it ended without a word")
        return json.loads(line)

    def measure(self, seconds):
        try:
            self._process.stdin.write(f"{seconds}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"it is gone: {error}") from error
        return self._answer(seconds + STEP_TIMEOUT_S)["steps_per_s"]

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()


class Ours:
    """build/bench/bench_learner, one process a turn."""

    name, way = "ours", None

    def __init__(self, program, precision, size, threads):
        self._program, self._size, self._threads = program, size, threads
        self.precision = precision
        self.share_of_sgemm = []

    def _run(self, options, seconds):
        command = [self._program, f"--threads={self._threads}", f"--seconds={seconds:g}", *options]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=20 * seconds + STEP_TIMEOUT_S,
                                  check=False, **surroundings(self.name, self._threads))
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(str(error)) from error

    def measure(self, seconds):
        B, N = SIZES[self._size]
        done = self._run([f"--size={self._size}", f"--precision={self.precision}"], seconds)
        if done.returncode == 2 and self.precision == "f32":
            # A build from before bench_learner knew sizes and precisions
            done = self._run([f"--snippets={B}", f"--transitions={N}", "--rounds=1"], seconds)
        if done.returncode != 0:
            raise Failed((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
        # It prints a line for one thread, too, to compare with
        text = "\n".join(line for line in done.stdout.splitlines()
                         if f" threads={self._threads} " in line or not line.startswith("bench_learner "))
        steps = self._figure(text, r"\bsteps_per_s=", r"^learner_steps ")
        self.share_of_sgemm.append(self._figure(text, r"\bshare_of_sgemm=", r"^learner_sgemm_ratio "))
        return steps

    @staticmethod
    def _figure(text, *patterns):
        for pattern in patterns:
            found = re.search(pattern + r"([0-9.eE+-]+)", text, re.MULTILINE)
            if found:
                return float(found.group(1))
        raise Failed(f"no {patterns[0]} in what it printed")

    def close(self):
        pass


def say(text):
    print(text, flush=True)


def fastest(name, interpreter, ways, precision, size, threads):
    """Tries each way; the fastest one's process, warm, or None where none worked."""
    best, best_speed = None, 0.0
    for way in ways:
        where = f"peer={name} precision={precision} size={size} threads={threads} way={way}"
        peer = None
        try:
            peer = Peer(name, interpreter, way, precision, size, threads)
            speed = max(peer.measure(TRIAL_S) for _ in range(TRIALS))
        except Failed as error:
            say(f"trial {where} failed: {error}")
            if peer is not None:
                peer.close()
            continue
        say(f"trial {where} steps_per_s={speed:.4g} worst_loss_error={peer.facts['error']:.1e}")
        if speed > best_speed:
            best, peer, best_speed = peer, best, speed
        if peer is not None:
            peer.close()
    return best


def take_turns(contestants, rounds, seconds):
    """{(name, precision): steps a second of each round}; a contestant that fails is out, with a word."""
    speeds = {}
    out = set()
    for _ in range(rounds):
        for contestant in contestants:
            key = contestant.name, contestant.precision
            if key in out:
                continue
            try:
                speeds.setdefault(key, []).append(contestant.measure(seconds))
            except Failed as error:
                say(f"out peer={contestant.name} precision={contestant.precision}: {error}")
                out.add(key)
    return {key: values for key, values in speeds.items() if key not in out and values}


def compare(args, interpreters, size, threads):
    """Results of one size and number of threads, printed and as a list of dicts."""
    contestants = []
    try:
        for precision in args.precisions:
            for name, interpreter in interpreters.items():
                ways = WAYS[args.ways][name] + (WAYS_THREADS[name] if threads > 1 and args.ways != "plain" else ())
                peer = fastest(name, interpreter, ways, precision, size, threads)
                if peer is not None:
                    contestants.append(peer)
            contestants += [Ours(args.program, ours, size, threads) for ours in OURS[precision]]
        speeds = take_turns(contestants, args.rounds, args.seconds)
    finally:
        for contestant in contestants:
            contestant.close()

    ours = {precision: statistics.median(speeds["ours", precision])
            for precision in RATIOS if ("ours", precision) in speeds}
    results = []
    for contestant in contestants:
        values = speeds.get((contestant.name, contestant.precision))
        if values is None:
            continue
        median = statistics.median(values)
        result = {"peer": contestant.name, "precision": contestant.precision, "size": size, "threads": threads,
                  "steps_per_s": median}
        result |= {RATIOS[precision]: speed / median for precision, speed in ours.items()}
        result |= {"low": min(values), "high": max(values)}
        if contestant.way is not None:
            result["way"] = contestant.way
        else:
            result["share_of_sgemm"] = statistics.median(contestant.share_of_sgemm)
        results.append(result)
        say(line_of(result))
    return results


def second_core(results):
    """Two threads over one, where both were measured."""
    at = {(r["peer"], r["precision"], r["size"], r["threads"]): r["steps_per_s"] for r in results}
    lines = []
    for (name, precision, size, threads), speed in at.items():
        one = at.get((name, precision, size, 1))
        if threads == 2 and one is not None:
            lines.append({"peer": name, "precision": precision, "size": size, "ratio": speed / one})
            say("second_core " + line_of(lines[-1]))
    return lines


def parse(arguments):
    def choices(*allowed):
        def convert(text):
            values = text.split(",")
            if not all(value in allowed for value in values):
                raise argparse.ArgumentTypeError(f"{text}: expected a list of {', '.join(allowed)}")
            return values
        return convert

    def positive(kind):
        def convert(text):
            value = kind(text)
            if not value > 0:
                raise argparse.ArgumentTypeError(f"{text}: expected more than 0")
            return value
        return convert

    n_cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="bench/peers/run learner", description=__doc__)
    parser.add_argument("--size", type=choices(*SIZES), default=["quick"])
    parser.add_argument("--threads", type=choices(*map(str, range(1, n_cores + 1))), default=["1"])
    parser.add_argument("--rounds", type=positive(int), default=3)
    parser.add_argument("--seconds", type=positive(float), default=5.0, help="of each turn")
    parser.add_argument("--peers", type=choices("jax", "torch"), default=["jax", "torch"])
    parser.add_argument("--precisions", type=choices(*PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--ways", choices=WAYS, default="all", help="which ways of a peer are tried")
    parser.add_argument("--json", type=pathlib.Path, help="also write the results to this file")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="where bench/bench_learner is")
    args = parser.parse_args(arguments)
    args.program = args.build.resolve() / "bench/bench_learner"
    if not os.access(args.program, os.X_OK):
        environment.fail(f"{args.program} is not there: cmake --build {args.build} --target bench_learner")
    return args


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main(arguments):
    args = parse(arguments)
    interpreters = {name: environment.python(name) for name in args.peers}
    load = os.getloadavg()[0]
    machine = {"processor": processor(), "cores": len(os.sched_getaffinity(0)), "load": round(load, 2)}
    say(f"machine processor=\"{machine['processor']}\" cores={machine['cores']} load={machine['load']}")
    results = []
    for size in args.size:
        for threads in map(int, args.threads):
            results += compare(args, interpreters, size, threads)
    report = {"machine": machine, "rounds": args.rounds, "seconds": args.seconds, "results": results,
              "second_core": second_core(results)}
    if args.json is not None:
        environment.write_json(args.json, report)
    wanted = {(name, "f32") for name in [*args.peers, "ours"]} if "f32" in args.precisions else set()
    missing = wanted - {(r["peer"], r["precision"]) for r in results}
    for name, precision in sorted(missing):
        print(f"bench/peers/run: no figure for {name} in {precision}", file=sys.stderr)
    return 1 if missing else 0
