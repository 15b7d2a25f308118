"""Bytes that went bad on disk, as the real binaries meet them: found, named, counted; what is sound goes on being used; no
process dies of them by a signal."""

import random
import shutil
import struct

import grpc
import numpy as np
import pytest

from processes import wait_until
from replay_client import Client, cheetah_signature, numbered_rows

LENGTHS = [3] * 40 + [1500, 660]  # many small ones within pages, two in pages of their own
EPISODES = [(i + 1, i, numbered_rows(i, T)) for i, T in enumerate(LENGTHS)]
PAGE = 4096
ROUNDS = 30


@pytest.fixture
def stored(workspace, wire):
    """The bytes of a store with EPISODES, and the workspace that it belongs to."""
    workspace.configure(replay_server={"map_bytes": 64 << 20})
    server = workspace.serve("replay_server")
    client = make_client(workspace, wire)
    assert client.insert("writer", EPISODES)[1] == len(EPISODES)
    client.close()
    server.stop()
    workspace.store = workspace.run_dir / "replay" / "data.mdb"
    return workspace, workspace.store.read_bytes()


def make_client(workspace, wire):
    return Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire))


def outcome(workspace, label):
    """The server started on what is there: "refused" with a sentence that names the file, or the process, serving."""
    process = workspace.start("replay_server", label=label)

    def serves_or_left():
        status = workspace.status("replay_server") or {}
        return process.ended() is not None or (status.get("pid"), status.get("state")) == (process.pid, "running")
    wait_until(serves_or_left, f"{label} to serve or leave")
    if process.ended() is None:
        return process
    assert process.ended() > 0, f"{label} left with {process.ended()}"
    assert str(workspace.store.parent) in process.tail() and "ERROR" in process.tail()
    return "refused"


def serves_only_the_truth(workspace, wire):
    """Draws, and compares every row with what was once inserted. Returns episodes counted as corrupt."""
    client = make_client(workspace, wire)
    try:
        for n_valid, rows in client.draw(4, batch_snippets=64, snippet_transitions=4, seed=1):
            for n, snippet in zip(n_valid, rows):
                number, first = snippet[0, :2].astype(int)
                assert np.array_equal(snippet[:n + 1], EPISODES[number][2][first:first + n + 1])
        return client.info().episodes_corrupt
    except grpc.RpcError as error:
        assert error.code() != grpc.StatusCode.UNAVAILABLE, "the server is gone"
        return 0
    finally:
        client.close()


def test_flipped_bits_anywhere_in_the_store(stored, wire):
    workspace, sound = stored
    chance = random.Random(5)
    # By turns anywhere, and where LMDB's own pages begin: branches, leaves, headers.
    heads = {page: struct.unpack_from("<QHH", sound, page * PAGE) for page in range(len(sound) // PAGE)}
    tree = [page for page, (number, _, kind) in heads.items() if number == page and kind in (1, 2, 8)]
    refused = served = corrupt = 0
    for number in range(ROUNDS):
        bytes_now = bytearray(sound)
        for _ in range(1 + number % 5):
            at = chance.randrange(len(sound))
            if number % 2:
                at = chance.choice(tree) * PAGE + chance.randrange(160)
            bytes_now[at] ^= 1 << chance.randrange(8)
        workspace.store.write_bytes(bytes_now)
        server = outcome(workspace, f"flipped-{number}")
        if server == "refused":
            refused += 1
            continue
        served += 1
        corrupt += serves_only_the_truth(workspace, wire)
        server.stop()
    print(f"{ROUNDS} stores: {refused} refused, {served} served, {corrupt} episodes counted as corrupt")
    assert refused and served and corrupt


@pytest.mark.parametrize("pages", [0.5, 1, 2, 3, 10, -0.5, -1, -20])
def test_a_cut_store_is_refused(stored, wire, pages):
    workspace, sound = stored
    size = int(pages * PAGE) + (len(sound) if pages < 0 else 0)
    workspace.store.write_bytes(sound[:size])
    result = outcome(workspace, "cut")
    if result != "refused":  # nothing that is in use was cut off
        assert serves_only_the_truth(workspace, wire) == 0
        result.stop()
        assert pages < 0


def test_a_damaged_store_can_be_taken_away(stored, wire):
    workspace, sound = stored
    workspace.store.write_bytes(b"\0" * len(sound))
    assert outcome(workspace, "zeros") == "refused"
    shutil.rmtree(workspace.store.parent)
    server = workspace.serve("replay_server")
    client = make_client(workspace, wire)
    assert client.insert("writer", EPISODES)[1] == len(EPISODES)
    client.close()
    server.stop()
