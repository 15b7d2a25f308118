"""Several learners of one model, as processes on a sealed table: their results, failures and restarts."""

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import grpc
import numpy as np
import pytest
import safetensors.numpy

from processes import BINARIES, ROOT, wait_until
from test_learner import (checkpoints, further, last_step, logged, newest, notes, reached, reports,  # noqa: F401
                          sealed)  # (two are fixtures)

STEPS = 200


def start(workspace, run_dir, rank, ranks=2, steps=STEPS, *flags):
    return workspace.start("learner", f"--run_dir={run_dir}", f"--steps={steps}", f"--ranks={ranks}", f"--rank={rank}",
                           "--threads=1", *flags, label=f"{run_dir.name}-{rank}")


def start_all(workspace, run_dir, ranks=2, steps=STEPS, *flags):
    return [start(workspace, run_dir, rank, ranks, steps, *flags) for rank in range(ranks)]


def learned(run_dir, step=STEPS):
    return safetensors.numpy.load_file(checkpoints(run_dir)[step])


def differing(left, right):
    assert left.keys() == right.keys() and len(left) > 50
    return [name for name in left if left[name].tobytes() != right[name].tobytes()]


def assert_near(left, right):
    """Equal up to the rounding of sums in another order: far less than a step of Adam, whose rate is 3e-4."""
    worst = max(np.abs(left[name] - right[name]).max() for name in left if re.match(r"(policy|prior|critic)/", name))
    print(f"parameters differ by {worst:.1e}")
    assert worst < 3e-5
    assert left.keys() == right.keys()


def said(process):
    return process.output.read_text()


def status_of(run_dir, name):
    address = (run_dir / f"{name}.admin").read_text().strip()
    with urllib.request.urlopen(f"http://{address}/status", timeout=5) as answer:
        return json.load(answer)


def shown(run_dir, name="learner"):
    """The status line of a process, as its admin page and `hindcast status` show it."""
    return status_of(run_dir, name)["text"]


def pid_of(run_dir, name="learner"):
    return status_of(run_dir, name)["pid"]


def generations(process):
    return [int(number) for number in re.findall(r"learn together generation=(\d+)", said(process))]


@pytest.fixture
def whole(sealed):
    """The folder of a finished, undisturbed run of two ranks."""
    folder = sealed.folder / "whole"
    for process in start_all(sealed, folder):
        process.succeed()
    return folder


def assert_undisturbed(workspace, run_dir, processes=()):
    """Stops a group that runs without limit, finishes its run, and compares it with the run of an undisturbed group."""
    for process in processes:
        process.stop()
    steps = last_step(run_dir) // 10 * 10 + 60
    whole = workspace.folder / "undisturbed"
    for folder in (run_dir, whole):
        for process in start_all(workspace, folder, 2, steps):
            process.succeed()
    assert differing(learned(whole, steps), learned(run_dir, steps)) == []
    assert reports(whole) == reports(run_dir)


def test_two_and_three_learn_what_one_learns(sealed, whole):
    one, three = sealed.folder / "one", sealed.folder / "three"
    sealed.start("learner", f"--run_dir={one}", f"--steps={STEPS}", "--threads=1", label="one").succeed()
    with socket.socket() as probe:  # the exchange over TCP, as with several machines
        probe.bind(("127.0.0.1", 0))
        address = f"--exchange=127.0.0.1:{probe.getsockname()[1]}"
    for process in start_all(sealed, three, 3, STEPS, "--slices=1,5,2", address):
        process.succeed()
    assert_near(learned(whole), learned(one))
    assert_near(learned(three), learned(one))
    assert notes(whole)["next_batch"] == str(STEPS) and notes(whole)["finished"] == "true"
    # Only rank 0 writes files; its reports cover the whole batch.
    assert sorted(path.name for path in whole.iterdir()) == sorted(
        ["learner.generation", "learner-1.lock", *(path.name for path in one.iterdir())])
    assert np.allclose([report["critic_loss"] for report in reports(whole)],
                       [report["critic_loss"] for report in reports(one)], rtol=1e-3)


def test_rank_0_listens_under_another_name_than_it_has(sealed, whole):
    """As in a container, where it listens on 0.0.0.0 and is found by name: the exchange is where Parameters is."""
    named = sealed.folder / "named"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parameters = f"--parameters=localhost:{port}"
    zero = start(sealed, named, 0, 2, STEPS, parameters, f"--listen=127.0.0.1:{port}")
    one = start(sealed, named, 1, 2, STEPS, parameters)
    for process in (zero, one):
        process.succeed()
    assert differing(learned(whole), learned(named)) == []


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_rejoins_and_nothing_is_lost(sealed, victim):
    broken = sealed.folder / "broken"
    processes = start_all(sealed, broken, 2, 0)
    for _ in range(2):
        wait_until(further(broken), "60 more steps", alive=processes[0])
        processes[victim].kill()
        if victim == 1:
            wait_until(lambda: "waiting: for rank 1 of 2 to join" in said(processes[0]), "rank 0 to wait",
                       alive=processes[0])
            assert notes(broken)["finished"] == "false"  # a checkpoint is on disk
        processes[victim] = start(sealed, broken, victim, 2, 0)
    wait_until(further(broken), "60 more steps", alive=processes[0])
    seen = generations(processes[0])
    assert seen == sorted(set(seen)) and seen[-1] >= 3
    assert_undisturbed(sealed, broken, processes)


def test_a_rank_that_is_stopped_can_rejoin(sealed):
    broken = sealed.folder / "broken"
    processes = start_all(sealed, broken, 2, 0)
    for rank in (1, 0):
        wait_until(further(broken), "60 more steps", alive=processes[0])
        processes[rank].stop()
        assert processes[1 - rank].ended() is None
        processes[rank] = start(sealed, broken, rank, 2, 0)
    wait_until(further(broken), "60 more steps", alive=processes[0])
    assert_undisturbed(sealed, broken, processes)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_hangs_is_waited_for_with_a_limit(sealed, victim):
    """SIGSTOP: the connection is there, and nothing comes. After SIGCONT the ranks go on from the same step."""
    broken = sealed.folder / "broken"
    processes = start_all(sealed, broken, 2, 0, "--exchange_timeout_seconds=1")
    wait_until(further(broken), "60 more steps", alive=processes[0])
    processes[victim].signal(signal.SIGSTOP)
    try:
        if victim == 1:
            wait_until(lambda: "the group breaks up: rank 1 of 2 said nothing for 1" in said(processes[0]),
                       "rank 0 to give up", 20, alive=processes[0])
            wait_until(lambda: "waiting: for rank 1 of 2 to join" in said(processes[0]), "rank 0 to wait",
                       alive=processes[0])
            assert notes(broken)["finished"] == "false"  # a checkpoint is on disk
        else:
            wait_until(lambda: "for rank 0" in shown(broken, "learner-1"), "rank 1 to say so", 20)
    finally:
        processes[victim].signal(signal.SIGCONT)
    wait_until(further(broken), "60 more steps", alive=processes[0])
    assert processes[1].ended() is None
    assert_undisturbed(sealed, broken, processes)


class Link:
    """A TCP proxy in front of rank 0. It can be silent, as a network that loses all packets, or cut."""

    def __init__(self, target):
        self.target = target
        self.silent = threading.Event()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(self.target)
                except OSError:
                    near.close()
                    continue
                self.sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.silent.is_set():
                    time.sleep(0.01)
                sink.sendall(data)
        self.close(source, sink)

    def cut(self):
        """All connections end; new ones work."""
        held, self.sockets = self.sockets, []
        self.close(*held)

    @staticmethod
    def close(*sockets):
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_link_that_breaks_is_made_again(sealed, how):
    broken = sealed.folder / "broken"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    link = Link(("127.0.0.1", port))
    flag = "--exchange_timeout_seconds=1"
    zero = start(sealed, broken, 0, 2, 0, flag, f"--exchange=127.0.0.1:{port}")
    one = start(sealed, broken, 1, 2, 0, flag, f"--exchange={link.address}")
    wait_until(further(broken), "60 more steps", alive=zero)
    if how == "cut":
        link.cut()
    else:
        link.silent.set()
    reason = "rank 1 of 2 is gone" if how == "cut" else "rank 1 of 2 said nothing for 1"
    wait_until(lambda: f"the group breaks up: {reason}" in said(zero), "rank 0 to notice", 20, alive=zero)
    link.silent.clear()
    wait_until(further(broken), "60 more steps", alive=zero)
    assert len(generations(zero)) >= 2 and one.ended() is None
    assert_undisturbed(sealed, broken, [zero, one])
    link.listener.close()


def test_a_group_forms_again_when_no_checkpoint_can_be_written(sealed):
    """The state comes from rank 0's memory. A failed checkpoint is logged as an error and does not end the run."""
    broken = sealed.folder / "broken"
    processes = start_all(sealed, broken, 2, 0)
    wait_until(further(broken), "60 more steps", alive=processes[0])
    checkpoints_folder, aside = broken / "checkpoints", broken / "aside"
    checkpoints_folder.rename(aside)
    checkpoints_folder.write_text("no folder")
    processes[1].kill()
    wait_until(lambda: re.search("ERROR learner trainer: checkpoint: .*checkpoints", said(processes[0])), "the error",
               alive=processes[0])
    processes[1] = start(sealed, broken, 1, 2, 0)
    wait_until(further(broken), "60 more steps", alive=processes[0])
    checkpoints_folder.unlink()
    aside.rename(checkpoints_folder)
    assert_undisturbed(sealed, broken, processes)


def test_all_ranks_end_at_the_same_step(sealed, wire):
    run_dir = sealed.folder / "run"
    processes = start_all(sealed, run_dir, 2, 0)
    wait_until(reached(run_dir, 30), "step 30", alive=processes[0])
    channel = grpc.insecure_channel(f"unix:{run_dir}/parameters.sock")
    wire.parameters_grpc.ParametersStub(channel).Finish(wire.parameters.FinishRequest(reason="enough"), timeout=10)
    for process in processes:
        process.succeed()
    assert f"finished step={newest(run_dir)} enough" in said(processes[1])
    # Started again, rank 0 tells a rank that joins late that the run is finished.
    processes = start_all(sealed, run_dir, 2, 0)
    for process in processes:
        process.succeed()


def test_up_starts_and_supervises_all_ranks(logged):
    """The command is the same as for one learner. A killed rank is restarted."""
    up = logged.up("--up.learners=3", "--up.evaluators=0", "--learner.steps=0")
    wait_until(lambda: logged.status("learner-2") and "rank 2 of 3" in logged.status("learner-2")["text"], "rank 2",
               alive=up)
    os.kill(logged.status("learner-2")["pid"], signal.SIGKILL)
    wait_until(lambda: "out of the group" in (logged.run_dir / "learner-1.log").read_text(),
               "rank 1 to leave the group", alive=up)
    step = newest(logged.run_dir)
    wait_until(reached(logged.run_dir, step + 30), "30 more steps", alive=up)
    shown = subprocess.run([BINARIES["hindcast"], "status", logged.run_dir], capture_output=True, text=True, timeout=30)
    assert all(name in shown.stdout for name in ("learner ", "learner-1", "learner-2")), shown
    up.signal(signal.SIGINT)
    assert up.wait(60) == 130
    up = logged.up("--up.learners=3", "--up.evaluators=0", f"--learner.steps={newest(logged.run_dir) + 20}")
    up.succeed()


@pytest.mark.parametrize("flag, text", [
    ("--batch_snippets=6", "batch_snippets: 6, expected batch_snippets: 8"),
    ("--algorithm=mpo", 'algorithm: mpo, expected algorithm: "abm+mpo"'),
    ("--seed=4", "seed: 4, expected seed: 3"),
    ("--slices=3,5", "slices: [3, 5], expected slices: []"),
    ("--evaluation_precision=bf16", "evaluation_precision: bf16, expected evaluation_precision: f32"),
])
def test_a_rank_with_different_terms_is_refused(sealed, flag, text):
    run_dir = sealed.folder / "run"
    zero = start(sealed, run_dir, 0, 2, 20)
    other = start(sealed, run_dir, 1, 2, 20, flag)
    assert other.wait(30) == 2
    assert text in said(other)
    # Rank 0 goes on waiting, and shows why.
    wait_until(lambda: f"for rank 1 of 2 to join; refused: rank 1: {text}" in shown(run_dir), "the reason", alive=zero)
    one = start(sealed, run_dir, 1, 2, 20)
    zero.succeed()
    one.succeed()


def test_a_second_process_of_a_rank_waits_until_the_first_ends(sealed):
    run_dir = sealed.folder / "broken"
    processes = start_all(sealed, run_dir, 2, 0)
    wait_until(reached(run_dir, 20), "step 20", alive=processes[0])
    assert start(sealed, run_dir, 1).wait(30) == 2  # in the same run folder the lock refuses it
    # From another folder, as on another machine, rank 0 refuses it until the first process ends.
    elsewhere = sealed.folder / "elsewhere"
    second = start(sealed, elsewhere, 1, 2, 0, f"--exchange=unix:{run_dir}/parameters.sock")
    wait_until(lambda: "rank 1 is " in said(second), "rank 0 to refuse it", alive=processes[0])
    processes[1].kill()
    wait_until(further(run_dir), "60 more steps", alive=processes[0])
    assert_undisturbed(sealed, run_dir, [processes[0], second])


# ---- Over MPI ----

def mpirun(workspace, run_dir, label="mpirun", steps=STEPS, *flags, ranks=2, other=None):
    """`other`: the flags of the last rank, where they differ."""
    def some(n, more):
        return ["-n", n, "--bind-to", "none", BINARIES["learner"], f"--config={workspace.config}",
                f"--run_dir={run_dir}", f"--steps={steps}", "--threads=1", *more]
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe"]
    command += some(ranks, flags) if other is None else [*some(ranks - 1, flags), ":", *some(1, other)]
    return workspace.start_command(label, *command)


def test_over_mpi_the_result_is_the_same_to_the_bit(sealed, whole):
    run_dir = sealed.folder / "mpi"
    mpirun(sealed, run_dir).succeed()
    assert differing(learned(whole), learned(run_dir)) == []
    assert reports(whole) == reports(run_dir)
    mpirun(sealed, run_dir).succeed()  # the run is finished, so both exit at once


def test_over_mpi_each_of_many_ranks_adds_a_slice(sealed):
    """Over gRPC rank 0 adds all sums; over MPI each rank adds a slice. The bits are the same for uneven parts, too."""
    gathered, sliced = sealed.folder / "gathered", sealed.folder / "sliced"
    flag = "--slices=1,2,1,3,1"
    for process in start_all(sealed, gathered, 5, 60, flag):
        process.succeed()
    mpirun(sealed, sliced, "mpirun", 60, flag, ranks=5).succeed()
    assert differing(learned(gathered, 60), learned(sliced, 60)) == []
    assert reports(gathered) == reports(sliced)


@pytest.mark.parametrize("victim", [0, 1])
def test_over_mpi_a_rank_that_hangs_ends_the_job_and_nothing_is_lost(sealed, victim):
    run_dir = sealed.folder / "mpi"
    job = mpirun(sealed, run_dir, "hangs", 0, "--exchange_timeout_seconds=1", "--checkpoint_every_seconds=3600",
                 "--checkpoint_every_steps=0")
    wait_until(reached(run_dir, 30), "step 30", alive=job)
    os.kill(pid_of(run_dir, "learner-1" if victim else "learner"), signal.SIGSTOP)
    assert job.wait(30) != 0
    assert f"rank {victim} of 2 said nothing for" in said(job)
    if victim == 1:  # rank 0 has written what was learned
        assert newest(run_dir) >= 30
    mpirun(sealed, run_dir, "again", last_step(run_dir) // 10 * 10 + 60).succeed()
    assert_undisturbed(sealed, run_dir)


def test_over_mpi_a_rank_with_different_terms_ends_the_job(sealed):
    run_dir = sealed.folder / "mpi"
    job = mpirun(sealed, run_dir, "differs", 20, other=["--batch_snippets=6"])
    assert job.wait(30) != 0
    assert "rank 1: batch_snippets: 6, expected batch_snippets: 8" in said(job)
    assert set(checkpoints(run_dir)) == {0}  # no step was taken


@pytest.mark.parametrize("victim", [0, 1])
def test_over_mpi_a_killed_rank_ends_the_job_and_the_next_job_continues(sealed, victim):
    run_dir = sealed.folder / "mpi"
    job = mpirun(sealed, run_dir, "killed", 0)
    wait_until(lambda: checkpoints(run_dir) and newest(run_dir) >= 40, "a checkpoint", alive=job)
    os.kill(pid_of(run_dir, "learner-1" if victim else "learner"), signal.SIGKILL)
    assert job.wait(60) != 0
    mpirun(sealed, run_dir, "again", last_step(run_dir) // 10 * 10 + 60).succeed()
    assert_undisturbed(sealed, run_dir)


def test_over_mpi_finish_reaches_all(sealed, wire):
    run_dir = sealed.folder / "mpi"
    job = mpirun(sealed, run_dir, "mpirun", 0)
    wait_until(reached(run_dir, 20), "step 20", alive=job)
    channel = grpc.insecure_channel(f"unix:{run_dir}/parameters.sock")
    wire.parameters_grpc.ParametersStub(channel).Finish(wire.parameters.FinishRequest(reason="enough"), timeout=10)
    job.succeed()
    assert said(job).count("enough") >= 2 and notes(run_dir)["finish_reason"] == "enough"


def test_over_mpi_a_rank_that_is_stopped_stops_all_and_nothing_is_lost(sealed):
    run_dir = sealed.folder / "mpi"
    job = mpirun(sealed, run_dir, "stopped", 0, "--checkpoint_every_seconds=3600", "--checkpoint_every_steps=0")
    wait_until(reached(run_dir, 30), "step 30", alive=job)
    os.kill(pid_of(run_dir, "learner-1"), signal.SIGTERM)
    job.succeed()
    assert "all ranks stop: rank 1 leaves" in said(job)
    assert newest(run_dir) >= reports(run_dir)[-1]["step"] and notes(run_dir)["finished"] == "false"


def test_over_mpi_a_rank_may_be_stopped_before_all_begin(logged):
    run_dir = logged.folder / "mpi"
    job = mpirun(logged, run_dir, "early", 0)
    wait_until(lambda: "waiting: for rank 0 of 2" in said(job), "rank 1 to wait", alive=job)
    os.kill(pid_of(run_dir, "learner-1"), signal.SIGTERM)
    wait_until(lambda: "stopping on signal" in said(job), "rank 1 to stop", alive=job)
    time.sleep(1)  # rank 1 now waits in the shutdown, where rank 0 finds it when it starts
    logged.serve("replay_server")
    logged.start("restorer").succeed(30)
    job.succeed()
    assert "all ranks stop: rank 1 leaves" in said(job) and newest(run_dir) == 0


# ---- A client that sends messages of its own ----

class Peer:
    """A client of Exchange. It joins as rank 1 of 2 unless a test says otherwise."""

    def __init__(self, wire, run_dir):
        self.messages = wire.exchange
        options = [("grpc.max_receive_message_length", 64 << 20)]
        self.channel = grpc.insecure_channel(f"unix:{run_dir}/parameters.sock", options)
        self.stub = wire.exchange_grpc.ExchangeStub(self.channel)

    def call(self, *messages, token=None):
        """Sends these messages and returns the status of the stream: (code, text)."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with pytest.raises(grpc.RpcError) as caught:
            for _ in self.stub.Join(iter(messages), timeout=20, wait_for_ready=True, metadata=metadata):
                pass
        return caught.value.code(), caught.value.details()

    def join(self, **fields):
        body = {"rank": 1, "ranks": 2, "incarnation": 77, "who": "a test"} | fields
        return self.messages.RankMessage(join=self.messages.RankMessage.Join(**body))


def test_invalid_joins_do_not_disturb_a_group(sealed, wire):
    run_dir = sealed.folder / "broken"
    processes = start_all(sealed, run_dir, 2, 0)
    wait_until(reached(run_dir, 20), "step 20", alive=processes[0])
    peer = Peer(wire, run_dir)
    codes = grpc.StatusCode
    message = peer.messages.RankMessage
    assert peer.call(message(generation=1, step=20, batch=20, sums=b"x" * 1000))[0] == codes.FAILED_PRECONDITION
    assert "was never joined" in peer.call(message(generation=0))[1]
    assert peer.call(peer.join())[0] == codes.FAILED_PRECONDITION  # without terms
    assert "terms" in peer.call(peer.join())[1]
    assert peer.call(peer.join(terms="widths: [1]\n"))[0] == codes.FAILED_PRECONDITION
    assert peer.call(peer.join(run_id="r" * 1000))[0] == codes.INVALID_ARGUMENT
    assert generations(processes[0]) == [1]
    assert_undisturbed(sealed, run_dir, processes)


def test_tokens_decide_who_may_join(sealed, whole, wire):
    tokens, own = sealed.folder / "tokens", sealed.folder / "own"
    tokens.write_text("others-0123456789 insert,sample,evaluate\nlearner-0123456789 learn\nadmin-0123456789abc admin\n")
    own.write_text("learner-0123456789\n")
    tokens.chmod(0o600), own.chmod(0o600)
    run_dir = sealed.folder / "broken"
    zero = start(sealed, run_dir, 0, 2, STEPS, f"--tokens_file={tokens}")
    peer, codes = Peer(wire, run_dir), grpc.StatusCode
    assert peer.call(peer.join())[0] == codes.UNAUTHENTICATED
    assert peer.call(peer.join(), token="unknown-0123456789")[0] == codes.UNAUTHENTICATED
    assert peer.call(peer.join(), token="others-0123456789")[0] == codes.PERMISSION_DENIED
    for token in ("learner-0123456789", "admin-0123456789abc"):  # may join, but the message has no terms
        code, text = peer.call(peer.join(), token=token)
        assert code == codes.FAILED_PRECONDITION and "terms" in text, text
    one = start(sealed, run_dir, 1, 2, STEPS, f"--experiment.token_file={own}")
    zero.succeed()
    one.succeed()
    assert differing(learned(whole), learned(run_dir)) == []


def own_options():
    """Options that may differ between ranks: the list in learner/run/options.c."""
    source = (ROOT / "learner" / "run" / "options.c").read_text()
    return set(re.findall(r'"(\w+)"', re.search(r"own\[\] = \{(.*?)\};", source, re.S).group(1)))


def terms_of(process):
    """The terms of a rank, from the options that it printed when it started."""
    text = wait_until(lambda: said(process) if " kernels" in said(process) else "", "the options", alive=process)
    options = re.search(r"^learner:\n((  \w+: .*\n)+)", text, re.M).group(1).splitlines(keepends=True)
    own = own_options()
    shared = "".join(line for line in options if line.split(":")[0].strip() not in own)
    shared = shared.replace("  rerun_step:", "  replay_batch:")  # terms keep the names from before a rename
    version = re.search(r"started version=(\S+)", text).group(1)
    return f"version: {version}\nseed: 3\nlearner:\n{shared}"


def speak(peer, terms, make):
    """Joins, receives the state, and sends the fields that make(generation, size of the sums) returns.

    Sends Join a second time if `make` is None. Returns the status of the stream: (code, text).
    """
    outbox = queue.Queue()
    stream = peer.stub.Join(iter(outbox.get, None), timeout=20, wait_for_ready=True)
    outbox.put(peer.join(terms=terms))
    try:
        first = next(stream)
        blocks = [next(stream).payload for _ in range(4)]
        assert {len(block) for block in blocks} == {4 * first.start.n_parameters}
        size = 4 * first.start.n_parameters + 8 * first.start.n_scalars
        fields = make(first.generation, size) if make else None
        outbox.put(peer.messages.RankMessage(**fields) if make else peer.join(terms=terms))
        for _ in stream:
            pass
    except grpc.RpcError as error:
        return error.code(), error.details()
    finally:
        outbox.put(None)
    raise AssertionError("the stream ended with OK")


def test_invalid_messages_of_a_member_are_refused(sealed, whole, wire):
    """A client that joined as rank 1 sends invalid messages and is refused with a text. Then the real rank 1 joins."""
    run_dir = sealed.folder / "broken"
    zero = start(sealed, run_dir, 0)
    peer, terms, codes = Peer(wire, run_dir), terms_of(zero), grpc.StatusCode
    cases = [
        (lambda g, n: {"generation": g - 1}, codes.FAILED_PRECONDITION, "is not the group's"),
        (lambda g, n: {"generation": g, "sums": b"short"}, codes.INVALID_ARGUMENT, "sums of 5 bytes"),
        (lambda g, n: {"generation": g, "step": 7, "sums": bytes(n)}, codes.INVALID_ARGUMENT, "came with step 7"),
        (lambda g, n: {"generation": g, "batch": 9, "sums": bytes(n)}, codes.INVALID_ARGUMENT, "batch 9"),
        (None, codes.INVALID_ARGUMENT, "second time"),
    ]
    for make, code, text in cases:
        ended, details = speak(peer, terms, make)
        assert ended == code and text in details, details
    one = start(sealed, run_dir, 1)
    zero.succeed()
    one.succeed()
    assert differing(learned(whole), learned(run_dir)) == []


def test_a_rank_that_joins_with_another_state_is_refused(sealed, whole, wire):
    """It says before its first step that it does not have what rank 0 sent. The group waits for another process."""
    run_dir = sealed.folder / "broken"
    zero = start(sealed, run_dir, 0)
    ended, details = speak(Peer(wire, run_dir), terms_of(zero),
                           lambda g, n: {"generation": g, "digest": 1, "sums": bytes(n)})
    assert ended == grpc.StatusCode.DATA_LOSS
    text = "rank 1 of 2 (a test) differs from rank 0 before step 1: the state it was sent has digest 0000000000000001"
    assert text in details
    wait_until(lambda: f"for rank 1 of 2 to join; refused: {text}" in shown(run_dir), "the reason", alive=zero)
    one = start(sealed, run_dir, 1)
    zero.succeed()
    one.succeed()
    assert differing(learned(whole), learned(run_dir)) == []
