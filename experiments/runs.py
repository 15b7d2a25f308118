"""What experiments that consist of several runs have in common: each run is one `hindcast up`, in a folder of its own.

A run that has ended is not run again, one that was interrupted goes on. Runs stop with the program that started them,
however it ends. BUILD (default build) names the folder of the binaries.
"""
import concurrent.futures
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("BUILD", "build")
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM"]  # SIGTERM from the kernel when the thread that started it has ended

WITH_PRIOR = {"bm+mpo", "abm+mpo", "bm+svg", "abm+svg", "bear"}  # algorithms whose eps is a distance to the prior

running = set()  # processes, to be asked to stop with us
stopping = threading.Event()


def arguments_of(parser):
    """What a command of experiments/ was called with; `flags` is what stands behind "--", for every run."""
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:cut])
    options.flags = given[cut + 1 :]
    return options


def say(text):
    """A line with the time. At once and whole, whatever other threads say."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def run(command, output):
    """Runs a command to its end, its output appended to a file; returns its exit status."""
    with open(output, "ab") as log:
        process = subprocess.Popen([*ENDS_WITH_US, *map(str, command)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log)
        running.add(process)
        try:
            return process.wait()
        finally:
            running.discard(process)


def summary_of(folder):
    """What `hindcast up` wrote at the run's end; None before."""
    try:
        return json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        return None


def up(experiment, folder, flags):
    """Makes the run in `folder`, or what is left of it. Returns what went wrong, or None."""
    if summary_of(folder) is not None:
        return None
    if stopping.is_set():
        return "stopped"
    folder.mkdir(parents=True, exist_ok=True)
    code = run([BUILD / "hindcast", "up", experiment, f"--experiment.run_dir={folder}", *flags], folder / "up.log")
    if code != 0 or summary_of(folder) is None:
        return f"exit status {code}; see {folder / 'up.log'}"
    return None


def side_by_side(function, items, jobs):
    """function(item) of every item, `jobs` at a time. Returns what is not None, such as what went wrong, in their order."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return [result for result in pool.map(function, items) if result is not None]


def only_one_in(folder):
    """Ends this program if another one is at work in `folder`. The file that is returned has to stay open."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: another one is at work in {folder}")
    return lock


def replace(path, text):
    """The file has the old text or the new one, whatever happens meanwhile."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text)
    aside.replace(path)


def last_line(path):
    """The last whole line of a file of JSON lines; {} where there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    lines = text[: text.rfind("\n") + 1].splitlines()
    return json.loads(lines[-1]) if lines else {}


def stop(*_):
    stopping.set()
    for process in list(running):
        process.terminate()
    print("stopped; the same command goes on", flush=True)
    os._exit(1)


def stop_on_signals():
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
