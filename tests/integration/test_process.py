"""What every process does at its limits: crashes, closed standard files, no more threads, its exit code in the log."""

import ctypes
import os
import re
import shlex
import signal
import time

import pytest

from processes import BINARIES

SANITIZED = b"__asan_init" in BINARIES["replay_server"].read_bytes() or \
    b"__tsan_init" in BINARIES["replay_server"].read_bytes()


def start_in(workspace, role, shell, *flags):
    """Starts a role from a shell that first does `shell`, such as ulimit; its output is ROLE.out."""
    command = " ".join(shlex.quote(str(part)) for part in [BINARIES[role], f"--config={workspace.config}", *flags])
    return workspace.start_command(role, "bash", "-c", shell.replace("COMMAND", command))


@pytest.mark.skipif(SANITIZED, reason="the sanitizer reports faults itself")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_a_fault_is_reported_on_whichever_thread_it_is(workspace, number):
    workspace.configure()
    server = workspace.serve("replay_server")
    threads = {int(name): open(f"/proc/{server.pid}/task/{name}/status").read()
               for name in os.listdir(f"/proc/{server.pid}/task")}
    assert len(threads) > 4
    for text in threads.values():  # a fault whose signal is blocked would end the process without a word
        blocked = int(re.search(r"SigBlk:\s*(\w+)", text)[1], 16)
        assert not blocked >> (number - 1) & 1, text
    calls = next(tid for tid, text in threads.items() if "rpc-calls" in text)
    libc = ctypes.CDLL(None)
    assert libc.syscall(234, server.pid, calls, int(number)) == 0  # tgkill
    assert server.wait(20) == -number
    said = server.output.read_text(errors="replace")
    assert f"{number.name}, " in said and "hindcast " in said and "backtrace" not in said.splitlines()[0]
    assert said.count("[0x") >= 3, "no backtrace"


def test_the_log_tells_the_exit_code(workspace):
    workspace.configure()
    server = workspace.start("replay_server", "--listen=[0.0.0.0:0]")  # without TLS: refused
    assert server.wait(20) == 1
    assert re.findall(r"ended exit_code=(\d+)", server.output.read_text()) == ["1"]


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs more address space than these limits")
@pytest.mark.parametrize("mib", [50, 60, 70, 90])
@pytest.mark.parametrize("role", ["learner", "replay_server"])
def test_without_room_for_threads_it_says_so(workspace, role, mib):
    workspace.configure(learner={"steps": 1, "threads": 1}, replay_server={"map_bytes": 16 << 20})
    process = start_in(workspace, role, f"ulimit -v {mib * 1024}; exec COMMAND")
    assert process.wait(10) == 2
    said = process.output.read_text()
    assert re.search(r"only \d of at least \d threads can be made", said) or role == "replay_server" and "ulimit -v" in said


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("role", ["learner", "replay_server"])
def test_closed_standard_files_are_no_files_of_the_run(workspace, role, closed):
    workspace.configure(learner={"steps": 1, "threads": 1})
    process = start_in(workspace, role, f"exec COMMAND {closed}")
    workspace.wait_running(role, process)
    for number in range(3):
        target = os.readlink(f"/proc/{process.pid}/fd/{number}")
        assert not target.startswith(str(workspace.run_dir)), target
    process.stop()
    lock = workspace.run_dir / "learner.lock"
    assert not lock.exists() or lock.stat().st_size < 40


def test_a_request_to_end_while_starting_is_kept(workspace):
    workspace.configure(learner={"steps": 1, "threads": 1})
    for delay in (0, 0.005, 0.02, 0.05, 0.1):
        learner = workspace.start("learner")
        time.sleep(delay)
        learner.signal(signal.SIGTERM)
        # Before the handlers are there, the signal's own action; from then on an end in order.
        assert learner.wait(20) in (0, -signal.SIGTERM)


def test_a_planted_link_is_not_written_through(workspace):
    workspace.configure()
    workspace.run_dir.mkdir()
    precious = workspace.folder / "precious"
    precious.write_text("precious")
    for name in ("replay_server.admin.tmp", "learner.jsonl", "learner.lock"):
        (workspace.run_dir / name).symlink_to(precious)
    workspace.serve("replay_server")
    learner = workspace.start("learner")
    assert learner.wait(20) != 0
    assert "symbolic link" in learner.output.read_text()
    assert precious.read_text() == "precious"


def test_a_deeply_nested_file_is_refused_at_once(workspace):
    workspace.config.write_text("collector:\n  x: " + "[" * 500000 + "\n")
    process = workspace.start("replay_server", "--experiment.check=true")
    assert process.wait(5) == 2
    assert "nested deeper than 32 levels" in process.output.read_text()
