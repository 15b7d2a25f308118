"""`hindcast up` and `status` where something is wrong: told at once, whole, before anything starts where it can be known."""

import json
import os
import re
import signal
import socket
import subprocess

import numpy as np
import pytest

import logs
from processes import BINARIES, ROOT, SLOW, wait_until

LEARNER = {"widths": [16, 16], "batch_snippets": 8, "snippet_transitions": 4, "samples": 2, "steps": 40, "threads": 1,
           "target_period": 10, "publish_every": 20, "report_every": 20}


@pytest.fixture
def experiment(workspace):
    episodes = [logs.episode(number, 40) for number in range(6)]
    for episode in episodes:
        episode["observations"][:, 0] %= 7
    logs.write_dataset(workspace.folder / "logs", [episodes])

    def configure(**sections):
        workspace.configure(**{
            "experiment": {"environment": "cheetah-run", "seed": 1, **sections.pop("experiment", {})},
            "replay_server": {"map_bytes": 64 << 20}, "restorer": {"folder": str(workspace.folder / "logs")},
            "learner": {**LEARNER, **sections.pop("learner", {})}, "evaluator": {"window_episodes": 1, "episodes": 1},
            **sections})
    workspace.sections = configure
    configure()
    return workspace


def started(workspace):
    return sorted(path.name for path in workspace.run_dir.glob("*.log")) if workspace.run_dir.exists() else []


def free_ports(n):
    """The first of n ports in a row that nobody listens on."""
    for first in range(20000, 60000, 997):
        probes = [socket.socket() for _ in range(n)]
        try:
            for i, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + i))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")


# ---- told before anything starts ----

def test_logs_of_another_environment_are_refused_at_once(experiment):
    up = experiment.up("--experiment.environment=hopper-hop")
    assert up.wait(20) == 2
    said = up.output.read_text()
    assert "experiment.environment hopper-hop does not fit the logs: " in said and "up.evaluators: 0" in said
    assert started(experiment) == []


@pytest.mark.parametrize("address, said", [
    ("replay-host", "expected HOST:PORT"), ("127.0.0.1:99999", "port: expected 1..65535"), ("::1:5000", "in brackets"),
    ("http://127.0.0.1:5000", "no scheme")])
@pytest.mark.parametrize("role, option", [("restorer", "replay"), ("collector", "replay"), ("learner", "replay"),
                                          ("evaluator", "parameters"), ("collector", "parameters")])
def test_an_address_that_can_never_work_is_refused(experiment, role, option, address, said):
    result = subprocess.run([BINARIES[role], f"--config={experiment.config}", f"--experiment.{option}={address}",
                             "--experiment.check=true"], capture_output=True, text=True, timeout=20 * SLOW)
    assert result.returncode == 2, result
    assert f"experiment.{option}: " in result.stderr and address in result.stderr and said in result.stderr


def test_a_taken_admin_port_is_told_at_once(experiment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = experiment.up(f"--experiment.admin=127.0.0.1:{port}")
        assert up.wait(20) == 2
    said = up.output.read_text()
    assert f"experiment.admin: 127.0.0.1:{port}: Address already in use" in said
    assert started(experiment) == []


# ---- told once ----

def test_an_error_that_no_restart_changes_ends_the_run_with_its_sentence(experiment):
    episodes = [logs.episode(number, 20) for number in range(3)]
    for episode in episodes:
        episode["rewards"][3] = np.nan
    logs.write_dataset(experiment.folder / "bad", [episodes])
    up = experiment.up(f"--restorer.folder={experiment.folder / 'bad'}")
    assert up.wait(30) == 2
    said = up.output.read_text()
    assert "starting it again" not in said
    # The last two lines: which process, and its own last error, from its first word to its last.
    *_, which, why = said.strip().splitlines()
    assert re.fullmatch(r"hindcast up: restorer left with status 2; see \S+restorer.log", which), said
    logged = (experiment.run_dir / "restorer.log").read_text()
    [error] = [line.split(" ERROR ")[1] for line in logged.splitlines() if " ERROR " in line]
    assert why == f"restorer: {error}"


def test_a_host_that_does_not_resolve_is_told(experiment):
    restorer = experiment.start("restorer", "--experiment.replay=no-such-host.invalid:5000", "--restorer.connect_timeout=2")
    assert restorer.wait(40) == 1
    assert "no-such-host.invalid:5000: the host name cannot be resolved" in restorer.output.read_text()


# ---- ports and where they are ----

def test_fixed_admin_ports_are_one_for_each_process(experiment):
    first = free_ports(96)
    experiment.sections(experiment={"admin": f"127.0.0.1:{first}"}, up={"restorers": 2}, learner={"steps": 0})
    up = experiment.up()
    ports = {"replay_server": 0, "restorer-0": 16, "restorer-1": 17, "learner": 48, "evaluator": 64}

    def targets():
        path = experiment.run_dir / "metrics_targets.json"
        return json.loads(path.read_text()) if path.exists() else []
    wait_until(lambda: {"learner", "evaluator", "replay_server"} <= {one["labels"]["process"] for one in targets()},
               "the targets", alive=up)
    for one in targets():
        process, [address] = one["labels"]["process"], one["targets"]
        assert address == f"127.0.0.1:{first + ports[process]}"
        if process == "learner":
            assert "hindcast_learner_" in experiment.page("learner", "/metrics")
    up.signal(signal.SIGINT)
    assert up.wait(30) == 130


def test_free_ports_are_in_the_targets_too(experiment):
    up = experiment.up("--learner.steps=0")
    path = experiment.run_dir / "metrics_targets.json"
    wait_until(lambda: path.exists() and "learner" in path.read_text(), "the targets", alive=up)
    [target] = [one["targets"][0] for one in json.loads(path.read_text()) if one["labels"]["process"] == "learner"]
    assert target == (experiment.run_dir / "learner.admin").read_text().strip()
    up.signal(signal.SIGINT)
    assert up.wait(30) == 130


# ---- status ----

def status(workspace):
    return subprocess.run([BINARIES["hindcast"], "status", workspace.run_dir], capture_output=True, text=True,
                          timeout=30 * SLOW).stdout


def test_status_asks_processes_at_ipv6_addresses(workspace):
    workspace.configure(experiment={"admin": "[::1]:0"})
    server = workspace.start("replay_server", "--map_bytes=64M")
    wait_until(lambda: (workspace.run_dir / "replay_server.admin").exists(), "the address", alive=server)
    assert (workspace.run_dir / "replay_server.admin").read_text().startswith("[::1]:")
    wait_until(lambda: re.search(r"^replay_server +running ", status(workspace)), "a line of the server", alive=server)
    server.stop()


def test_status_tells_a_stopped_process_from_one_that_is_gone(workspace):
    workspace.configure()
    server = workspace.serve("replay_server", "--map_bytes=64M")
    server.signal(signal.SIGSTOP)
    assert re.search(r"^replay_server +silent +no answer: the process is stopped", status(workspace)), status(workspace)
    server.signal(signal.SIGCONT)
    assert re.search(r"^replay_server +running ", status(workspace))
    server.kill()
    assert re.search(r"^replay_server +gone .*no process listens there", status(workspace))


# ---- sockets ----

def test_a_removed_socket_ends_the_server_and_up_starts_it_again(experiment):
    up = experiment.up("--learner.steps=0")
    wait_until(lambda: experiment.json_lines("evaluator.jsonl"), "a first evaluation", alive=up)
    pids = {role: experiment.status(role)["pid"] for role in ("replay_server", "learner")}
    sockets = [path for path in experiment.run_dir.iterdir() if path.is_socket()]
    assert len(sockets) == 2, sockets
    for path in sockets:
        path.unlink()
    for role, pid in pids.items():
        def again(role=role, pid=pid):
            now = experiment.status(role)
            return now is not None and now["pid"] != pid and now["state"] == "running"
        wait_until(again, f"another {role}", alive=up)
        assert re.search(r"ERROR .*the socket unix:\S+ was removed or replaced: ",
                         (experiment.run_dir / f"{role}.log").read_text())
    # Both are reached: learning and evaluating continue.
    lines = len(experiment.json_lines("evaluator.jsonl"))
    wait_until(lambda: len(experiment.json_lines("evaluator.jsonl")) > lines, "another evaluation", alive=up)
    up.signal(signal.SIGINT)
    assert up.wait(30) == 130


# ---- set-up ----

def test_a_refused_sudo_gives_its_reason(tmp_path):
    """Set-up as a user who may not sudo, on a machine that lacks every package."""
    tools = {"id": 'echo 1000', "dpkg-query": "exit 1",
             "sudo": 'echo "sudo: a password is required" >&2; exit 1'}
    for name, body in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    tree = tmp_path / "tree"  # of its own: the lock and third_party/ of this one stay alone
    (tree / "deploy").mkdir(parents=True)
    for name in ("install_dependencies", "debian_packages"):
        (tree / "deploy" / name).write_bytes((ROOT / "deploy" / name).read_bytes())
    result = subprocess.run(["bash", tree / "deploy" / "install_dependencies"], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert result.returncode == 1
    assert result.stderr.strip().endswith("sudo: a password is required"), result.stderr
