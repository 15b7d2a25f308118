"""The Replay service from Python: what a user would write with grpcio and our .proto, no more."""

import queue

import grpc
import numpy as np

from processes import wait_until

DEADLINE_S = 30
MAX_MESSAGE_BYTES = 64 << 20


def cheetah_signature(wire, velocity=9, rewards=("run",)):
    Slice = wire.replay.Signature.Slice
    return wire.replay.Signature(
        observation=[Slice(name="position", size=8), Slice(name="velocity", size=velocity)],
        action_min=[-1.0] * 6, action_max=[1.0] * 6, rewards=rewards, control_period_s=0.01)


def row_width(signature):
    return sum(part.size for part in signature.observation) + len(signature.action_min) + len(signature.rewards) + 1


class WithMetadata(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Sends these headers with every call."""

    def __init__(self, *headers):
        self.headers = headers

    def _with(self, details):
        details.metadata = [*(details.metadata or ()), *self.headers]
        return details

    def intercept_unary_unary(self, proceed, details, request):
        return proceed(self._with(Details(details)), request)

    def intercept_stream_stream(self, proceed, details, requests):
        return proceed(self._with(Details(details)), requests)


class Details(grpc.ClientCallDetails):
    def __init__(self, details):
        self.method, self.timeout, self.metadata = details.method, details.timeout, details.metadata
        self.credentials, self.wait_for_ready = details.credentials, details.wait_for_ready
        self.compression = details.compression


class Sampler:
    """One Sample stream: grants credit, yields what comes."""

    def __init__(self, stub, wire, wait_for_ready=True, **first):
        self.wire = wire
        self.requests = queue.SimpleQueue()
        self.requests.put(wire.replay.SampleRequest(**first))
        self.call = stub.Sample(iter(self.requests.get, None), timeout=DEADLINE_S, wait_for_ready=wait_for_ready)

    def grant(self, batches):
        self.requests.put(self.wire.replay.SampleRequest(credit=batches))

    def next(self):
        return next(self.call)

    def close(self):
        self.requests.put(None)
        self.call.cancel()


class Client:
    def __init__(self, wire, address, signature, table="default", options=(), token=None, headers=(), credentials=None):
        self.wire, self.signature, self.table = wire, signature, table
        self.W = row_width(signature)
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1),
                   ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500), *options]
        self.channel = (grpc.insecure_channel(address, options) if credentials is None
                        else grpc.secure_channel(address, credentials, options))
        if token:
            headers = [*headers, ("authorization", f"Bearer {token}")]
        self.stub = wire.replay_grpc.ReplayStub(grpc.intercept_channel(self.channel, WithMetadata(*headers)))

    def close(self):
        self.channel.close()

    def info(self):
        """This table's entry of Info, or None."""
        tables = self.stub.Info(self.wire.replay.InfoRequest(), timeout=DEADLINE_S, wait_for_ready=True).tables
        return next((table for table in tables if table.name == self.table), None)

    def open_insert(self, writer, generation=0, signature=None):
        return self.stub.OpenInsert(
            self.wire.replay.OpenInsertRequest(table=self.table, writer=writer, generation=generation,
                                               signature=signature or self.signature),
            timeout=DEADLINE_S, wait_for_ready=True)

    def chunks(self, writer, opened, episodes):
        """InsertRequests of [(sequence, identity number, rows (T + 1, W))]."""
        head = dict(table=self.table, writer=writer, generation=opened.generation)
        for sequence, number, rows in episodes:
            n_chunks = -(-len(rows) // opened.chunk_rows)
            for chunk in range(n_chunks):
                part = rows[chunk * opened.chunk_rows:(chunk + 1) * opened.chunk_rows]
                request = self.wire.replay.InsertRequest(
                    sequence=sequence, chunk=chunk, last_chunk=chunk == n_chunks - 1,
                    rows=np.ascontiguousarray(part, "<f4").tobytes(), **head)
                head = {}
                if chunk == 0:
                    request.identity.source, request.identity.episode = 7, number
                    request.n_rows, request.restored, request.cursor = len(rows), True, b"at %d" % sequence
                yield request

    def insert(self, writer, episodes, opened=None):
        """Inserts and returns the sum of the acknowledgements: (last sequence, episodes, duplicates)."""
        opened = opened or self.open_insert(writer)
        last = n = duplicates = 0
        for answer in self.stub.Insert(self.chunks(writer, opened, episodes), timeout=DEADLINE_S):
            last, n, duplicates = answer.sequence, n + answer.n_episodes, duplicates + answer.n_duplicates
        return last, n, duplicates

    def seal(self, writer, n_writers=1, generation=None):
        """Again while the store is writing, as our writers do."""
        if generation is None:
            generation = next(w.generation for w in self.info().writers if w.writer == writer)
        request = self.wire.replay.SealRequest(table=self.table, writer=writer, generation=generation,
                                               n_writers=n_writers)

        def answer():
            try:
                return self.stub.Seal(request, timeout=DEADLINE_S)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.ABORTED:
                    raise
                return None

        return wait_until(answer, "the store to have written")

    def sampler(self, **first):
        return Sampler(self.stub, self.wire, **{"table": self.table, "signature": self.signature, **first})

    def draw(self, n_batches, W=None, **first):
        """[(n_valid (B), rows (B, N + 1, W))] of n_batches from `first_batch` on."""
        sampler = self.sampler(credit=n_batches, **first)
        batches, wanted = [], first.get("first_batch", 0)
        while len(batches) < n_batches:
            answer = sampler.next()
            assert answer.first_batch == wanted + len(batches)
            n_valid = np.array(answer.n_valid).reshape(answer.n_batches, -1)
            rows = np.frombuffer(answer.rows, "<f4").reshape(*n_valid.shape, first["snippet_transitions"] + 1,
                                                             W or self.W)
            batches += zip(n_valid, rows)
        sampler.close()
        return batches


def numbered_rows(number, transitions, W=25):
    """Rows in which each value says where it stands: element 0 the episode, 1 the row, the others their place."""
    rows = np.empty((transitions + 1, W), np.float32)
    rows[:, 0] = number
    rows[:, 1] = np.arange(transitions + 1)
    rows[:, 2:] = np.sin(np.arange(2, W)[None, :] * (1 + number) + np.arange(transitions + 1)[:, None])
    rows[:, -1] = 1
    rows[-1, 17:] = 0
    return rows
