"""`run restorer`: logs of every format, read by ours and by Python packages, and restored into a warm server."""

import contextlib
import json
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

import environment
from environment import PEERS

# What is written for each layout, in episodes of 1000 transitions: text is slow to write.
EPISODES = {"shards": 2000, "shards-gzip": 500, "robomimic": 500, "d4rl": 500, "d4rl-gzip": 300, "npz": 500,
            "npz-deflate": 200, "csv": 100, "parquet": 500, "mcap": 40}
RESTORED = ("shards", "shards-gzip")
TURN_S = 300  # limit of one turn


def logs(python, *arguments):
    """Output of restorer_logs.py."""
    return subprocess.run([python, PEERS / "restorer_logs.py", *map(str, arguments)], check=True, timeout=TURN_S,
                          capture_output=True, text=True).stdout


def has(python, module):
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def ours(args, folder):
    done = subprocess.run([args.program, f"--read={folder}"], check=True, timeout=TURN_S, capture_output=True, text=True)
    return json.loads(done.stdout)


# ---- reading ----

def compare_reading(args, layout, packages):
    """Ours and each package in turns; medians. Ratios above 1: ours is faster."""
    seconds = {"ours": [], **{package: [] for package in packages}}
    for _ in range(args.rounds):
        read = ours(args, args.folder / layout)
        seconds["ours"].append(read["seconds"])
        for package in packages:
            seconds[package].append(json.loads(logs(args.python, "read", layout, package, args.folder))["seconds"])
    if read["bad"]:
        environment.fail(f"{layout}: {read['bad']} bad episodes")
    took = {name: statistics.median(values) for name, values in seconds.items()}
    result = {"part": "read", "layout": layout, "rows": read["rows"], "rows_per_s": read["rows"] / took["ours"],
              "gb_per_s": read["bytes"] / took["ours"] / 1e9}
    for package in packages:
        result[f"over_{package}"] = took[package] / took["ours"]
    return result


# ---- restoring ----

def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def metric(run_dir, role, name):
    """A metric of a process, or None while it does not answer."""
    try:
        address = (run_dir / f"{role}.admin").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
    except OSError:
        pass
    return None


def await_value(process, get, what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = get()
        if value is not None and value is not False:
            return value
        if process.poll() is not None:
            break
        time.sleep(0.02)
    environment.fail(f"{what}: {' '.join(map(str, process.args))} ended or did not get there")
    return None


@contextlib.contextmanager
def started(name, args, run_dir, *flags):
    with open(run_dir.parent / f"{run_dir.name}.{name}.log", "wb") as log:
        process = subprocess.Popen([args.build / name.removeprefix("hindcast-").replace("-", "_") / name,
                                    f"--run_dir={run_dir}", *flags], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def restore_rate(args, layout, transitions):
    """Rows a second that a restorer in mode `loop` puts into a table that holds half of the logs and is full, so that
    every insert removes an episode and the store's file has its final size."""
    run_dir = args.folder / f"run-{layout}"
    shutil.rmtree(run_dir, ignore_errors=True)
    address = f"127.0.0.1:{free_port()}"
    name = "hindcast_restorer_transitions_total"
    server_flags = (f"--listen={address}", f"--max_transitions={transitions // 2}", "--scrub_bytes_per_s=0")
    with started("hindcast-replay-server", args, run_dir, *server_flags) as server:
        await_value(server, lambda: metric(run_dir, "replay_server", "process_start_time_seconds") is not None or
                    (run_dir / "replay_server.admin").exists(), "server")
        flags = (f"--folder={args.folder / layout}", "--mode=loop", f"--replay={address}")
        with started("hindcast-restorer", args, run_dir, *flags) as restorer:
            def passed(rows):
                done = metric(run_dir, "restorer", name)
                return done if done is not None and done >= rows else None
            first = await_value(restorer, lambda: passed(transitions), "first pass")
            began = time.monotonic()
            time.sleep(args.seconds)
            last = await_value(restorer, lambda: passed(first + 1), "second pass")
            return (last - first) / (time.monotonic() - began)


def compare_restoring(args, layout):
    """Reading alone and restoring in turns; `of_reading` is the share of the former that the latter reaches."""
    read, restored = [], []
    for _ in range(args.rounds):
        turn = ours(args, args.folder / layout)
        read.append(turn["rows"] / turn["seconds"])
        restored.append(restore_rate(args, layout, turn["rows"] - turn["episodes"]))
    rate = statistics.median(restored)
    return {"part": "restore", "layout": layout, "rows_per_s": rate,
            "gb_per_s": rate * turn["bytes"] / turn["rows"] / 1e9, "of_reading": rate / statistics.median(read),
            "low": min(restored), "high": max(restored)}


# ---- command line ----

def parse(arguments):
    parser = environment.parser_of("restorer", __doc__, 3, 3.0, "of each restore", "h5py and numpy")
    parser.add_argument("--layouts", default=",".join(EPISODES), help="a list")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of episodes")
    parser.add_argument("--parts", default="read,restore")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the logs, which stay there")
    args = environment.parse(parser, arguments, "bench/bench_restorer", "bench_restorer")
    args.layouts = args.layouts.split(",")
    unknown = set(args.layouts) - set(EPISODES)
    if unknown:
        environment.fail(f"unknown layouts {', '.join(sorted(unknown))}; expected {', '.join(EPISODES)}")
    return args


def show(result):
    numbers = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in result.items()}
    print(" ".join(f"{key}={value}" for key, value in numbers.items()), flush=True)


def packages_of(args, layout):
    """The packages that read a layout and are installed."""
    listed = json.loads(subprocess.run(
        [args.python, "-c", "import json, restorer_logs as r; print(json.dumps({k: v[1] for k, v in r.LAYOUTS.items()}))"],
        cwd=PEERS, check=True, capture_output=True, text=True).stdout)
    return [package for package in listed[layout] if has(args.python, package)]


def main(arguments):
    args = parse(arguments)
    results = []
    with contextlib.ExitStack() as stack:
        args.folder = args.keep or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hindcast-bench-")))
        for layout in args.layouts:
            if not (args.folder / layout).exists():
                logs(args.python, "write", layout, args.folder, max(2, round(EPISODES[layout] * args.scale)))
            if "read" in args.parts:
                results.append(compare_reading(args, layout, packages_of(args, layout)))
                show(results[-1])
            if "restore" in args.parts and layout in RESTORED:
                results.append(compare_restoring(args, layout))
                show(results[-1])
            if args.keep is None:
                shutil.rmtree(args.folder / layout)
    if args.json is not None:
        environment.write_json(args.json, {"rounds": args.rounds, "seconds": args.seconds, "results": results})
    return 0
