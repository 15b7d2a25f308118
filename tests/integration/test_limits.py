"""Limits of the servers: tokens, and the number of calls, connections and descriptors."""

import contextlib
import pathlib
import resource
import socket
import threading
import time

import grpc
import pytest

from processes import wait_until

CONNECTIONS = 200


def codes_of(stub, messages, metadata):
    """The status of each method of Parameters. Finish comes last, since it ends the run."""
    def outcome(call):
        try:
            call()
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def watch():
        answers = stub.Watch(messages.ParametersRequest(), timeout=1, metadata=metadata)
        next(answers)

    return {
        "Progress": outcome(lambda: stub.Progress(messages.ProgressRequest(), timeout=10, metadata=metadata,
                                                  wait_for_ready=True)),
        "Get": outcome(lambda: stub.Get(messages.ParametersRequest(), timeout=10, metadata=metadata)),
        "Watch": outcome(watch),
        "Finish": outcome(lambda: stub.Finish(messages.FinishRequest(reason="enough", who="a test"), timeout=10,
                                              metadata=metadata)),
    }


def test_learner_calls_require_tokens(workspace, wire):
    tokens = workspace.folder / "tokens"
    tokens.write_text("sampler-0123456789 sample,insert\nwatcher-0123456789 evaluate\n")
    tokens.chmod(0o600)
    workspace.configure(learner={"tokens_file": str(tokens)})
    learner = workspace.start("learner")
    with grpc.insecure_channel(f"unix:{workspace.run_dir}/parameters.sock") as channel:
        stub = wire.parameters_grpc.ParametersStub(channel)

        def codes(token):
            metadata = [("authorization", f"Bearer {token}")] if token else []
            return codes_of(stub, wire.parameters, metadata)

        assert set(codes(None).values()) == {"UNAUTHENTICATED"}
        assert set(codes("unknown-0123456789").values()) == {"UNAUTHENTICATED"}
        assert set(codes("sampler-0123456789").values()) == {"PERMISSION_DENIED"}
        assert learner.ended() is None
        got = codes("watcher-0123456789")
        assert got["Progress"] == got["Finish"] == "OK", got
        assert not {"UNAUTHENTICATED", "PERMISSION_DENIED"} & set(got.values()), got
    learner.succeed()  # Finish has ended it


def test_an_evaluator_without_a_learner_reports_it_and_exits_in_time(workspace):
    workspace.configure(experiment={"environment": "cheetah-run"}, evaluator={"learner_timeout_s": 8})
    evaluator = workspace.serve("evaluator")
    wait_until(lambda: "no learner at" in (workspace.status("evaluator") or {}).get("text", ""),
               "the reason to be shown", alive=evaluator)
    assert evaluator.wait(40) == 1
    assert "no learner at" in evaluator.tail() and "learner_timeout_s" in evaluator.tail()


def descriptors(process):
    return len(list(pathlib.Path(f"/proc/{process.pid}/fd").iterdir()))


def resident_bytes(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


@contextlib.contextmanager
def channels_to(address, n):
    """n channels, each with its own connection."""
    made = [grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(n)]
    try:
        yield made
    finally:
        for channel in made:
            channel.close()


def info_code(wire, channel, wait=False):
    try:
        wire.replay_grpc.ReplayStub(channel).Info(wire.replay.InfoRequest(), timeout=10, wait_for_ready=wait)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


@pytest.fixture
def tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(workspace, port, **options):
    workspace.configure(replay_server={"map_bytes": 64 << 20, "listen": [f"127.0.0.1:{port}"], **options})
    return workspace.serve("replay_server")


def test_idle_connections_are_closed_and_reconnect(workspace, wire, tcp_port):
    server = serve(workspace, tcp_port, idle_connection_seconds=2)
    before = descriptors(server)
    memory = resident_bytes(server)
    with channels_to(f"127.0.0.1:{tcp_port}", CONNECTIONS) as channels:
        assert {info_code(wire, channel, wait=True) for channel in channels} == {"OK"}
        assert resident_bytes(server) - memory < CONNECTIONS * (1 << 20)
        wait_until(lambda: descriptors(server) <= before + 2, "idle connections to be closed", alive=server)
        assert info_code(wire, channels[0], wait=True) == "OK"
    server.stop()


def test_streams_beyond_max_calls_are_refused(workspace, wire, tcp_port):
    server = serve(workspace, tcp_port, max_calls=20)
    with channels_to(f"127.0.0.1:{tcp_port}", 10) as channels:
        streams = [wire.replay_grpc.ReplayStub(channels[i % 10]).Insert(iter_that_waits()) for i in range(60)]

        def ended():
            return [stream for stream in streams if stream.done()]

        wait_until(lambda: len(ended()) >= 40, "40 streams to be refused", alive=server)
        assert {stream.code().name for stream in ended()} == {"RESOURCE_EXHAUSTED"}
        assert len(ended()) == 40
        for stream in streams:
            stream.cancel()
        wait_until(lambda: info_code(wire, channels[0]) == "OK", "calls to be accepted again", alive=server)
    server.stop()


def iter_that_waits():
    """An iterator of requests that sends none for 20 s."""
    threading.Event().wait(20)
    yield from ()


def is_let_in(address, source="127.0.0.1", held=None):
    """Whether a server speaks to a peer that only connects; `held` keeps the connection."""
    peer = socket.create_connection(address, timeout=10, source_address=(source, 0))
    try:
        answer = peer.recv(1)
    except ConnectionResetError:
        answer = b""
    if answer and held is not None:
        held.append(peer)
    else:
        peer.close()
    return bool(answer)


def test_connections_beyond_the_limits_are_closed(workspace, wire, tcp_port):
    server = serve(workspace, tcp_port, max_connections=12, max_host_connections=5)
    address = ("127.0.0.1", tcp_port)

    def metrics():
        found = workspace.metrics("replay_server")
        return found["hindcast_replay_connections"], found["hindcast_replay_connections_refused_total"]

    held = []
    with channels_to(f"127.0.0.1:{tcp_port}", 1) as (channel,):
        assert info_code(wire, channel, wait=True) == "OK"
        assert [is_let_in(address, held=held) for _ in range(6)] == [True] * 4 + [False] * 2
        assert [is_let_in(address, "127.0.0.2", held) for _ in range(7)] == [True] * 5 + [False] * 2
        assert [is_let_in(address, "127.0.0.3", held) for _ in range(3)] == [True] * 2 + [False]
        assert metrics() == (12, 5)
        assert info_code(wire, channel) == "OK"  # those inside stay
        assert "turned away by max_host_connections from=127.0.0.2" in server.tail()
        assert "turned away by max_connections from=127.0.0.3" in server.tail()
        for peer in held:
            peer.close()
        wait_until(lambda: metrics()[0] == 1, "the server to see that they left", alive=server)
        assert is_let_in(address, "127.0.0.3")
    server.stop()


def test_a_server_survives_running_out_of_descriptors(workspace, wire, tcp_port):
    server = serve(workspace, tcp_port)
    limit = descriptors(server) + 20
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
    peers = []
    for _ in range(60):  # more than the server can accept; the rest waits in the kernel's queue
        peer = socket.socket()
        peer.settimeout(5)
        with contextlib.suppress(OSError):
            peer.connect(("127.0.0.1", tcp_port))
        peers.append(peer)
    time.sleep(1)
    assert server.ended() is None and "turned away" in server.tail()
    for peer in peers:
        peer.close()
    with channels_to(f"127.0.0.1:{tcp_port}", 1) as (channel,):
        wait_until(lambda: info_code(wire, channel) == "OK", "the server to answer again", alive=server)
    server.stop()
