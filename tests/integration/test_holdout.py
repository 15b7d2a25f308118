"""Held-out episodes: decided by what they contain, in a table of their own, never learned from."""

import json
import os
import shutil
import signal
import struct
import subprocess
import time

import h5py
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import logs
import tensorboard_points
from processes import BINARIES, wait_until
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


LEARNER = {"algorithm": "abm+mpo", "batch_snippets": 8, "snippet_transitions": 4, "samples": 4, "widths": [16, 16],
           "gamma": 0.9, "threads": 1, "steps": 45, "publish_every": 20, "report_every": 20, "linger_seconds": 0,
           "prior_likelihood": "gaussian", "validation_snippets": 300}
O, A = logs.O, logs.A


def learn(workspace, label, **learner):
    """One learner on the tables that are there, in a folder of its own; returns the lines of holdout.jsonl."""
    workspace.configure(experiment={"seed": 5, "run_dir": str(workspace.run_dir / label),
                                    "replay": [f"unix:{workspace.run_dir}/replay.sock"]},
                        learner={**LEARNER, **learner})
    workspace.start("learner", label=label).succeed()
    path = workspace.run_dir / label / "holdout.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def checkpoint(workspace, label):
    return max((workspace.run_dir / label / "checkpoints").glob("*.safetensors"))


@pytest.fixture
def tables(workspace):
    """Episodes of which some terminate, a quarter held out."""
    folder = workspace.folder / "logs"
    episodes = [logs.episode(i, 30 + i, terminated=i % 2 == 0) for i in range(24)]
    for one in episodes:
        one["observations"][:, 0] /= 1000
        one["rewards"][:] = one["observations"][:-1, 1] > 0
    logs.write_dataset(folder, [episodes])
    configure(workspace, folder, holdout=0.25)
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()


def network(p, prefix, x):
    h = x @ p[f"{prefix}/layers/0/weight"].T + p[f"{prefix}/layers/0/bias"]
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
    h = np.tanh(h * p[f"{prefix}/norm/scale"] + p[f"{prefix}/norm/offset"])
    for layer in range(1, sum(name.startswith(f"{prefix}/layers/") for name in p) // 2):
        h = h @ p[f"{prefix}/layers/{layer}/weight"].T + p[f"{prefix}/layers/{layer}/bias"]
        h = np.where(h > 0, h, np.expm1(np.minimum(h, 0)))
    return {name: h @ p[f"{prefix}/{name}/weight"].T + p[f"{prefix}/{name}/bias"]
            for name in ("mean", "std", "out") if f"{prefix}/{name}/weight" in p}


def gaussian(p, notes, prefix, x):
    out = network(p, prefix, x)
    scale = float(notes["init_std"]) / np.log(2)
    return np.tanh(out["mean"]), float(notes[f"{prefix}_min_std"]) + np.logaddexp(0, out["std"]) * scale


def test_figures_are_those_of_another_program(workspace, wire, tables):
    """Likelihoods, bias and correlation, from the last checkpoint and the same draws, in float64."""
    lines = learn(workspace, "run-a")
    assert [line["step"] for line in lines] == [20, 40, 45]
    path = checkpoint(workspace, "run-a")
    p = {name: values.astype(np.float64) for name, values in load_file(path).items()}
    with safe_open(path, "np") as file:
        notes = file.metadata()
    N = int(np.ceil(np.log(0.01) / np.log(0.9)))
    size = min((4 << 20) // ((N + 1) * 25 * 4), 300)
    for side, table in (("train", "default"), ("holdout", "default_holdout")):
        client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire), table)
        info = client.info()
        drawn = client.draw(-(-300 // size), batch_snippets=size, snippet_transitions=N, seed=5 + 0x76616c6964617465)
        client.close()
        n = np.concatenate([n for n, _ in drawn])[:300]
        rows = np.concatenate([rows for _, rows in drawn])[:300].astype(np.float64)

        def inputs(x):
            return np.clip((x - p["normalizer/mean"]) * p["normalizer/scale"], -10, 10)

        starts, actions, ends = inputs(rows[:, 0, :O]), rows[:, 0, O:O + A], inputs(rows[np.arange(300), n, :O])
        returns, carry = np.zeros(300), np.ones(300)
        for t in range(N):
            on = t < n
            returns[on] += carry[on] * rows[on, t, O + A]
            carry[on] *= 0.9 * rows[on, t, -1]
        assert 0 < (carry == 0).sum() < 300
        q = network(p, "critic", np.hstack([starts, np.clip(actions, -1, 1)]))["out"][:, 0]
        r = returns + carry * network(p, "critic", np.hstack([ends, gaussian(p, notes, "policy", ends)[0]]))["out"][:, 0]
        found = lines[-1][side]
        assert (found["episodes"], found["transitions"]) == (info.episodes, info.transitions)
        assert np.isclose(found["q_bias"], np.mean(q - r), rtol=1e-4)
        assert np.isclose(found["q_correlation"], np.corrcoef(q, r)[0, 1], rtol=1e-4)
        for name in ("policy", "prior"):
            mean, std = gaussian(p, notes, name, starts)
            density = -0.5 * ((actions - mean) / std)**2 - np.log(std) - 0.5 * np.log(2 * np.pi)
            assert np.isclose(found[f"{name}_log_likelihood"], density.sum(1).mean(), rtol=1e-4)
        assert found["critic_loss"] > 0


def test_judging_changes_no_bit_and_is_the_same_after_a_resume(workspace, tables):
    """Parameters with it and without; and the lines of a run that was ended and went on."""
    options = {"threads": 2, "algorithm": "bcq"}
    lines = learn(workspace, "judged", **options)
    assert learn(workspace, "unjudged", **options, validation_snippets=0) == []
    judged, unjudged = (load_file(checkpoint(workspace, label)) for label in ("judged", "unjudged"))
    assert judged.keys() == unjudged.keys()
    for name, values in judged.items():
        assert values.tobytes() == unjudged[name].tobytes(), name
    learn(workspace, "ended", **{**options, "steps": 25})
    resumed = learn(workspace, "ended", **options)
    assert [line["step"] for line in resumed] == [20, 25, 40, 45]
    for line, same in zip(lines, (resumed[0], resumed[2], resumed[3])):
        assert (same["step"], same["train"], same["holdout"]) == (line["step"], line["train"], line["holdout"])
    assert "critic2_loss" in lines[0]["train"] and "policy_log_likelihood" not in lines[0]["train"]


def test_all_that_shows_a_run_shows_both_sides(workspace):
    folder = workspace.folder / "logs"
    logs.write_dataset(folder, [[logs.episode(i, T, K=2) for i in range(16)]],
                       logs.SIGNATURE | {"rewards": ["run", "walk"]})
    workspace.configure(experiment={"seed": 5}, restorer={"folder": str(folder), "folds": 2, "fold": 1},
                        replay_server={"map_bytes": 64 << 20}, up={"evaluators": 0},
                        learner={**LEARNER, "tasks": "1", "report_every": 5, "publish_every": 5})
    up = workspace.up("--learner.steps=1000000")
    wait_until(lambda: len(workspace.json_lines("holdout.jsonl")) >= 2, "a version to be judged", alive=up)
    wait_until(lambda: "held out: critic" in (workspace.status("learner") or {"text": ""})["text"], "the status line")
    metrics = workspace.metrics("learner")
    for side in ("train", "holdout"):
        for name in ("critic_loss", "prior_log_likelihood", "policy_log_likelihood", 'q_bias{index="0"}',
                     'q_correlation{index="1"}'):
            assert f"hindcast_learner_{side}_{name}" in metrics
    up.signal(signal.SIGTERM)
    assert up.wait() != 0  # it was not over
    workspace.up(f"--learner.steps={workspace.json_lines('learner.jsonl')[-1]['step'] + 50}").succeed()
    line = workspace.json_lines("holdout.jsonl")[-1]
    summary = workspace.json("summary.json")
    assert summary["holdout_episodes"] == line["holdout"]["episodes"] > 0
    assert summary["holdout_episodes"] + summary["train_episodes"] == 16
    for side in ("train", "holdout"):
        assert np.isclose(summary[f"{side}_q_bias"], np.mean(line[side]["q_bias"]))
        assert summary[f"{side}_critic_loss"] == line[side]["critic_loss"]
    points = tensorboard_points.read(workspace.run_dir / "tensorboard" / "learner")
    assert {"train/critic_loss", "holdout/critic_loss", "holdout/q_bias/01"} <= set(points)


def test_a_policy_carries_what_it_was_made_of(workspace, tables):
    """Ranges of what was seen, the digests of the logs, and the program; the same after a resume."""
    os.makedirs(workspace.run_dir / "made", exist_ok=True)
    shutil.copy(workspace.run_dir / "restorer.json", workspace.run_dir / "made" / "restorer.json")
    learn(workspace, "made", steps=25)
    first = load_file(workspace.run_dir / "made" / "policy_learner.safetensors")
    learn(workspace, "made")
    path = workspace.run_dir / "made" / "policy_learner.safetensors"
    package = load_file(path)
    with safe_open(path, "np") as file:
        notes = file.metadata()
    # Of the table that is learned from alone, all of whose rows are among those that are measured.
    folder = workspace.folder / "logs"
    with h5py.File(folder / "log-000.hdf5") as file:
        episodes = [{name: group[name][()] for name in group} for group in file.values()]
        numbers = [int(group.attrs["id"]) for group in file.values()]
    learned = np.concatenate([one["observations"] for one, number in zip(episodes, numbers) if place(one, number) >= 0.25])
    assert np.array_equal(package["observed/min"], learned.min(0))
    assert np.array_equal(package["observed/max"], learned.max(0))
    assert not np.array_equal(package["observed/max"], np.concatenate([e["observations"] for e in episodes]).max(0))
    for name in ("observed/min", "observed/max"):
        assert np.array_equal(first[name], package[name])
    made_of = json.loads(notes["made_of"])
    listed = workspace.json("restorer.json")["made_of"]["logs"][0]
    digest = xxh64(listed["files"][0]["xxh64"].encode(), xxh64(listed["metadata"].encode()))
    assert listed["files"][0]["xxh64"] == f"{xxh64((folder / 'log-000.hdf5').read_bytes()):016x}"
    assert made_of["datasets"] == [{"folder": "logs", "files": 1, "digest": f"{digest:016x}"}]
    assert (made_of["holdout"], made_of["rewards"], len(made_of["table_version"])) == ("0.25", ["run"], 16)
    said = subprocess.run([BINARIES["hindcast"], "policy", "inspect", path], capture_output=True, text=True).stdout
    assert "observed        ranges of 17 dimensions, 0 of them constant" in said
    assert f"learned by      hindcast {notes['hindcast_version']}" in said and made_of["table_version"] in said
    # A run whose file of ranges is gone goes on without them.
    (workspace.run_dir / "made" / "observed.safetensors").unlink()
    learn(workspace, "made", steps=50)
    assert "observed/min" not in load_file(path)
