"""An experiment on five hosts, with mutual TLS and tokens: nothing is shared between them but the network.

    a, b   a replay server with one of two shards, and a restorer with half of the logs
    c, d   the learners, rank 0 and rank 1
    e      the evaluator, and a writer of a table of its own (writer.py)

A host that dies loses all its processes at once; when it returns, they are started again with the same command lines, as an
init system does, from what is on its disk.
"""

import hashlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import safetensors.numpy

import logs
from network import Network
from processes import BINARIES, ROOT, Process, tail, wait_until
from test_learner import checkpoints, last_step, reports

EPISODES, LENGTH = 120, 80
REPLAY, PARAMETERS = 6400, 6401
TOKENS = {"restorer": "restorer-0123456789 insert", "learner": "learner-0123456789a sample,learn",
          "evaluator": "evaluator-0123456789 evaluate", "writer": "notebook-0123456789 insert,sample"}
ROLES = {"a": ["replay_server", "restorer"], "b": ["replay_server", "restorer"], "c": ["learner"], "d": ["learner"],
         "e": ["evaluator", "writer"]}
LONG_S = 120


def token(role):
    return TOKENS[role].split()[0]


def serial(certificate):
    """The serial number of the first certificate in a text."""
    return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=certificate, capture_output=True, check=True).stdout


class World:
    def __init__(self, name, steps, seed=1):
        self.steps = steps
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"hcn-{name}-", dir="/tmp"))
        self.network = Network(ROLES, seed)
        self.hosts = self.network.hosts
        self.running = {}  # (host, role): Process
        self.wanted = []  # (host, role): started, and started again when the host returns
        self.kills = 0
        self.tls = self.folder / "tls"
        self.certify(*self.hosts)
        episodes = [logs.episode(number, LENGTH) for number in range(EPISODES)]
        logs.write_dataset(self.folder / "logs", [episodes[i::6] for i in range(6)])
        for host in self.hosts:
            self.configure(host)

    # ---- configuration ----

    def at(self, host, port):
        return f"{self.hosts[host].address}:{port}"

    def run_dir(self, host):
        return self.folder / host / "run"

    def secret(self, path, text):
        path.write_text(text + "\n")
        path.chmod(0o600)
        return str(path)

    def configure(self, host):
        """The host's own experiment file, as `scp` would bring it there."""
        folder = self.folder / host
        folder.mkdir()
        index = "ab".find(host)
        tokens = self.secret(folder / "tokens", "\n".join(TOKENS.values()))
        role = "restorer" if index >= 0 else ROLES[host][0]
        sections = {
            "experiment": {"name": "hosts", "environment": "cheetah-run", "seed": 5, "run_dir": str(self.run_dir(host)),
                           "replay": [self.at("a", REPLAY), self.at("b", REPLAY)], "parameters": self.at("c", PARAMETERS),
                           "tls_ca": f"{self.tls}/ca.pem", "tls_cert": f"{self.tls}/{host}.pem",
                           "tls_key": f"{self.tls}/{host}.key", "token_file": self.secret(folder / "token", token(role))},
            "replay_server": {"map_bytes": 64 << 20, "index": max(0, index), "tokens_file": tokens},
            "restorer": {"folder": str(self.folder / "logs"), "index": max(0, index), "count": 2, "in_flight": 65536,
                         "connect_timeout": 600},
            "learner": {"widths": [32, 32], "batch_snippets": 16, "snippet_transitions": 5, "samples": 5, "threads": 1,
                        "steps": self.steps, "target_period": 20, "publish_every": 200, "report_every": 10,
                        "checkpoint_every_seconds": 0, "checkpoint_every_steps": 100, "keep_checkpoints": 2, "ranks": 2,
                        "rank": int(host == "d"), "exchange_timeout_seconds": 5, "tokens_file": tokens, "followers": 1},
            "evaluator": {"window_episodes": 1, "episodes": 2, "threads": 1, "min_interval_s": 1}}
        lines = []
        for name, options in sections.items():
            lines += [f"{name}:", *(f"  {key}: {json.dumps(value)}" for key, value in options.items())]
        (folder / "experiment.yaml").write_text("\n".join(lines) + "\n")

    # ---- processes ----

    def writer(self, *flags):
        return [sys.executable, ROOT / "tests" / "hosts" / "writer.py", f"--address={self.at('a', REPLAY)}",
                f"--tls={self.tls}/e", f"--ca={self.tls}/ca.pem", f"--token={token('writer')}",
                f"--acknowledged={self.folder}/acknowledged", *flags]

    def command(self, host, role):
        if role == "writer":
            return self.writer()
        return [BINARIES[role], f"--config={self.folder}/{host}/experiment.yaml"]

    def start(self, host, role):
        if (host, role) not in self.wanted:
            self.wanted.append((host, role))
        output = self.folder / f"{host}-{role}.out"
        self.running[host, role] = Process(f"{host}: {role}", self.hosts[host].inside(*self.command(host, role)), output)

    def start_all(self):
        for host, roles in ROLES.items():
            for role in roles:
                self.start(host, role)

    def dies(self, host):
        """The power fails: no packet leaves the host any more, and all its processes are gone."""
        self.hosts[host].link("down")
        self.kills += len(self.hosts[host].pids())
        self.hosts[host].kill()
        for place, process in self.running.items():
            if place[0] == host:
                process.popen.wait(20)

    def returns(self, host):
        self.hosts[host].link("up")
        for place in list(self.wanted):
            if place[0] == host:
                self.start(*place)

    def succeeds(self, host, role, seconds=LONG_S):
        self.running[host, role].succeed(seconds)

    # ---- what is seen ----

    def said(self, host, role):
        return (self.folder / f"{host}-{role}.out").read_text(errors="replace")

    def step(self):
        return last_step(self.run_dir("c"))

    def goes_on(self, steps=60):
        """Waits until the run is so many steps further; it must not end meanwhile."""
        wanted = self.step() + steps
        assert wanted < self.steps, f"the run is nearly over at step {self.step()}: it has too few steps for this test"
        wait_until(lambda: self.step() >= wanted, f"step {wanted}", LONG_S)

    def ask(self, host, *command):
        """The output of `hindcast ..` on a host, with its certificate and token."""
        tls = [f"--experiment.tls_{name}={self.tls}/{file}" for name, file in
               (("ca", "ca.pem"), ("cert", f"{host}.pem"), ("key", f"{host}.key"))]
        return subprocess.run(
            self.hosts[host].inside(BINARIES["hindcast"], *command, *tls,
                                    f"--experiment.token_file={self.folder}/{host}/token"),
            capture_output=True, text=True, timeout=60, check=False).stdout

    def episodes(self, host):
        """Of the logs, in the replay server of a host, as `hindcast replay info` says there."""
        found = re.search(r"holds +(\d+) episodes", self.ask(host, "replay", "info", "--table=default", self.at(host, REPLAY)))
        return int(found.group(1)) if found else 0

    def status(self):
        """The whole experiment, as somebody on host d sees it."""
        return self.ask("d", "status", f"--parameters={self.at('c', PARAMETERS)}")

    def check_acknowledged(self):
        done = subprocess.run(self.hosts["e"].inside(*self.writer("--check")), capture_output=True, text=True, timeout=120,
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def certify(self, *hosts):
        """A key and a certificate for each host; a new one where it has one."""
        subprocess.run([BINARIES["hindcast"], "certs", f"--to={self.tls}", "--days=30",
                        *(f"{host},{self.hosts[host].address}" for host in hosts)], check=True, capture_output=True)

    def serial_shown_by(self, host):
        """The serial number of the certificate that the host's replay server shows to a new client."""
        shown = subprocess.run(
            self.hosts["d"].inside("openssl", "s_client", "-connect", self.at(host, REPLAY), "-alpn", "h2", "-CAfile",
                                   f"{self.tls}/ca.pem", "-cert", f"{self.tls}/d.pem", "-key", f"{self.tls}/d.key"),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).stdout
        return serial(shown)

    def stop_writer(self):
        self.running["e", "writer"].signal(signal.SIGTERM)
        self.succeeds("e", "writer")

    def result(self):
        """What the run came to: a digest of the last checkpoint's parameters, the reports, and the evaluator's report."""
        tensors = safetensors.numpy.load_file(checkpoints(self.run_dir("c"))[self.steps])
        digest = hashlib.sha256()
        for name in sorted(tensors):
            digest.update(name.encode() + tensors[name].tobytes())
        last = json.loads((self.run_dir("e") / "evaluation.json").read_text())["last"]
        return {"parameters": digest.hexdigest(), "reports": reports(self.run_dir("c")),
                "evaluation": [last[name] for name in ("learner_step", "steps", "return_mean", "prior_return_mean")]}

    def outputs(self):
        return [(path.name, tail(path)) for path in sorted(self.folder.glob("*.out"))]

    def close(self):
        self.network.close()
        for process in self.running.values():
            process.popen.wait(20)
        shutil.rmtree(self.folder)
