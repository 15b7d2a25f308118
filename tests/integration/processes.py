"""Starts the binaries with an experiment file, observes them, and ends them with the test.

A Workspace is one run: a folder under /tmp (Unix socket paths are limited to 107 bytes), an experiment.yaml in it, and
the processes started with that file. No process outlives its test: when the test ends, every process that has the
folder's name on its command line is killed, by pid.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HINDCAST_BUILD", ROOT / "build")).resolve()
TAIL_BYTES = 6000
SLOW = float(os.environ.get("HINDCAST_SLOW", 1))  # factor for all time limits, for slower builds

BINARIES = {
    "hindcast": BUILD / "hindcast",
    "replay_server": BUILD / "replay_server" / "hindcast-replay-server",
    "restorer": BUILD / "restorer" / "hindcast-restorer",
    "learner": BUILD / "learner" / "hindcast-learner",
    "evaluator": BUILD / "evaluator" / "hindcast-evaluator",
    "offline_evaluator": BUILD / "offline_evaluator" / "hindcast-offline-evaluator",
    "robot_sim": BUILD / "robot_sim" / "hindcast-robot-sim",
    "robot_operator": BUILD / "robot_sim" / "hindcast-robot-operator",
    "collector": BUILD / "collector" / "hindcast-collector",
}


def wait_until(condition, what, seconds=60, alive=None):
    """Returns the first true value of condition(). Fails after `seconds`, or as soon as process `alive` has ended."""
    seconds *= SLOW
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if alive is not None and alive.ended() is not None:
            raise AssertionError(f"{alive.name} exited with {alive.ended()} while waiting for {what}")
        if time.monotonic() > end:
            raise AssertionError(f"timeout after {seconds} s while waiting for {what}")
        time.sleep(0.02)


def tail(path):
    try:
        return path.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return "(nothing)"


def carrying(text):
    """Pids of running processes with `text` on their command line."""
    pids = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if text in (folder / "cmdline").read_text(errors="replace") and state != "Z":
                pids.append(int(folder.name))
    return [pid for pid in pids if pid != os.getpid()]


class Process:
    """A started binary. Its output goes to a file."""

    def __init__(self, name, command, output):
        self.name = name
        self.output = output
        with open(output, "ab") as file:
            self.popen = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT,
                start_new_session=True)
        self.pid = self.popen.pid

    def ended(self):
        """Exit status (negative: a signal's number), or None while the process runs."""
        return self.popen.poll()

    def wait(self, seconds=60):
        seconds *= SLOW
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds} s") from None

    def succeed(self, seconds=60):
        status = self.wait(seconds)
        assert status == 0, f"{self.name} exited with {status}"

    def signal(self, number):
        self.popen.send_signal(number)

    def stop(self, seconds=20):
        """Sends SIGTERM. The process must shut down within `seconds` and exit with 0."""
        self.signal(signal.SIGTERM)
        self.succeed(seconds)

    def kill(self):
        """Sends SIGKILL and waits for the end of the process."""
        self.popen.kill()
        self.popen.wait(20)

    def tail(self):
        return tail(self.output)


class Workspace:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hc", dir="/tmp"))
        self.run_dir = self.folder / "run"
        self.config = self.folder / "experiment.yaml"
        self.processes = []

    def configure(self, **sections):
        """Writes the experiment file; JSON values are valid YAML. run_dir is set unless a section gives one."""
        sections = {"experiment": {}, **sections}
        sections["experiment"] = {"run_dir": str(self.run_dir), **sections["experiment"]}
        lines = []
        for name, options in sections.items():
            lines.append(f"{name}:")
            lines += [f"  {key}: {json.dumps(value)}" for key, value in options.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, role, *flags, label=None):
        """Starts a role with the experiment file and returns at once."""
        return self.start_command(label or role, BINARIES[role], f"--config={self.config}", *flags)

    def up(self, *flags):
        """Starts `hindcast up` with the experiment file."""
        return self.start_command("up", BINARIES["hindcast"], "up", self.config, *flags)

    def start_command(self, name, *command):
        process = Process(name, command, self.folder / f"{name}.out")
        self.processes.append(process)
        return process

    def serve(self, role, *flags):
        """Starts a role and waits until its state is "running"."""
        process = self.start(role, *flags)
        self.wait_running(role, process)
        return process

    def wait_running(self, role, process=None):
        def running():
            status = self.status(role)
            return status is not None and status["state"] == "running" and \
                (process is None or status["pid"] == process.pid)
        wait_until(running, f"{role} to run", alive=process)

    # ---- the admin pages ----

    def page(self, role, path):
        """Text of a page of the role's admin server, or None if it does not answer."""
        try:
            address = (self.run_dir / f"{role}.admin").read_text().strip()
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def status(self, role):
        text = self.page(role, "/status")
        return None if text is None else json.loads(text)

    def metrics(self, role):
        """{"name" or 'name{label="x"}': value}."""
        values = {}
        for line in (self.page(role, "/metrics") or "").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    # ---- files and processes of the run ----

    def json(self, name):
        return json.loads((self.run_dir / name).read_text())

    def json_lines(self, name):
        """The complete lines of a file that may be growing, parsed."""
        path = self.run_dir / name
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def living(self):
        return carrying(str(self.folder))

    def outputs(self):
        """(name, end of the text) of all output and log files."""
        paths = sorted(self.folder.glob("*.out")) + sorted(self.run_dir.rglob("*.log"))
        return [(path.name, tail(path)) for path in paths]

    def close(self):
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.popen.wait(20)
        subprocess.run(["chmod", "-R", "u+w", self.folder], check=True)
        shutil.rmtree(self.folder)
