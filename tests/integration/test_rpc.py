"""common/rpc beside another implementation of gRPC: Python clients on our server, our client on a Python server."""

import concurrent.futures
import contextlib
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import grpc
import pytest
from grpc_tools import protoc

from processes import BUILD, ROOT

RPC_ECHO = BUILD / "tests" / "rpc_echo"
PAYLOAD = bytes(range(256)) * 300
LIMIT = 16 << 20
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """Messages and stubs of echo.proto and health.proto."""
    folder = tmp_path_factory.mktemp("stubs")
    modules = {}
    for file in (ROOT / "tests/lib/echo/echo.proto", ROOT / "common/rpc/health.proto"):
        command = ["protoc", f"--proto_path={file.parent}", f"--python_out={folder}",
                   f"--grpc_python_out={folder}", file.name]
        assert protoc.main(command) == 0
    sys.path.insert(0, str(folder))
    for name in ("echo", "health"):
        # conftest.py may have made health_pb2 already: one definition a process
        modules[name] = sys.modules.get(f"{name}_pb2") or importlib.import_module(f"{name}_pb2")
        modules[name + "_grpc"] = importlib.import_module(f"{name}_pb2_grpc")
    return types.SimpleNamespace(Request=modules["echo"].EchoRequest, Response=modules["echo"].EchoResponse, **modules)


@contextlib.contextmanager
def serving(*arguments, tokens=False):
    """Our echo server; yields its port. It must drain and leave with 0."""
    environment = dict(os.environ, **({"RPC_ECHO_TOKENS": "1"} if tokens else {}))
    process = subprocess.Popen([RPC_ECHO, "serve", "127.0.0.1:0", *map(str, arguments)], env=environment,
                               stdout=subprocess.PIPE, text=True)
    process.port = int(process.stdout.readline().split()[1])
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, "calls were not done, or payloads not released"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server():
    with serving() as process:
        yield process


@pytest.fixture
def stub(echo, server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) as channel:
        yield echo.echo_grpc.EchoStub(channel)


def code_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def test_unary(echo, stub):
    answer = stub.Say(echo.Request(number=-3, text="after", after="behind", payload=PAYLOAD), timeout=10)
    assert (answer.number, answer.text, answer.size, answer.payload) == (-3, "behind", len(PAYLOAD), PAYLOAD)


def test_status_and_text(echo, stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Say(echo.Request(text="fail:-7:signatures differ"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "signatures differ"


def test_streams(echo, stub):
    requests = [echo.Request(number=i, payload=PAYLOAD) for i in range(50)]
    assert stub.Sum(iter(requests), timeout=20).number == sum(range(50))
    counted = list(stub.Count(echo.Request(number=50, size=100_000), timeout=20))
    assert [answer.number for answer in counted] == list(range(50))
    assert all(len(answer.payload) == 100_000 and answer.payload[:3] == bytes([0, 31, 62]) for answer in counted)
    chatted = list(stub.Chat(iter(requests), timeout=20))
    assert [answer.number for answer in chatted] == list(range(50))
    assert all(answer.payload == PAYLOAD for answer in chatted)


def test_deadline_and_cancel(echo, stub):
    began = time.monotonic()
    assert code_of(lambda: stub.Wait(echo.Request(), timeout=0.3)) == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 3
    stream = stub.Count(echo.Request(number=1 << 40, size=1000))
    next(stream)
    stream.cancel()
    assert code_of(lambda: list(stream)) == grpc.StatusCode.CANCELLED


def test_metadata(echo, stub):
    answer = stub.Say(echo.Request(text="metadata:colour"), metadata=[("colour", "green")], timeout=10)
    assert answer.text == "green"


def test_unknown_methods(echo, stub, server):
    assert code_of(lambda: stub.Hidden(echo.Request(), timeout=10)) == grpc.StatusCode.UNIMPLEMENTED
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        unknown = channel.unary_unary("/no.Such/Thing", request_serializer=bytes, response_deserializer=bytes)
        assert code_of(lambda: unknown(b"", timeout=10)) == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("bad", [b"\x7a\x05x", b"\xff", b"\x0b\x0c", b"\x7a\x01x\x7a\x01y", b"\x12\x02\xc3\x28"[:3]])
def test_bad_messages(server, bad):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        raw = channel.unary_unary("/hindcast.test.Echo/Say", request_serializer=bytes, response_deserializer=bytes)
        assert code_of(lambda: raw(bad, timeout=10)) == grpc.StatusCode.INVALID_ARGUMENT


def test_missing_request(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        empty = channel.stream_unary("/hindcast.test.Echo/Say", request_serializer=bytes, response_deserializer=bytes)
        assert code_of(lambda: empty(iter(()), timeout=10)) == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(echo, stub, algorithm):
    answer = stub.Say(echo.Request(payload=PAYLOAD), compression=algorithm, timeout=10)
    assert answer.payload == PAYLOAD
    assert stub.Sum(iter([echo.Request(number=2, payload=PAYLOAD)] * 3), compression=algorithm, timeout=10).number == 6


def memory_peak(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def test_large_messages_are_refused_cheaply(echo, stub, server):
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_of(lambda: stub.Say(echo.Request(payload=bytes(LIMIT + 1)), timeout=20)) == exhausted
    before = memory_peak(server.pid)
    bomb = echo.Request(payload=bytes(400 << 20))  # 400 MB of zeros: less than half a megabyte on the wire
    assert code_of(lambda: stub.Say(bomb, compression=grpc.Compression.Gzip, timeout=60)) == exhausted
    assert memory_peak(server.pid) - before < 64 << 20
    assert stub.Say(echo.Request(number=1), timeout=10).number == 1


def test_health(echo, server):
    serving_now = echo.health.HealthCheckResponse.SERVING
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = echo.health_grpc.HealthStub(channel)
        assert health.Check(echo.health.HealthCheckRequest(), timeout=10).status == serving_now
        assert health.Check(echo.health.HealthCheckRequest(service="hindcast.test.Echo"), timeout=10).status == serving_now
        unknown = echo.health.HealthCheckRequest(service="nobody")
        assert code_of(lambda: health.Check(unknown, timeout=10)) == grpc.StatusCode.NOT_FOUND
        watch = health.Watch(echo.health.HealthCheckRequest())
        assert next(watch).status == serving_now
        watch.cancel()


def test_tokens(echo):
    def bearer(token):
        return [("authorization", f"Bearer {token}")]

    with serving(tokens=True) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = echo.echo_grpc.EchoStub(channel)
        request = echo.Request(number=1)
        assert code_of(lambda: stub.Say(request, timeout=10)) == grpc.StatusCode.UNAUTHENTICATED
        assert code_of(lambda: stub.Say(request, timeout=10, metadata=bearer("x"))) == grpc.StatusCode.UNAUTHENTICATED
        assert stub.Say(request, timeout=10, metadata=bearer("reader")).number == 1
        assert code_of(lambda: stub.Sum(iter([request]), timeout=10, metadata=bearer("reader"))) \
            == grpc.StatusCode.PERMISSION_DENIED
        assert stub.Sum(iter([request]), timeout=10, metadata=bearer("writer")).number == 1
        assert echo.health_grpc.HealthStub(channel).Check(echo.health.HealthCheckRequest(), timeout=10).status == 1


def test_drain_lets_calls_end(echo):
    with serving() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = echo.echo_grpc.EchoStub(channel)
        go_on = threading.Event()

        def requests():
            yield echo.Request(number=1)
            go_on.wait(10)
            yield echo.Request(number=2)

        future = stub.Sum.future(requests(), timeout=20)
        time.sleep(0.3)
        server.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        go_on.set()
        assert future.result().number == 3
        assert server.wait(10) == 0


def test_mutual_tls(echo, certificates):
    def read(name):
        return (certificates / name).read_bytes()

    files = [certificates / name for name in ("ca.pem", "server.pem", "server.key")]
    with serving(*files) as server:
        good = grpc.ssl_channel_credentials(read("ca.pem"), read("client.key"), read("client.pem"))
        with grpc.secure_channel(f"127.0.0.1:{server.port}", good) as channel:
            assert echo.echo_grpc.EchoStub(channel).Say(echo.Request(number=4), timeout=10).number == 4
        nameless = grpc.ssl_channel_credentials(read("ca.pem"))
        with grpc.secure_channel(f"127.0.0.1:{server.port}", nameless) as channel:
            say = echo.echo_grpc.EchoStub(channel).Say
            assert code_of(lambda: say(echo.Request(), timeout=10)) == grpc.StatusCode.UNAVAILABLE


def python_servicer(echo):
    """The echo service again, in Python."""

    class Servicer(echo.echo_grpc.EchoServicer):
        def Say(self, request, context):
            if request.text.startswith("fail:"):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
            return echo.Response(number=request.number, text=request.text, payload=request.payload)

        def Sum(self, requests, context):
            got = list(requests)
            return echo.Response(number=sum(r.number for r in got), size=sum(len(r.payload) for r in got))

        def Count(self, request, context):
            for i in range(request.number):
                yield echo.Response(number=i, payload=bytes(request.size))

        def Chat(self, requests, context):
            for request in requests:
                yield echo.Response(number=request.number, payload=request.payload)

    return Servicer()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_our_client_on_a_python_server(echo, compression):
    pool = concurrent.futures.ThreadPoolExecutor(4)
    server = grpc.server(pool, compression=compression)
    echo.echo_grpc.add_EchoServicer_to_server(python_servicer(echo), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        done = subprocess.run([RPC_ECHO, "call", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    finally:
        server.stop(1).wait()
