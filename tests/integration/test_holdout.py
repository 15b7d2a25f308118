"""Held-out episodes: decided by what they contain, in a table of their own, never learned from."""

import os
import struct
import subprocess
import time

import pytest

import logs
from processes import BINARIES
from replay_client import Client, cheetah_signature
from xxh64 import xxh64

T, N = 20, 40


def place(one, number):
    """The number in [0, 1) that decides, of an episode that is `number` in its file, in a dataset without checksums."""
    rows = logs.rows(one).astype("<f4").tobytes()
    return (xxh64(struct.pack("<QQ", xxh64(rows), number)) >> 11) * 2.0**-53


def write(folder, files=4, n=N):
    """Writes n episodes and returns the places of all, by their numbers."""
    episodes = [logs.episode(i, T) for i in range(n)]
    logs.write_dataset(folder, [episodes[i::files] for i in range(files)])
    return [place(one, i // files) for i, one in enumerate(episodes)]


def configure(workspace, folder, **restorer):
    workspace.configure(experiment={"seed": 5}, restorer={"folder": str(folder), **restorer},
                        replay_server={"map_bytes": 256 << 20})


def contents(workspace, wire, table):
    """Entry of Info, and the numbers of the episodes that draws show."""
    client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire), table)
    try:
        info = client.info()
        if info is None:
            return None, set()
        numbers = set()
        for _, batch in client.draw(8, batch_snippets=256, snippet_transitions=1, seed=2):
            numbers |= {int(round(value)) // 1000 for value in batch[:, 0, 0]}
        return info, numbers
    finally:
        client.close()


def both(workspace, wire):
    return contents(workspace, wire, "default"), contents(workspace, wire, "default_holdout")


def test_the_sides_are_those_of_the_rule(workspace, wire):
    """As another program computes them; and whatever the names, times and order of files and episodes."""
    folder = workspace.folder / "logs"
    places = write(folder)
    held_out = {i for i, u in enumerate(places) if u < 0.25}
    versions = set()
    for way in range(2):
        other = type(workspace)()
        try:
            configure(other, folder, holdout=0.25, count=1 + way, shuffle=way == 0)
            other.serve("replay_server")
            for i in reversed(range(1 + way)):
                other.start("restorer", f"--index={i}", label=f"restorer-{i}").succeed()
            (learn, seen), (apart, kept) = both(other, wire)
            assert kept == held_out and seen == set(range(N)) - held_out
            assert (learn.sealed, apart.sealed) == (True, True)
            assert (learn.episodes, apart.episodes) == (N - len(held_out), len(held_out))
            versions.add((learn.sealed_version, apart.sealed_version))
            if way == 0:
                note = other.json("restorer.json")
                assert note["made_of"]["holdout"] == "0.25"
                assert (note["episodes"], note["held_out_episodes"]) == (N, len(held_out))
                assert note["held_out_transitions"] == T * len(held_out)
        finally:
            other.close()
        # Other names, which are read in another order, and other times.
        for i, path in enumerate(sorted(folder.glob("log-*.hdf5"))):
            os.utime(path, (1e9 + i, 1e9 + i))
            path.rename(folder / f"other-{way}-{9 - i}.hdf5")
    assert len(versions) == 1


def test_folds_are_a_division(workspace, wire):
    folder = workspace.folder / "logs"
    places = write(folder)
    for fold in (0, 2):
        other = type(workspace)()
        try:
            configure(other, folder, folds=3, fold=fold)
            other.serve("replay_server")
            other.start("restorer").succeed()
            (_, seen), (_, kept) = both(other, wire)
            assert kept == {i for i, u in enumerate(places) if fold / 3 <= u < (fold + 1) / 3}
            assert seen == set(range(N)) - kept
            assert other.json("restorer.json")["made_of"]["holdout"] == f"fold {fold} of 3"
        finally:
            other.close()
    said = dataset_inspect(folder, "--folds=3", "--fold=2")
    assert f"held out     {len(kept)} episodes, {T * len(kept)} transitions" in said
    assert f"held out     {sum(u < 0.1 for u in places)} episodes" in dataset_inspect(folder, "--holdout=0.1")
    assert "held out" not in dataset_inspect(folder)


def dataset_inspect(folder, *flags, status=0):
    done = subprocess.run([BINARIES["hindcast"], "dataset", "inspect", *flags, folder], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_kills_change_neither_table(workspace, wire):
    folder = workspace.folder / "logs"
    write(folder, files=7, n=200)
    configure(workspace, folder, holdout=0.2)
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    undisturbed = [info.sealed_version for info, _ in both(workspace, wire)]
    other = type(workspace)()
    try:
        configure(other, folder, holdout=0.2, count=2, in_flight=65536, prefetch=4)
        server = other.serve("replay_server")
        ends, starts = [False, False], 0
        while not all(ends):
            i = starts % 2
            restorer = other.start("restorer", f"--index={i}", label=f"restorer-{starts}")
            starts += 1
            time.sleep(0.03 + 0.01 * starts)
            if starts % 3 == 0:
                server.kill()
                server = other.serve("replay_server")
            if starts < 8:
                restorer.kill()
                ends[i] = restorer.ended() == 0
            else:
                restorer.succeed()
                ends[i] = True
        infos = [info for info, _ in both(other, wire)]
        assert [info.sealed_version for info in infos] == undisturbed
        assert sum(info.episodes for info in infos) == 200 and sum(info.episodes_inserted for info in infos) == 200
    finally:
        other.close()


def test_another_share_is_another_table(workspace, wire):
    folder = workspace.folder / "logs"
    write(folder)
    configure(workspace, folder, holdout=0.25)
    workspace.serve("replay_server")
    workspace.start("restorer", label="first").succeed()
    before = both(workspace, wire)
    for label, options, was in (("none", {}, 'was "0.25" and is ""'), ("other", {"holdout": 0.2}, 'and is "0.2"'),
                                ("fold", {"folds": 4, "fold": 1}, 'and is "fold 1 of 4"')):
        configure(workspace, folder, **options)
        restorer = workspace.start("restorer", label=label)
        assert restorer.wait() == 2
        for part in (was, "restorer.holdout", "experiment.name", "--restore-anew"):
            assert part in restorer.tail(), restorer.tail()
    configure(workspace, folder, holdout=0.25)
    workspace.start("restorer", label="again").succeed()
    after = both(workspace, wire)
    assert [info.sealed_version for info, _ in after] == [info.sealed_version for info, _ in before]


@pytest.mark.parametrize("options, words", [
    ({"holdout": 0.6}, ["holdout", "0.6", "0..0.5"]),
    ({"holdout": -0.1}, ["holdout", "-0.1", "0..0.5"]),
    ({"folds": 1}, ["restorer.folds is 1", "at least 2"]),
    ({"folds": 3, "fold": 3}, ["restorer.fold is 3", "less than restorer.folds, 3"]),
    ({"fold": 2}, ["restorer.fold is 2", "less than restorer.folds, 0"]),
    ({"folds": 3, "holdout": 0.1}, ["restorer.holdout is 0.1", "restorer.folds is 3", "one of them"]),
    ({"holdout": 0.1, "mode": "loop"}, ["restorer.mode is loop", "expected once"]),
    ({"holdout": 0.1, "table": "t" * 57}, ["restorer.table", "at most 56 characters"]),
])
def test_wrong_options_are_told(workspace, options, words):
    folder = workspace.folder / "logs"
    logs.write_dataset(folder, [[logs.episode(0, T)]])
    configure(workspace, folder, **options)
    restorer = workspace.start("restorer")
    assert restorer.wait() == 2
    for word in words:
        assert word in restorer.tail(), restorer.tail()


def test_a_side_without_episodes_is_refused(workspace, wire):
    """Told when all is read, and before anything is learned: the table to learn from is not sealed."""
    folder = workspace.folder / "logs"
    places = write(folder, files=1, n=3)
    configure(workspace, folder, holdout=min(places) / 2)
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    assert restorer.wait() == 2
    for word in ("restorer.holdout is", "none of 3 episodes is held out", "at least one", "--restore-anew"):
        assert word in restorer.tail(), restorer.tail()
    assert not is_sealed(workspace, wire)
    # One episode, in the fold that is held out.
    other = type(workspace)()
    try:
        only = write(other.folder / "logs", files=1, n=1)[0]
        configure(other, other.folder / "logs", folds=2, fold=int(2 * only))
        other.serve("replay_server")
        restorer = other.start("restorer")
        assert restorer.wait() == 2 and "all of 1 episodes are held out" in restorer.tail()
        assert not is_sealed(other, wire)
    finally:
        other.close()


def is_sealed(workspace, wire):
    client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire))
    try:
        return client.info().sealed
    finally:
        client.close()
