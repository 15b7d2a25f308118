"""Logs of others come in as they are: h5py's types and layouts, Minari's datasets; ours go out to h5py and Minari."""

import json
import subprocess

import h5py
import minari
import numpy as np
import pytest

import logs
from processes import BINARIES
from replay_client import Client, cheetah_signature


def inspect(folder):
    return subprocess.run([BINARIES["hindcast"], "dataset", "inspect", str(folder)], capture_output=True, text=True,
                          timeout=60, check=False)


def signature_message(wire, slices, rewards, low=-1.0, high=1.0, period=0.01):
    Slice = wire.replay.Signature.Slice
    return wire.replay.Signature(observation=[Slice(name=name, size=size) for name, size in slices],
                                 action_min=[low] * logs.A, action_max=[high] * logs.A, rewards=rewards,
                                 control_period_s=period)


def restored(workspace, wire, folder, signature, episodes):
    """Restores `folder`; every episode must be in the table as it was logged, bit for bit."""
    workspace.configure(restorer={"folder": str(folder)}, replay_server={"map_bytes": 64 << 20})
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", signature)
    table = client.info()
    assert (table.episodes, table.sealed) == (len(episodes), True)
    expected = {int(one["observations"][0, 0]) // 1000: logs.rows(one) for one in episodes}
    longest = max(map(len, expected.values()))
    seen = set()
    for n_valid, batch in client.draw(8, batch_snippets=64, snippet_transitions=longest, seed=1):
        for n, snippet in zip(n_valid, batch):
            number, t = divmod(int(round(snippet[0, 0])), 1000)
            assert np.array_equal(snippet[:n], expected[number][t:t + n])
            assert np.array_equal(snippet[n, :logs.O], expected[number][t + n, :logs.O])
            seen.add(number)
    assert seen == set(expected)
    client.close()


EPISODES = [logs.episode(i, T, terminated=i % 3 == 0) for i, T in enumerate([5, 30, 1, 12, 64])]


def test_plain_files(workspace, wire):
    folder = workspace.folder / "logs"
    logs.write_dataset(folder, [EPISODES[:2], EPISODES[2:]])
    restored(workspace, wire, folder, cheetah_signature(wire), EPISODES)
    looked = inspect(folder)
    assert looked.returncode == 0 and "episodes     5 (2 end by termination), 0 bad" in looked.stdout


def test_other_types_and_parts(workspace, wire):
    """float64 observations in named parts, big-endian actions, flags as bytes, rewards as a column."""
    folder = workspace.folder / "logs"
    others = []
    for one in EPISODES:
        observations = one["observations"].astype(np.float64)
        others.append({
            "observations": {"velocity": observations[:, 8:], "position": observations[:, :8]},
            "actions": one["actions"].astype(">f4"), "rewards": one["rewards"][:, None],
            "terminations": one["terminations"].astype(np.uint8), "truncations": one["truncations"].astype(np.int64)})
    logs.write_dataset(folder, [others])
    restored(workspace, wire, folder, cheetah_signature(wire), EPISODES)


def test_several_rewards_and_action_limits(workspace, wire):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(i, 20, K=3) for i in range(4)]
    signature = logs.SIGNATURE | {"rewards": ["reach", "grasp", "lift"], "action": {"min": [-2.0] * 6, "max": [2.0] * 6}}
    physical = [one | {"actions": 2 * one["actions"]} for one in episodes]
    logs.write_dataset(folder, [physical], signature)
    restored(workspace, wire, folder, signature_message(
        wire, [("position", 8), ("velocity", 9)], ["reach", "grasp", "lift"], -2.0, 2.0), episodes)


@pytest.mark.parametrize("kind", ["box", "dict"])
def test_minari_folder(workspace, wire, kind):
    """A dataset as Minari lays it out on disk, its spaces the only signature."""
    folder = workspace.folder / "some-v0"
    action = logs.box(logs.A, -1.0, 1.0, "float32")
    if kind == "box":
        episodes, slices = EPISODES, [("observation", logs.O)]
        space = logs.box(logs.O)
    else:
        episodes = [one | {"observations": {"b": one["observations"][:, :4], "a": {"x": one["observations"][:, 4:]}}}
                    for one in EPISODES]
        for one in episodes:
            one["observations"] = {"b": one["observations"]["b"], "a/x": one["observations"]["a"]["x"]}
        slices = [("b", 4), ("a/x", logs.O - 4)]
        space = {"type": "Dict", "subspaces": {
            "b": logs.box(4), "a": {"type": "Dict", "subspaces": {"x": logs.box(logs.O - 4)}}}}
    logs.write_file(folder / "data" / "main_data.hdf5", episodes)
    (folder / "data" / "metadata.json").write_text(json.dumps(logs.minari_metadata(space, action, EPISODES)))
    restored(workspace, wire, folder, signature_message(wire, slices, ["reward"], period=0), EPISODES)


def test_unbounded_actions_are_refused_with_a_way_out(workspace):
    folder = workspace.folder / "some-v0"
    logs.write_file(folder / "data" / "main_data.hdf5", EPISODES)
    metadata = logs.minari_metadata(logs.box(logs.O), logs.box(logs.A), EPISODES)
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata))
    looked = inspect(folder)
    assert looked.returncode == 1
    assert "action 0 has no finite limit" in looked.stderr and "metadata.json of ours" in looked.stderr
    (folder / "metadata.json").write_text(json.dumps({"signature": logs.SIGNATURE}))
    looked = inspect(folder)
    assert looked.returncode == 0 and "position(8) velocity(9)" in looked.stdout


def test_bad_episodes_are_told_one_by_one(workspace):
    folder = workspace.folder / "logs"
    nan, early, short = logs.episode(1, 9), logs.episode(2, 9), logs.episode(3, 9)
    nan["rewards"][4] = np.nan
    early["terminations"][3] = True
    short["actions"] = short["actions"][:-1]
    logs.write_dataset(folder, [[EPISODES[0], nan], [early, EPISODES[1], short]])
    (folder / "log-002.hdf5").write_bytes((folder / "log-000.hdf5").read_bytes()[:3000])
    looked = inspect(folder)
    assert looked.returncode == 1
    assert "episodes     2 (1 end by termination), 4 bad" in looked.stdout
    for reason in ("log-000.hdf5: episode_1: row 4, reward run: nan is not finite",
                   "log-001.hdf5: episode_0: row 3, terminations: set, but the episode goes on to row 9",
                   "log-001.hdf5: episode_2: ", "log-002.hdf5: not a whole HDF5 file"):
        assert reason in looked.stdout, looked.stdout


def exported(workspace):
    """A collector's logs, exported: (their folder, the root of Minari's datasets)."""
    workspace.configure(experiment={"environment": "cheetah-run", "seed": 4},
                        collector={"act": "random", "shard_episodes": 2})
    workspace.start("collector", "--episodes=5").succeed()
    source, root = workspace.run_dir / "logs", workspace.folder / "minari"
    made = workspace.start_command("export", BINARIES["hindcast"], "dataset", "export", "--minari=cheetah/run-v0",
                                   f"--to={root}/cheetah/run-v0", source)
    made.succeed()
    return source, root


def test_an_export_is_what_minari_lays_out(workspace):
    source, root = exported(workspace)
    data = root / "cheetah" / "run-v0" / "data"
    metadata = json.loads((data / "metadata.json").read_text())
    assert (metadata["total_episodes"], metadata["total_steps"]) == (5, 5000)
    assert (metadata["data_format"], metadata["dataset_id"]) == ("hdf5", "cheetah/run-v0")
    space = json.loads(metadata["action_space"])
    assert space["type"] == "Box" and space["low"] == [-1] * 6 and space["shape"] == [6]
    shards = [shard["file"] for shard in json.loads((source / "metadata.json").read_text())["shards"]]
    with h5py.File(data / "main_data.hdf5") as file:
        assert set(file) == {f"episode_{i}" for i in range(5)}
        number = 0
        for shard in shards:
            with h5py.File(source / shard) as log:
                for i in range(len(log)):
                    ours, theirs = log[f"episode_{i}"], file[f"episode_{number}"]
                    assert theirs.attrs["id"] == number and theirs.attrs["total_steps"] == 1000
                    for part in ("observations", "actions", "rewards", "terminations", "truncations"):
                        assert np.array_equal(ours[part][:], theirs[part][:])
                        assert ours[part].dtype == theirs[part].dtype
                    assert theirs["truncations"].dtype == bool and theirs["truncations"][-1]
                    number += 1
    # And it is a dataset for us, too.
    looked = inspect(root / "cheetah" / "run-v0")
    assert looked.returncode == 0 and "episodes     5 " in looked.stdout


def test_minari_itself_reads_an_export(workspace, monkeypatch):
    source, root = exported(workspace)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    dataset = minari.load_dataset("cheetah/run-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (5, 5000)
    with h5py.File(source / "shard-00000.hdf5") as log:
        assert np.array_equal(dataset[0].observations, log["episode_0/observations"][:])
        assert np.array_equal(dataset[1].rewards, log["episode_1/rewards"][:])
    assert dataset.action_space.contains(dataset[4].actions[0])


def test_other_files_are_not_read(workspace):
    """An external link of a shard would be an episode of somebody else's file."""
    folder = workspace.folder / "logs"
    logs.write_dataset(folder, [EPISODES[:1]])
    logs.write_file(workspace.folder / "private.hdf5", EPISODES[1:2])
    with h5py.File(folder / "log-001.hdf5", "w") as file:
        file["episode_0"] = h5py.ExternalLink(str(workspace.folder / "private.hdf5"), "/episode_0")
    looked = inspect(folder)
    assert looked.returncode == 1 and "episodes     1 (1 end by termination), 1 bad" in looked.stdout
    assert "log-001.hdf5: episode_0: open" in looked.stdout


def test_what_looks_like_a_mistake_is_warned_of(workspace):
    folder = workspace.folder / "logs"
    signature = logs.SIGNATURE | {"action": {"min": [-1e6] + [-1.0] * 5, "max": [1e6] + [1.0] * 5}}
    episodes = [logs.episode(i, 40) for i in range(4)]
    for one in episodes:
        one["observations"][:, 3] = 7
        one["observations"][:, 9] *= 1e6
        one["actions"][:, 2] = 1
        one["rewards"][:] = 0
        one["truncations"][:] = False
    logs.write_dataset(folder, [episodes, episodes[:1]], signature)
    looked = inspect(folder)
    assert looked.returncode == 0
    for line in ("warning: action 0: all values are within ", "the limits -1e+06..1e+06, which are too wide",
                 "warning: action 2: all values are within 1..1", "warning: constant observations: position[3] = 7",
                 "warning: observation scales: ", "velocity[1]", "warning: reward run: is 0 in all 200 transitions",
                 "warning: no episode has a flag in its last row", "warning: 1 of 5 episodes are copies"):
        assert line in looked.stdout, looked.stdout


def test_nothing_warned_of_without_a_reason(workspace):
    folder = workspace.folder / "logs"
    logs.write_dataset(folder, [[logs.episode(0, 200)]])
    looked = inspect(folder)
    assert looked.returncode == 0 and "warning" not in looked.stdout
