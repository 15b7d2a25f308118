"""Kills the replay server repeatedly while writers insert, the oldest episodes are removed, and a client samples.

Every episode is a function of (writer, sequence), and its first three columns identify the row, so everything that the
server sends can be compared bit for bit. For each writer the table must hold a contiguous range of sequences that ends
with the last one committed. That one is not below the last acknowledged sequence and not above the last one sent.
"""

import collections
import functools
import shutil
import socket
import threading
import time
import zlib

import grpc
import numpy as np

from replay_client import Client, cheetah_signature
from scenario import same, wait_until

W = 25
WRITERS = 3
LIMIT_S = 60
LONGEST = 1354  # transitions


def transitions(writer, sequence):
    """Number of transitions of an episode. Most are short; one in 32 needs several chunks."""
    number = zlib.crc32(b"%d/%d" % (writer, sequence))
    return 655 + number % 700 if number % 32 == 0 else 1 + number % 40


def priority(writer, sequence):
    return 1.0 + (writer + sequence) % 2


@functools.lru_cache(maxsize=4096)
def rows(writer, sequence):
    """(T + 1, W)"""
    generator = np.random.Generator(np.random.SFC64(writer << 40 | sequence))
    made = generator.random((transitions(writer, sequence) + 1, W), np.float32) * 2 - 1
    made[:, 0], made[:, 1], made[:, 2] = writer, sequence, np.arange(len(made))
    return made


def connect(wire, address, until):
    """Waits for the server to listen and returns a client, or None once until() is true. Avoids gRPC's backoff."""
    while not until():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(address) == 0:
                # A local subchannel pool does not share the backoff state of other channels.
                return Client(wire, f"unix:{address}", cheetah_signature(wire),
                              options=[("grpc.use_local_subchannel_pool", 1)])
        time.sleep(0.003)
    return None


class Worker(threading.Thread):
    """A client thread that repeats turn() until it is stopped. It can be paused between turns."""

    def __init__(self, wire, address):
        super().__init__(daemon=True)
        self.wire, self.address = wire, address
        self.go, self.idle = threading.Event(), threading.Event()
        self.over = False
        self.wrong = None

    def run(self):
        while not self.over:
            if not self.go.is_set():
                self.idle.set()
                self.go.wait()
                self.idle.clear()
                continue
            client = connect(self.wire, self.address, lambda: not self.go.is_set() or self.over)
            try:
                if client is not None:
                    self.turn(client)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    self.wrong = self.wrong or error
            except Exception as error:  # reported by the main thread
                self.wrong = self.wrong or error
                self.over = True
            finally:
                if client is not None:
                    client.close()
        self.idle.set()

    def end(self):
        self.over = True
        self.go.set()
        self.join(LIMIT_S)


class Writer(Worker):
    def __init__(self, wire, address, number):
        super().__init__(wire, address)
        self.number = number
        self.name = f"writer-{number}"
        self.acknowledged = self.sent = 0
        self.last = 0  # last sequence sent on this stream
        self.duplicates = 0
        self.generation = 0
        self.ids = {}  # sequence: episode id, where known

    def open(self, client):
        opened = client.stub.OpenInsert(
            self.wire.replay.OpenInsertRequest(table="default", writer=self.name, signature=client.signature),
            timeout=LIMIT_S)
        last = opened.last_sequence
        assert self.acknowledged <= last <= self.sent, \
            f"{self.name}: {self.acknowledged} acknowledged, {self.sent} sent, the server says {last}"
        same(opened.cursor, b"at %d" % last if last else b"", f"{self.name}: cursor")
        assert opened.generation > self.generation, f"{self.name}: generation {opened.generation} again"
        self.acknowledged, self.generation = last, opened.generation
        return opened

    def requests(self, client, opened, first):
        sequence = first
        while self.go.is_set() and not self.over:
            self.sent = max(self.sent, sequence)
            self.last = sequence
            episode = (sequence, self.number << 32 | sequence, rows(self.number, sequence))
            for request in client.chunks(self.name, opened, [episode]):
                request.priority = priority(self.number, sequence) if request.n_rows else 0
                if sequence != first or request.chunk != 0:
                    request.table, request.writer, request.generation = "", "", 0
                yield request
            sequence += 1

    def turn(self, client):
        opened = self.open(client)
        again = self.generation % 4  # number of episodes that are sent a second time
        first = expected = max(1, opened.last_sequence + 1 - again)
        self.last = first - 1
        for answer in client.stub.Insert(self.requests(client, opened, first), timeout=LIMIT_S):
            same(answer.sequence, expected + answer.n_episodes - 1, f"{self.name}: sequence acknowledged")
            expected = answer.sequence + 1
            self.duplicates += answer.n_duplicates
            self.acknowledged = max(self.acknowledged, answer.sequence)
            if answer.episode_id:
                self.note_id(answer.sequence, answer.episode_id)
        same(expected - 1, self.last, f"{self.name}: acknowledged when the stream ended well")

    def note_id(self, sequence, episode_id):
        same(self.ids.setdefault(sequence, episode_id), episode_id, f"{self.name}: id of episode {sequence}")


class Sampler(Worker):
    """Samples continuously and compares every snippet with what was sent."""

    def __init__(self, wire, address, writers):
        super().__init__(wire, address)
        self.writers = writers
        self.snippets = 0
        self.turns = 0

    def turn(self, client):
        if not any(writer.acknowledged for writer in self.writers):
            time.sleep(0.01)
            return
        self.turns += 1
        N = 8
        stream = client.sampler(wait_for_ready=False, batch_snippets=64, snippet_transitions=N, seed=self.turns,
                                credit=4)
        while self.go.is_set() and not self.over:
            answer = stream.next()
            drawn = np.frombuffer(answer.rows, "<f4").reshape(-1, N + 1, W)
            for n, snippet in zip(answer.n_valid, drawn):
                writer, sequence, row = snippet[0, :3].astype(int)
                assert 0 <= writer < WRITERS and 1 <= sequence <= self.writers[writer].sent, snippet[0, :3]
                sent = rows(int(writer), int(sequence))
                same(n, min(N, len(sent) - 1 - row), "n_valid")
                assert snippet[:n + 1].tobytes() == sent[row:row + n + 1].tobytes(), f"rows of {writer}/{sequence}"
                assert not snippet[n + 1:].any()
            self.snippets += len(drawn)
            stream.grant(1)
            time.sleep(0.02)
        stream.close()


class Operator(Worker):
    """Compacts the store and copies it, again and again: a kill may come at any point of either."""

    def __init__(self, wire, address, dumps, count):
        super().__init__(wire, address)
        self.dumps, self.count = dumps, count
        self.turns = 0

    def turn(self, client):
        self.turns += 1
        if self.turns % 3 == 0:
            client.stub.Dump(self.wire.replay.DumpRequest(name=f"copy-{self.turns}"), timeout=LIMIT_S)
            assert (self.dumps / f"copy-{self.turns}" / "data.mdb").is_file()
            shutil.rmtree(self.dumps)
            self.count["copies"] += 1
        else:
            client.stub.Compact(self.wire.replay.CompactRequest(), timeout=LIMIT_S)
            self.count["compactions"] += 1
        time.sleep(0.05)


def read_all(client, seed, total):
    """Samples until all `total` transitions have been seen, and compares each one.

    Returns {(writer, sequence): (episode id, probability)}.
    """
    seen, found = collections.defaultdict(set), {}
    stream = client.sampler(batch_snippets=4096, snippet_transitions=1, seed=seed, credit=2)
    for _ in range(100):
        answer = stream.next()
        stream.grant(1)
        drawn = np.frombuffer(answer.rows, "<f4").reshape(-1, 2, W)
        keys = drawn[:, 0, :3].astype(np.int64)
        assert (drawn[:, 0, :3] == keys).all() and (np.array(answer.first_row) == keys[:, 2]).all()
        ids, chances = np.array(answer.episode_id), np.array(answer.probability)
        episode = keys[:, 0] << 32 | keys[:, 1]
        for number in np.unique(episode):
            at = np.flatnonzero(episode == number)
            writer, sequence = int(number >> 32), int(number & 0xffffffff)
            sent, starts = rows(writer, sequence), keys[at, 2]
            assert drawn[at, 0].tobytes() == sent[starts].tobytes(), f"a row of {writer}/{sequence}"
            assert drawn[at, 1].tobytes() == sent[starts + 1].tobytes(), f"a row of {writer}/{sequence}"
            stated = {*zip(ids[at].tolist(), chances[at].tolist())}
            assert len(stated) == 1, f"{writer}/{sequence} has several ids and probabilities: {stated}"
            stated, = stated
            same(found.setdefault((writer, sequence), stated), stated, f"id and probability of {writer}/{sequence}")
            seen[writer, sequence].update(starts.tolist())
        if sum(map(len, seen.values())) >= total:
            break
    stream.close()
    same(sum(map(len, seen.values())), total, "transitions drawn in the end")
    for key, starts in seen.items():
        same(len(starts), transitions(*key), f"transitions of {key}")
    return found


def check_all(client, writers, seed, limit):
    """With the clients paused, the table holds exactly the expected episodes. Returns their number."""
    for writer in writers:
        writer.open(client)
    info = client.info()
    committed = [writer.acknowledged for writer in writers]
    if not any(committed):
        return 0
    found = read_all(client, seed, info.transitions)
    same(len(found), info.episodes, "episodes found")

    # The newest episodes of each writer, none missing and none duplicated.
    oldest = []
    for writer, last in zip(writers, committed):
        sequences = sorted(sequence for number, sequence in found if number == writer.number)
        oldest.append(sequences[0] if sequences else last + 1)
        same(sequences, list(range(oldest[-1], last + 1)), f"sequences of {writer.name}")

    # The oldest episodes were removed, and no more than the limit requires.
    for (number, sequence), (episode_id, _) in found.items():
        writers[number].note_id(sequence, episode_id)
    resident = sorted(episode_id for episode_id, _ in found.values())
    for writer, first in zip(writers, oldest):
        known = sorted(writer.ids.items())
        assert [i for _, i in known] == sorted({i for _, i in known}), f"{writer.name}: ids do not increase"
        gone = [sequence for sequence in writer.ids if sequence < first]
        assert all(writer.ids[sequence] < resident[0] for sequence in gone), f"{writer.name}: removed out of order"
        for sequence in gone:
            del writer.ids[sequence]
    assert info.transitions <= limit, f"{info.transitions} transitions"
    removed = [(w, s) for w, first in enumerate(oldest) for s in range(1, first)]
    if removed:
        assert info.transitions > limit - LONGEST, f"only {info.transitions} transitions are left"

    # The cumulative counters agree.
    same(info.episodes_inserted, sum(committed), "episodes_inserted")
    same(info.episodes_removed, len(removed), "episodes_removed")
    all_transitions = sum(transitions(w, s) for w, last in enumerate(committed) for s in range(1, last + 1))
    same(info.transitions_inserted, all_transitions, "transitions_inserted")
    same(info.transitions_removed, all_transitions - info.transitions, "transitions_removed")
    same((info.episodes_corrupt, info.episodes_duplicate), (0, 0), "episodes corrupt, duplicate")
    weight = sum(transitions(*key) * priority(*key) for key in found)
    for key, (_, chance) in found.items():
        assert abs(chance * weight / priority(*key) - 1) < 1e-12, f"probability of {key}"
    return len(found)


class Run:
    """A replay server and its client threads."""

    def __init__(self, scenario, durability):
        self.scenario = scenario
        self.limit = scenario.random.choice((1500, 3000, 6000))
        self.workspace = scenario.workspace()
        self.workspace.configure(replay_server={
            "map_bytes": 64 << 20, "max_transitions": self.limit, "durability": durability,
            "sync_ms": scenario.random.choice((1, 20, 300)), "insert_buffer_bytes": 2 << 20})
        self.address = f"{self.workspace.run_dir}/replay.sock"
        self.writers = [Writer(scenario.wire, self.address, number) for number in range(WRITERS)]
        dumps = self.workspace.run_dir / "replay-dumps"
        self.workers = [*self.writers, Operator(scenario.wire, self.address, dumps, scenario.checks),
                        Sampler(scenario.wire, self.address, self.writers)]
        for worker in self.workers:
            worker.start()
        self.start()

    def start(self):
        self.server = self.workspace.start("replay_server")

    def progress(self):
        return sum(writer.acknowledged for writer in self.writers)

    def raise_errors(self):
        """Raises the first error of a client thread."""
        for worker in self.workers:
            if worker.wrong is not None:
                raise AssertionError(f"{worker.name}: {worker.wrong!r}") from worker.wrong

    def moved(self, before):
        self.raise_errors()
        return self.progress() > before

    def pause(self):
        for worker in self.workers:
            worker.go.clear()
        wait_until(lambda: all(worker.idle.is_set() for worker in self.workers), "the clients to pause", LIMIT_S)
        self.raise_errors()

    def resume(self):
        for worker in self.workers:
            worker.go.set()

    def check(self):
        """Checks the whole table. The server runs and the clients are paused."""
        client = connect(self.scenario.wire, self.address, lambda: self.server.ended() is not None)
        assert client is not None, f"the server exited with {self.server.ended()}"
        n = check_all(client, self.writers, self.scenario.random.getrandbits(32), self.limit)
        client.close()
        self.scenario.checks["whole tables"] += 1
        self.scenario.checks["episodes bit for bit"] += n

    def one_kill(self):
        random = self.scenario.random
        if random.random() < 0.15:  # while it opens its store
            self.scenario.some_time(0.08)
        else:
            before = self.progress()
            wait_until(lambda: self.moved(before), "an acknowledgement", LIMIT_S, alive=self.server)
            self.scenario.some_time(0.25)
        assert self.scenario.kill(self.server, "replay server"), f"the server exited with {self.server.ended()}"
        if random.random() < 0.6:
            self.start()  # at once; the clients reconnect by themselves
            return
        self.pause()
        self.start()
        self.check()
        self.resume()

    def close(self):
        for worker in self.workers:
            worker.end()


def scenario_of(durability):
    def play(scenario):
        run = Run(scenario, durability)
        try:
            run.resume()
            while scenario.goes_on(scenario.kills["replay server"], 55):
                run.one_kill()
            before = run.progress()
            wait_until(lambda: run.moved(before), "an acknowledgement after the last kill", LIMIT_S, alive=run.server)
            run.pause()
            run.check()
            run.server.stop()
            run.start()
            run.check()  # and again after a clean shutdown
            for writer in run.writers:
                assert writer.acknowledged > 0, f"{writer.name} inserted nothing"
            scenario.checks["episodes inserted"] = run.progress()
            scenario.checks["snippets drawn meanwhile"] = run.workers[-1].snippets
            assert run.workers[-1].snippets > 0
        finally:
            run.close()
    play.__name__ = f"replay_{durability}"
    return play


replay_each = scenario_of("each")
replay_interval = scenario_of("interval")
