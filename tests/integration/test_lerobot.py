"""LeRobot datasets of both layouts, as pyarrow writes them: read value for value, and compared with their meta folder."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from test_import import dataset, imported, whole

LENGTHS = [30, 1, 17, 12, 25]
FPS = 25


def episode(number, length):
    """Every second one ends in success, where its only reward is."""
    random = np.random.default_rng(number)
    success = (np.arange(length) == length - 1) & (number % 2 == 0)
    return {
        "state": random.normal(0, 100, (length, 3)).astype(np.float32),
        "environment": random.normal(size=(length, 2)).astype(np.float32),
        "action": random.uniform(-1, 1, (length, 2)).astype(np.float32),
        "success": success,
    }


EPISODES = [episode(i, n) for i, n in enumerate(LENGTHS)]


def rows(number, first_index, rewards=True, numbers=True):
    e, n = EPISODES[number], LENGTHS[number]
    columns = {}
    if numbers:
        columns |= {
            "observation.state": pa.array(e["state"].tolist(), pa.list_(pa.float32(), 3)),
            "observation.environment_state": pa.array(e["environment"].tolist(), pa.list_(pa.float32(), 2)),
        }
    columns |= {
        "observation.images.top": pa.array([{"bytes": b"\x89PNG", "path": f"{i}.png"} for i in range(n)]),
        "action": pa.array(e["action"].tolist(), pa.list_(pa.float32(), 2)),
        "timestamp": pa.array((np.arange(n) / FPS).astype(np.float32)),
        "frame_index": pa.array(np.arange(n)),
        "episode_index": pa.array(np.full(n, number)),
        "index": pa.array(first_index + np.arange(n)),
        "task_index": pa.array(np.zeros(n, np.int64)),
        "subtask": pa.array(np.zeros(n, np.int64)),
    }
    if rewards:
        columns |= {
            "next.reward": pa.array(e["success"].astype(np.float32)),
            "next.done": pa.array(np.arange(n) == n - 1),
            "next.success": pa.array(e["success"]),
        }
    return pa.table(columns)


def write_info(folder, version, data_path, numbers=True):
    features = {
        "observation.images.top": {"dtype": "image", "shape": [8, 8, 3], "names": ["height", "width", "channel"]},
        "observation.images.wrist": {"dtype": "video", "shape": [8, 8, 3], "names": None},
        "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["lift", "turn"]}},
    }
    if numbers:
        features["observation.state"] = {"dtype": "float32", "shape": [3], "names": ["x", "y", "z"]}
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta" / "info.json").write_text(json.dumps({
        "codebase_version": version, "robot_type": "arm", "total_episodes": len(LENGTHS), "total_frames": sum(LENGTHS),
        "total_tasks": 1, "chunks_size": 3, "fps": FPS, "data_path": data_path, "features": features}))


def write_v3(folder, **what):
    """Two data files, and what meta/ needs to tell episodes apart."""
    first, entries = 0, []
    for file, numbers in enumerate([[0, 1, 2], [3, 4]]):
        path = folder / "data" / "chunk-000" / f"file-{file:03}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = []
        for number in numbers:
            tables.append(rows(number, first, **what))
            entries.append({"episode_index": number, "length": LENGTHS[number], "tasks": ["lift"],
                            "data/chunk_index": 0, "data/file_index": file, "dataset_from_index": first,
                            "dataset_to_index": first + LENGTHS[number]})
            first += LENGTHS[number]
        pq.write_table(pa.concat_tables(tables), path)
    write_info(folder, "v3.0", "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", what.get("numbers", True))
    episodes = folder / "meta" / "episodes" / "chunk-000"
    episodes.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(entries), episodes / "file-000.parquet")
    pq.write_table(pa.table({"task_index": [0], "task": ["lift"]}), folder / "meta" / "tasks.parquet")
    return folder


def write_v2(folder, **what):
    """A data file for each episode, three in a chunk."""
    first = 0
    for number, length in enumerate(LENGTHS):
        path = folder / "data" / f"chunk-{number // 3:03}" / f"episode_{number:06}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows(number, first, **what), path)
        first += length
    pattern = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    write_info(folder, "v2.1", pattern, what.get("numbers", True))
    return folder


WRITERS = {"v3": write_v3, "v2.1": write_v2}


def change_info(folder, **fields):
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("layout", WRITERS)
def test_every_value_comes_back(tmp_path, layout):
    source = WRITERS[layout](tmp_path / "logs")
    said = dataset("import", f"--to={tmp_path / 'out'}", source, status=1)
    assert "1 row is too short for a transition" in said
    # Without its last observation an episode that goes on loses its last action, and a single row is too short.
    expected = [n if i % 2 == 0 else n - 1 for i, n in enumerate(LENGTHS) if n > 1]
    assert f"4 episodes, {sum(expected)} transitions" in said
    metadata, episodes = imported(tmp_path / "out")
    signature = metadata["signature"]
    assert signature["control_period_s"] == 1 / FPS
    assert signature["observation"] == [{"name": "state", "size": 3}, {"name": "environment_state", "size": 2}]
    assert signature["rewards"] == ["reward"]
    whole_episodes = [(i, e) for i, e in enumerate(EPISODES) if LENGTHS[i] > 1]
    for ours, (i, theirs), T in zip(episodes, whole_episodes, expected):
        rows_of = np.concatenate([theirs["state"], theirs["environment"]], 1)
        assert np.array_equal(whole(ours["observations"])[:T], rows_of[:T])
        np.testing.assert_allclose(ours["actions"], theirs["action"][:T], rtol=0, atol=1e-6)
        assert np.array_equal(ours["rewards"].ravel(), theirs["success"][:T].astype(np.float32))
        assert ours["terminations"].tolist() == [False] * (T - 1) + [i % 2 == 0]


@pytest.mark.parametrize("layout", WRITERS)
def test_the_proposal_tells_what_it_found(tmp_path, layout):
    said = dataset("map", WRITERS[layout](tmp_path / "logs"))
    assert f"LeRobot {'v3.0' if layout == 'v3' else 'v2.1'}: 5 episodes, {sum(LENGTHS)} frames at 25 per second" in said
    assert 'the values of "observation.state" are x, y, z' in said
    assert 'the values of "action" are lift, turn' in said
    assert '"observation.images.top" is left out: it holds images or video' in said
    assert '"observation.images.wrist" is left out: it holds images or video' in said
    assert 'column "subtask" is left out: its name does not begin with observation' in said
    assert "confirm:" not in said


@pytest.mark.parametrize("layout", WRITERS)
def test_what_is_missing_is_named(tmp_path, layout):
    source = WRITERS[layout](tmp_path / "logs")
    missing = max((source / "data").rglob("*.parquet"))
    missing.unlink()
    assert f"{missing}: is missing" in dataset("map", source, status=1)


@pytest.mark.parametrize("layout", WRITERS)
def test_totals_are_compared(tmp_path, layout):
    source = WRITERS[layout](tmp_path / "logs")
    change_info(source, total_frames=sum(LENGTHS) + 1)
    assert f"info.json: total_frames is {sum(LENGTHS) + 1}, but the data files have {sum(LENGTHS)} rows" in dataset(
        "map", source, status=1)
    change_info(source, total_frames=sum(LENGTHS), total_episodes=4)
    assert "row 0: episode_index is 4, expected 0..3, since info.json has total_episodes 4" in dataset(
        "map", source, status=1).replace(f"row {LENGTHS[3]}:", "row 0:")
    if layout == "v3":
        change_info(source, total_episodes=6)
        assert "total_episodes is 6, but the data files have 5 episodes; the first that is missing is 5" in dataset(
            "map", source, status=1)


def test_an_episode_in_two_files_is_refused(tmp_path):
    source = write_v3(tmp_path / "logs")
    path = source / "data" / "chunk-000" / "file-001.parquet"
    pq.write_table(pa.concat_tables([rows(2, 0), rows(4, 0)]), path)
    assert f"{path}: row 0: episode 2 begins a second time" in dataset("map", source, status=1)


def test_without_rewards_the_proposal_says_what_to_do(tmp_path):
    source = write_v3(tmp_path / "logs", rewards=False)
    said = dataset("map", source)
    assert "no reward is logged: compute one with restorer.relabel, a Lua script" in said
    assert "rewards:" not in said


def test_images_alone_are_refused(tmp_path):
    source = write_v3(tmp_path / "logs", numbers=False)
    assert ("the only observations are images or video (observation.images.top, observation.images.wrist)"
            in dataset("map", source, status=1))


@pytest.mark.parametrize("field, value, why", [
    ("codebase_version", "v1.6", "expected v2.0, v2.1 or v3.0"),
    ("fps", 0, "fps: 0, expected a number above 0"),
    ("fps", None, "fps"),
    ("total_episodes", -1, "total_episodes: -1, expected a whole number"),
    ("data_path", "../{chunk_index}/{file_index}", "data_path"),
    ("data_path", "/etc/{file_index}", "data_path"),
    ("data_path", "data/{something}.parquet", "data_path"),
])
def test_damaged_metadata_is_refused(tmp_path, field, value, why):
    source = write_v3(tmp_path / "logs")
    change_info(source, **{field: value})
    said = dataset("map", source, status=1)
    assert "info.json" in said and why in said


def test_a_damaged_data_file_is_named(tmp_path):
    source = write_v3(tmp_path / "logs")
    path = source / "data" / "chunk-000" / "file-001.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    assert str(path) in dataset("map", source, status=1)
    shutil.rmtree(source / "data")
    assert f"{source / 'data'}: No such file" in dataset("map", source, status=1)
