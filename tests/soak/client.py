"""A Python client with its own table, which measures the latency of inserts, samples and Info calls.

Its table has the same limits as all others (the number of sampled transitions follows the number inserted). The client
counts both and stays within the limits, so it never waits for them and measures the server's latency alone. It also
samples from the main table, which all other processes use, and checks that the snippets are valid.
"""

import threading
import time

import numpy as np

from replay_client import Client, cheetah_signature, numbered_rows
from system import MIN_TRANSITIONS, SAMPLES_PER_INSERT

KINDS = ("insert", "sample", "unary")
EPISODE = 50            # transitions of an inserted episode
SNIPPETS, N = 32, 8
ROUND_S = 0.1           # pause before a round: an insert, the batches that it allows, one Info call
STREAM_ROUNDS = 50      # rounds for which a Sample stream is used
CHECK_EVERY = 5         # rounds between checks of the main table


class Latencies(threading.Thread):
    """Runs from start() to stop(). `error` is the error that ended it early, or None."""

    def __init__(self, wire, address):
        super().__init__(name="client", daemon=True)
        self.error = None
        self.rounds = 0
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.times = {kind: [] for kind in KINDS}  # seconds, since the last take(); guarded by `lock`
        self.own = Client(wire, address, cheetah_signature(wire), table="client")
        self.main = Client(wire, address, cheetah_signature(wire))
        self.opened = None
        self.inserted = self.sampled = self.sequence = 0

    def take(self):
        """Returns {kind: latencies since the last call}."""
        with self.lock:
            taken, self.times = self.times, {kind: [] for kind in KINDS}
        return taken

    def stop(self):
        self.stopping.set()
        self.join(60)
        self.own.close()
        self.main.close()

    def run(self):
        try:
            self.opened = self.own.open_insert("client")
            while self.inserted < MIN_TRANSITIONS:
                self.insert()
            while not self.stopping.is_set():
                sampler = self.own.sampler(batch_snippets=SNIPPETS, snippet_transitions=N, seed=self.rounds)
                for _ in range(STREAM_ROUNDS):
                    if not self.stopping.wait(ROUND_S):
                        self.round(sampler)
                sampler.close()
        except Exception as error:
            self.error = repr(error)

    def round(self, sampler):
        self.timed("insert", self.insert)
        while self.sampled < (self.inserted - MIN_TRANSITIONS) * SAMPLES_PER_INSERT:
            self.sampled += self.timed("sample", lambda: self.sample(sampler))
        self.timed("unary", self.own.info)
        self.rounds += 1
        if self.rounds % CHECK_EVERY == 0:
            self.check_main_table()

    def timed(self, kind, call):
        began = time.perf_counter()
        result = call()
        with self.lock:
            self.times[kind].append(time.perf_counter() - began)
        return result

    def insert(self):
        self.sequence += 1
        rows = numbered_rows(self.sequence, EPISODE)
        chunks = list(self.own.chunks("client", self.opened, [(self.sequence, self.sequence, rows)]))
        chunks[0].restored = False
        [*_, answer] = self.own.stub.Insert(iter(chunks), timeout=30)
        assert answer.sequence == self.sequence, f"acknowledged up to {answer.sequence}, expected {self.sequence}"
        self.inserted += EPISODE

    def sample(self, sampler):
        """Takes one batch and returns its number of transitions."""
        sampler.grant(1)
        answer = sampler.next()
        n_valid = np.array(answer.n_valid)
        rows = np.frombuffer(answer.rows, "<f4").reshape(SNIPPETS, N + 1, self.own.W)
        for n, snippet in zip(n_valid, rows):
            number, first = snippet[0, :2].astype(int)
            assert 1 <= n <= N and np.array_equal(snippet[:n + 1, 1], np.arange(first, first + n + 1)), \
                "rows out of order"
            assert np.all(snippet[:n + 1, 0] == number), "rows of two episodes"
        return int(n_valid.sum())

    def check_main_table(self):
        [(n_valid, rows)] = self.main.draw(1, batch_snippets=SNIPPETS, snippet_transitions=N, seed=self.rounds)
        assert np.all((n_valid >= 1) & (n_valid <= N)), "transitions in a snippet"
        for n, snippet in zip(n_valid, rows):
            assert np.isfinite(snippet[:n + 1]).all(), "a value that is not finite"
            assert np.abs(snippet[:n, 17:23]).max() <= 1, "an action outside its limits"
