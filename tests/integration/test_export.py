"""Datasets exported for other libraries: h5py and pyarrow read the same values, and we read the same rows again."""

import json

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from test_import import EPISODES, HIGH, LOW, dataset, imported, whole, write_robomimic

LENGTHS = [len(e["reward"]) for e in EPISODES]
STATES = [np.concatenate([e["encoder"], e["strain"]], 1).astype(np.float32) for e in EPISODES]
TERMINATED = [bool(e["reward"][-1]) for e in EPISODES]


@pytest.fixture(name="source")
def make_source(tmp_path):
    """A dataset of ours, with a control period."""
    logs = write_robomimic(tmp_path / "logs.hdf5")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(dataset("map", logs).replace("control_period_s: 0\n", "control_period_s: 0.02\n"))
    dataset("import", f"--to={tmp_path / 'source'}", f"--mapping={mapping}", logs)
    return tmp_path / "source"


def together(parts):
    return np.concatenate([np.asarray(part) for part in parts])


def last_rows(flags):
    return together([(np.arange(length) == length - 1) & flag for length, flag in zip(LENGTHS, flags)])


def check_rows(one, other):
    """Both datasets hold the same episodes."""
    (metadata, episodes), (_, others) = imported(one), imported(other)
    assert len(episodes) == len(others) == len(EPISODES)
    for ours, theirs in zip(episodes, others):
        assert np.array_equal(whole(ours["observations"]), whole(theirs["observations"]))
        np.testing.assert_allclose(ours["actions"], theirs["actions"], rtol=0, atol=2e-6)
        assert np.array_equal(ours["rewards"].ravel(), theirs["rewards"].ravel())
        assert np.array_equal(ours["terminations"], theirs["terminations"])
    return metadata["signature"]


def test_d4rl(source, tmp_path):
    path = tmp_path / "export.hdf5"
    assert "0 episodes were bad" in dataset("export", "--format=d4rl", f"--to={path}", source)
    with h5py.File(path) as file:
        values = {name: file[name][()] for name in file}
    assert set(values) == {"observations", "next_observations", "actions", "rewards", "terminals", "timeouts"}
    assert np.array_equal(values["observations"], together([s[:-1] for s in STATES]))
    assert np.array_equal(values["next_observations"], together([s[1:] for s in STATES]))
    np.testing.assert_allclose(values["actions"], together([e["action"] for e in EPISODES]), rtol=0, atol=2e-6)
    assert np.array_equal(values["rewards"], together([e["reward"] for e in EPISODES]).astype(np.float32))
    assert values["terminals"].dtype == values["timeouts"].dtype == bool
    assert np.array_equal(values["terminals"], last_rows(TERMINATED))
    assert np.array_equal(values["timeouts"], last_rows(np.logical_not(TERMINATED)))
    dataset("import", f"--to={tmp_path / 'again'}", path)
    check_rows(tmp_path / "again", source)
    assert "is there already" in dataset("export", "--format=d4rl", f"--to={path}", source, status=1)


def test_lerobot(source, tmp_path):
    folder = tmp_path / "export"
    assert "0 episodes were bad" in dataset("export", "--format=lerobot", f"--to={folder}", "--task=lift it", source)
    info = json.loads((folder / "meta" / "info.json").read_text())
    T = sum(LENGTHS)
    assert info["codebase_version"] == "v3.0" and info["fps"] == 50 and info["total_tasks"] == 1
    assert (info["total_episodes"], info["total_frames"], info["splits"]) == (4, T, {"train": "0:4"})
    names = [f"encoder[{i}]" for i in range(3)] + [f"strain[{i}]" for i in range(2)]
    assert info["features"]["observation.state"] == {"dtype": "float32", "shape": [5], "names": names}

    # The frames, in the columns that info.json describes.
    path = folder / info["data_path"].format(chunk_index=0, file_index=0)
    frames = pq.read_table(path)
    assert set(frames.column_names) == set(info["features"])
    for name, feature in info["features"].items():
        kind = frames.schema.field(name).type
        if feature["shape"] == [1]:
            assert str(kind) == {"float32": "float", "int64": "int64", "bool": "bool"}[feature["dtype"]]
        else:
            assert str(kind.value_type) == "float"
            assert {len(value) for value in frames[name].to_pylist()} == {feature["shape"][0]}
    column = {name: np.array(frames[name].to_pylist()) for name in frames.column_names}
    assert np.array_equal(column["observation.state"].astype(np.float32), together([s[:-1] for s in STATES]))
    assert np.array_equal(column["next.observation.state"].astype(np.float32), together([s[1:] for s in STATES]))
    np.testing.assert_allclose(column["action"], together([e["action"] for e in EPISODES]), rtol=0, atol=2e-6)
    assert np.array_equal(column["next.reward"], together([e["reward"] for e in EPISODES]))
    assert np.array_equal(column["next.done"], last_rows([True] * 4))
    assert np.array_equal(column["next.terminated"], last_rows(TERMINATED))
    assert np.array_equal(column["index"], np.arange(T))
    assert np.array_equal(column["frame_index"], together([np.arange(n) for n in LENGTHS]))
    assert np.array_equal(column["episode_index"], np.repeat(np.arange(4), LENGTHS))
    np.testing.assert_allclose(column["timestamp"], column["frame_index"] / 50, atol=1e-6)

    # What meta/ says of them.
    ends = np.cumsum(LENGTHS)
    episodes = pq.read_table(folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pylist()
    assert [one["length"] for one in episodes] == LENGTHS
    assert [one["dataset_to_index"] for one in episodes] == ends.tolist()
    assert [one["dataset_from_index"] for one in episodes] == [0, *ends[:-1].tolist()]
    assert all(one["tasks"] == ["lift it"] for one in episodes)
    assert all(one["data/chunk_index"] == one["data/file_index"] == 0 for one in episodes)
    tasks = pq.read_table(folder / "meta" / "tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": "lift it"}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    stats = json.loads((folder / "meta" / "stats.json").read_text())
    states = column["observation.state"]
    for key in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(stats["observation.state"][key], getattr(states, key)(0), rtol=1e-6)
    assert stats["action"]["count"] == [T]


@pytest.mark.parametrize("mapping", [True, False])
def test_an_export_for_lerobot_is_read_again(source, tmp_path, mapping):
    """With the mapping that lies beside it, and without."""
    folder = tmp_path / "export"
    dataset("export", "--format=lerobot", f"--to={folder}", source)
    if not mapping:
        (folder / "mapping.yaml").unlink()
    dataset("import", f"--to={tmp_path / 'again'}", folder)
    signature = check_rows(tmp_path / "again", source)
    assert signature["action"] == {"min": LOW.tolist(), "max": HIGH.tolist()}
    assert signature["control_period_s"] == 0.02


def test_wrong_arguments_are_told(source, tmp_path):
    assert "expected minari, lerobot or d4rl" in dataset("export", "--format=zarr", "--to=x", source, status=2)
    assert "--name=NAME" in dataset("export", "--format=minari", "--to=x", source, status=2)
    assert "no such reward" in dataset("export", "--format=d4rl", "--reward=x", "--to=x", source, status=2)
    assert "expected a number above 0" in dataset("export", "--format=lerobot", "--fps=0", "--to=x", source, status=2)
    metadata = json.loads((source / "metadata.json").read_text())
    metadata["signature"]["control_period_s"] = 0
    (source / "metadata.json").write_text(json.dumps(metadata))
    said = dataset("export", "--format=lerobot", f"--to={tmp_path / 'export'}", source, status=1)
    assert "the control period of the dataset is unknown: give --fps" in said
    dataset("export", "--format=lerobot", "--fps=12.5", f"--to={tmp_path / 'export'}", source)
