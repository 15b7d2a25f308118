"""Corrupt files of real binaries: the damage is found, reported and counted, and intact data remains in use.

No process may be ended by a signal.
"""

import random
import shutil
import struct

import grpc
import numpy as np
import pytest

from processes import wait_until
from replay_client import Client, cheetah_signature, numbered_rows
from test_learner import checkpoints, last_step, logged, newest, reached, sealed  # noqa: F401 (fixtures too)

LENGTHS = [3] * 40 + [1500, 660]  # many small episodes that share pages, two on overflow pages
EPISODES = [(i + 1, i, numbered_rows(i, T)) for i, T in enumerate(LENGTHS)]
PAGE = 4096
ROUNDS = 30


@pytest.fixture
def stored(workspace, wire):
    """The workspace of a store with EPISODES, and the contents of its file."""
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
    """Starts the server. Returns the process, or "refused" if it exits with an error that names the store."""
    process = workspace.start("replay_server", label=label)

    def serves_or_left():
        status = workspace.status("replay_server") or {}
        return process.ended() is not None or (status.get("pid"), status.get("state")) == (process.pid, "running")
    wait_until(serves_or_left, f"{label} to serve or exit")
    if process.ended() is None:
        return process
    assert process.ended() > 0, f"{label} exited with {process.ended()}"
    assert str(workspace.store.parent) in process.tail() and "ERROR" in process.tail()
    return "refused"


def check_served_rows(workspace, wire):
    """Samples and compares every row with what was inserted. Returns the number of episodes counted as corrupt."""
    client = make_client(workspace, wire)
    try:
        for n_valid, rows in client.draw(4, batch_snippets=64, snippet_transitions=4, seed=1):
            for n, snippet in zip(n_valid, rows):
                number, first = snippet[0, :2].astype(int)
                assert np.array_equal(snippet[:n + 1], EPISODES[number][2][first:first + n + 1])
        return client.info().episodes_corrupt
    except grpc.RpcError as error:
        assert error.code() != grpc.StatusCode.UNAVAILABLE, "the server has exited"
        return 0
    finally:
        client.close()


def test_flipped_bits_anywhere_in_the_store(stored, wire):
    workspace, intact = stored
    chance = random.Random(5)
    # Alternately anywhere, and at the start of LMDB's own pages (branch, leaf and meta pages).
    heads = {page: struct.unpack_from("<QHH", intact, page * PAGE) for page in range(len(intact) // PAGE)}
    tree = [page for page, (number, _, kind) in heads.items() if number == page and kind in (1, 2, 8)]
    refused = served = corrupt = 0
    for number in range(ROUNDS):
        damaged = bytearray(intact)
        for _ in range(1 + number % 5):
            at = chance.randrange(len(intact))
            if number % 2:
                at = chance.choice(tree) * PAGE + chance.randrange(160)
            damaged[at] ^= 1 << chance.randrange(8)
        workspace.store.write_bytes(damaged)
        server = outcome(workspace, f"flipped-{number}")
        if server == "refused":
            refused += 1
            continue
        served += 1
        corrupt += check_served_rows(workspace, wire)
        server.stop()
    print(f"{ROUNDS} stores: {refused} refused, {served} served, {corrupt} episodes counted as corrupt")
    assert refused and served and corrupt


@pytest.mark.parametrize("pages", [0.5, 1, 2, 3, 10, -0.5, -1, -20])
def test_a_truncated_store_is_refused(stored, wire, pages):
    workspace, intact = stored
    size = int(pages * PAGE) + (len(intact) if pages < 0 else 0)
    workspace.store.write_bytes(intact[:size])
    result = outcome(workspace, "cut")
    if result != "refused":  # only unused pages were cut off
        assert check_served_rows(workspace, wire) == 0
        result.stop()
        assert pages < 0


def test_a_damaged_store_can_be_removed_and_filled_again(stored, wire):
    workspace, intact = stored
    workspace.store.write_bytes(b"\0" * len(intact))
    assert outcome(workspace, "zeros") == "refused"
    shutil.rmtree(workspace.store.parent)
    server = workspace.serve("replay_server")
    client = make_client(workspace, wire)
    assert client.insert("writer", EPISODES)[1] == len(EPISODES)
    client.close()
    server.stop()


def flip(path, at):
    """Flips one bit at a relative position (0 to 1) of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 16
    path.write_bytes(content)


# ---- checkpoints ----

def test_a_damaged_checkpoint_is_set_aside_and_the_older_one_used(sealed):  # noqa: F811
    learner = sealed.start("learner", "--steps=0", label="first")
    wait_until(reached(sealed.run_dir, 100), "step 100", alive=learner)
    learner.kill()
    steps = last_step(sealed.run_dir) + 60
    older, newer = sorted(checkpoints(sealed.run_dir))[-2:]
    flip(checkpoints(sealed.run_dir)[newer], 0.7)
    name = checkpoints(sealed.run_dir)[newer].name
    learner = sealed.start("learner", f"--steps={steps}", label="second")
    learner.succeed()
    assert name in learner.tail() and "set aside" in learner.tail()
    assert list((sealed.run_dir / "checkpoints").glob(f"{name}*corrupt*"))
    assert f"step={older}" in learner.tail()
    assert newest(sealed.run_dir) == steps


def test_a_learner_does_not_start_over_if_all_checkpoints_are_damaged(sealed):  # noqa: F811
    sealed.start("learner", "--steps=100", label="first").succeed()
    files = checkpoints(sealed.run_dir).values()
    for path in files:
        flip(path, 0.7)
    before = {path: path.read_bytes() for path in files}
    learner = sealed.start("learner", "--steps=200", label="second")
    assert learner.wait() == 2
    for path in files:
        assert path.name in learner.tail()
        assert path.read_bytes() == before[path]
    assert "move them away to start over" in learner.tail()
    assert "new run" not in learner.tail()
    for path in files:
        path.unlink()
    sealed.start("learner", "--steps=100", label="third").succeed()
    assert newest(sealed.run_dir) == 100


# ---- logs ----

@pytest.fixture
def collected(workspace):
    """The workspace of a collector killed with episodes in its journal. `episodes` is the number to collect."""
    workspace.configure(experiment={"environment": "cheetah-run", "seed": 2},
                        collector={"act": "random", "shard_episodes": 10000},
                        restorer={"folder": str(workspace.run_dir / "logs")},
                        replay_server={"map_bytes": 64 << 20})
    collector = workspace.start("collector")
    table = workspace.run_dir / "logs" / "returns.csv"
    wait_until(lambda: table.exists() and table.read_text().count("\n") > 5, "5 episodes", alive=collector)
    collector.kill()
    workspace.episodes = table.read_text().count("\n") + 2
    return workspace


def collect_the_rest(workspace):
    collector = workspace.start("collector", f"--episodes={workspace.episodes}", label="rest")
    collector.succeed()
    return collector.tail()


def restored(workspace, wire):
    """Restores the logs. Returns (output of the restorer, episodes in the replay)."""
    server = workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    restorer.succeed()
    client = make_client(workspace, wire)
    episodes = client.info().episodes
    client.close()
    server.stop()
    return restorer.tail(), episodes


def test_a_damaged_shard_costs_one_episode(collected, wire):
    collect_the_rest(collected)
    flip(collected.run_dir / "logs" / "shard-00000.hdf5", 0.4)
    said, episodes = restored(collected, wire)
    assert "shard-00000.hdf5" in said and "episode_" in said and "left out" in said
    assert episodes == collected.episodes - 1


def test_a_damaged_journal_costs_one_episode(collected, wire):
    journal = collected.run_dir / "logs" / "journal"
    flip(journal, 0.02)  # in one of the first episodes
    with open(journal, "ab") as file:
        file.write(b"HCEPISOD and then the power went")
    assert "the journal was damaged" in collect_the_rest(collected)
    assert restored(collected, wire)[1] == collected.episodes - 1
