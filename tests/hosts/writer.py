#!/usr/bin/env python3
"""A writer on a host of its own network: inserts numbered episodes into the table "notes" of a replay server until it gets
SIGTERM, and appends each acknowledged sequence number to a file. With --check: reads the table and says what of the file is
not there, whole and once.

    writer.py --address=HOST:PORT --tls=PREFIX --ca=FILE --token=TEXT --acknowledged=FILE [--check]

PREFIX.pem and PREFIX.key are this host's certificate and key.
"""

import argparse
import pathlib
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
sys.dont_write_bytecode = True

import grpc  # noqa: E402
import numpy as np  # noqa: E402

import stubs  # noqa: E402
from replay_client import Client, cheetah_signature, numbered_rows  # noqa: E402

TRANSITIONS = 20
WRITER = "notebook"
KEEPALIVE = [("grpc.keepalive_time_ms", 5000), ("grpc.keepalive_timeout_ms", 2000)]


def connect(arguments, wire):
    tls = grpc.ssl_channel_credentials(arguments.ca.read_bytes(), arguments.tls.with_suffix(".key").read_bytes(),
                                       arguments.tls.with_suffix(".pem").read_bytes())
    return Client(wire, arguments.address, cheetah_signature(wire), "notes", KEEPALIVE, arguments.token, credentials=tls)


def write(client, acknowledged):
    """One episode after another. After a failure it asks the server where it was, as every writer does."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    opened, sequence = None, 0
    with open(acknowledged, "a", encoding="ascii") as file:
        while not ended:
            try:
                if opened is None:
                    opened = client.open_insert(WRITER)
                    sequence = opened.last_sequence
                last, _, _ = client.insert(
                    WRITER, [(sequence + 1, sequence + 1, numbered_rows(sequence + 1, TRANSITIONS))], opened)
                if last == sequence + 1:
                    sequence = last
                    file.write(f"{sequence}\n")
                    file.flush()
                time.sleep(0.05)
            except grpc.RpcError:
                opened = None
                time.sleep(0.2)
    return 0


def check(client, acknowledged):
    """Seals the table and reads it in order: every acknowledged episode must be there once, bit for bit."""
    wanted = [int(line) for line in acknowledged.read_text(encoding="ascii").split()]
    opened = client.open_insert(WRITER)
    client.seal(WRITER, generation=opened.generation)
    table = client.info()
    # Read in order, a snippet starts at each transition; every TRANSITIONS-th is a whole episode.
    batches = client.draw(-(-table.transitions // 400), batch_snippets=400, snippet_transitions=TRANSITIONS, seed=1,
                          in_order=True)
    there = np.concatenate([rows for _, rows in batches])[:table.transitions:TRANSITIONS]
    numbers = [int(number) for number in there[:, 0, 0]]
    assert len(set(numbers)) == len(numbers) == table.episodes, "an episode is there twice"
    for number, rows in zip(numbers, there):
        assert np.array_equal(rows, numbered_rows(number, TRANSITIONS)), f"episode {number} differs"
    missing = sorted(set(wanted) - set(numbers))
    print(f"{len(wanted)} acknowledged, {len(numbers)} there; missing: {missing}")
    return 1 if missing or not wanted else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("address", "token"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("tls", "ca", "acknowledged"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        client = connect(arguments, stubs.make(pathlib.Path(folder)))
        return (check if arguments.check else write)(client, arguments.acknowledged)


if __name__ == "__main__":
    sys.exit(main())
