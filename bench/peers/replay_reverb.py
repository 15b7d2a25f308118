#!/usr/bin/env python3
"""A peer of bench_replay: Reverb. Started by compare_replay.py, one process for each role.

    replay_reverb.py server PORT     serves until its input ends
    replay_reverb.py writer PORT     reads lines "TABLE SECONDS ITEMS": inserts for so long, or until so many items
    replay_reverb.py sampler PORT    reads lines "TABLE WAY SECONDS"

Each line is answered with a line of JSON. An item is a snippet of 10 steps of 24 + 6 + 1 floats. It is inserted in one of
two ways, each into a table of its own:

    steps     one append for each step, as an actor does
    arrays    one append for all ten steps, which is the fastest that Reverb offers from Python

and sampled in one of these ways:

    client              Client.sample, stacked to a batch of 512
    dataset:K:W         TrajectoryDataset in batches of 512, K samples in flight for each of W workers
    one:client          one item, a new call for each
    one:stream          one item after another on an open stream
"""

import json
import os
import sys
import time

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "GRPC_VERBOSITY": "ERROR"}

import numpy as np
import reverb

T, OBSERVATION, ACTION = 10, 24, 6
TABLES = ("steps", "arrays")
TABLE_ITEMS = 100_000  # a million steps
BATCH = 512
NAMES = {"observation": OBSERVATION, "action": ACTION, "reward": 1}
WARM_UP = 50  # single samples that are not counted


def serve(port):
    tables = [reverb.Table(name, reverb.selectors.Uniform(), reverb.selectors.Fifo(), TABLE_ITEMS,
                           reverb.rate_limiters.MinSize(1)) for name in TABLES]
    server = reverb.Server(tables, port=port)
    print(json.dumps({}), flush=True)
    sys.stdin.read()
    server.stop()


class Writer:
    def __init__(self, port):
        self.client = reverb.Client(f"localhost:{port}")
        numbers = np.random.default_rng(os.getpid())
        self.data = {name: numbers.standard_normal((4096, T, size), dtype=np.float32) for name, size in NAMES.items()}

    def answer(self, table, seconds, items):
        steps, n = (T if table == "steps" else 1), 0
        begin = time.perf_counter()
        with self.client.trajectory_writer(num_keep_alive_refs=steps) as writer:
            for name in NAMES:
                writer.configure((name,), num_keep_alive_refs=steps, max_chunk_length=steps)
            while n < int(items) and time.perf_counter() - begin < float(seconds):
                snippet = {name: values[n % 4096] for name, values in self.data.items()}
                if table == "steps":
                    for t in range(T):
                        writer.append({name: rows[t] for name, rows in snippet.items()})
                else:
                    writer.append(snippet)
                writer.create_item(table, 1.0, {name: writer.history[name][-steps:] for name in NAMES})
                n += 1
                writer.flush(block_until_num_items=200)
            writer.flush()
        return {"items": n, "seconds": time.perf_counter() - begin}


class Sampler:
    def __init__(self, port):
        self.address = f"localhost:{port}"
        self.client = reverb.Client(self.address)

    def dataset(self, table, in_flight, workers):
        import tensorflow as tf
        lead = [T] if table == "steps" else [1, T]
        return reverb.TrajectoryDataset(
            server_address=self.address, table=table, max_in_flight_samples_per_worker=in_flight,
            num_workers_per_iterator=workers, dtypes=dict.fromkeys(NAMES, tf.float32),
            shapes={name: tf.TensorShape([*lead, size]) for name, size in NAMES.items()})

    def answer(self, table, way, seconds):
        kind, _, rest = way.partition(":")
        if kind == "one":
            return self.one(table, rest, float(seconds))
        if kind == "client":
            def take():
                items = [item.data for item in self.client.sample(table, num_samples=BATCH, emit_timesteps=False)]
                return [np.stack(column) for column in zip(*items)]
        else:
            in_flight, workers = map(int, rest.split(":"))
            batches = iter(self.dataset(table, in_flight, workers).batch(BATCH, drop_remainder=True).prefetch(2))
            def take():
                return next(batches)
        take()
        begin, n = time.perf_counter(), 0
        while time.perf_counter() - begin < float(seconds):
            take()
            n += BATCH
        return {"items": n, "seconds": time.perf_counter() - begin}

    def one(self, table, where, seconds):
        if where == "client":
            def take():
                next(iter(self.client.sample(table, num_samples=1, emit_timesteps=False)))
        else:
            items = iter(self.dataset(table, 1, 1))
            def take():
                next(items)
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) <= WARM_UP:
            begin = time.perf_counter()
            take()
            times.append(time.perf_counter() - begin)
        return {"p50_us": 1e6 * float(np.percentile(times[WARM_UP:], 50))}


def main():
    role, port = sys.argv[1], int(sys.argv[2])
    if role == "server":
        serve(port)
        return
    worker = {"writer": Writer, "sampler": Sampler}[role](port)
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.answer(*line.split())), flush=True)
    # Threads of an iterator may outlive it and hold up the end.
    os._exit(0)


if __name__ == "__main__":
    main()
