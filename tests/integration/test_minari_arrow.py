"""Minari datasets in the forms "arrow" and "parquet", written by minari: read value for value, or refused with a reason."""

import json
import shutil

import gymnasium
import numpy as np
import pytest

from test_import import dataset, imported, whole

LENGTHS = [5, 1, 8, 3, 2, 4, 6, 2, 3, 1, 7]  # more than ten, so that the order of folders counts
LOW, HIGH = np.array([-2.0, -1.0], np.float32), np.array([3.0, 1.0], np.float32)


def write(folder, form, monkeypatch, plain=False):
    """A dataset of all kinds of leaves; `plain`: of a single Box."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    import minari
    from minari.data_collector import EpisodeBuffer

    spaces = gymnasium.spaces
    box = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    space = box if plain else spaces.Dict({
        "a b": box,
        "nested": spaces.Dict({"map": spaces.Box(0, 1, (2, 2), np.float32), "mode": spaces.Discrete(5)}),
        "pair": spaces.Tuple((spaces.Box(-9, 9, (1,), np.float16), spaces.MultiBinary(3)))})
    buffers = []
    for i, length in enumerate(LENGTHS):
        random = np.random.default_rng(i)
        values = random.normal(size=(length + 1, 3))
        observations = values if plain else {
            "a b": values,
            "nested": {"map": random.random((length + 1, 2, 2)).astype(np.float32),
                       "mode": random.integers(0, 5, length + 1)},
            "pair": (random.normal(size=(length + 1, 1)).astype(np.float16),
                     random.integers(0, 2, (length + 1, 3)).astype(np.int8))}
        end = np.arange(length) == length - 1
        buffers.append(EpisodeBuffer(id=i, observations=observations,
                                     actions=random.uniform(LOW, HIGH, (length, 2)).astype(np.float32),
                                     rewards=random.normal(size=length), terminations=end & (i % 2 == 0),
                                     truncations=end & (i % 2 == 1), infos={}))
    made = minari.create_dataset_from_buffers(
        "logs-v0", buffer=buffers, env=None, observation_space=space, action_space=spaces.Box(LOW, HIGH, (2,), np.float32),
        algorithm_name="none", author="none", author_email="none@example.org", code_permalink="none", description="none",
        eval_env=None, data_format=form)
    return folder / "logs-v0", list(made.iterate_episodes())


def leaves(values):
    """The leaves of an observation as rows of numbers, by their path."""
    if isinstance(values, (dict, tuple)):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return {f"{key}/{path}".rstrip("/"): leaf for key, part in items for path, leaf in leaves(part).items()}
    return {"": np.asarray(values, np.float64).reshape(len(values), -1)}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_every_value_comes_back(tmp_path, monkeypatch, form, plain):
    source, theirs = write(tmp_path / "minari", form, monkeypatch, plain)
    said = dataset("import", f"--to={tmp_path / 'out'}", source)
    assert f"11 episodes, {sum(LENGTHS)} transitions; 0 bad episodes left out" in said
    metadata, episodes = imported(tmp_path / "out")
    signature = metadata["signature"]
    assert signature["action"] == {"min": LOW.tolist(), "max": HIGH.tolist()}
    names = [one["name"] for one in signature["observation"]]
    assert names == (["observations"] if plain else ["a_b", "nested/map", "nested/mode", "pair/0", "pair/1"])
    for i, (ours, expected) in enumerate(zip(episodes, theirs)):
        rows = {path.replace(" ", "_") or "observations": leaf for path, leaf in leaves(expected.observations).items()}
        assert np.array_equal(whole(ours["observations"]),
                              np.concatenate([rows[name] for name in names], 1).astype(np.float32))
        np.testing.assert_allclose(ours["actions"], expected.actions, rtol=0, atol=1e-6)
        assert np.array_equal(ours["rewards"].ravel(), expected.rewards.astype(np.float32))
        assert ours["terminations"].tolist() == [False] * (LENGTHS[i] - 1) + [i % 2 == 0]
    assert "episodes     11 (6 end by termination), 0 bad" in dataset("inspect", source)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    source, _ = write(tmp_path / "minari", "arrow", monkeypatch)
    shutil.rmtree(source / "data" / "3")
    said = dataset("map", source, status=1)
    assert f"{source / 'data' / '3'}: is missing; metadata.json has total_episodes 11" in said
    about = json.loads((source / "data" / "metadata.json").read_text())
    (source / "data" / "metadata.json").write_text(json.dumps(about | {"total_episodes": 3}))
    assert "there are 10 files of episodes, but metadata.json has total_episodes 3" in dataset("map", source, status=1)


def test_damaged_files_are_refused(tmp_path, monkeypatch):
    source, _ = write(tmp_path / "minari", "arrow", monkeypatch)
    path = source / "data" / "2" / "part-0.arrow"
    good = path.read_bytes()
    for cut in [len(good) - 3, len(good) // 2, 40]:
        path.write_bytes(good[:cut])
        assert f"{path}: " in dataset("map", source, status=1)


def test_images_are_named_and_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    import minari
    from minari.data_collector import EpisodeBuffer

    spaces = gymnasium.spaces
    space = spaces.Dict({"camera": spaces.Box(0, 255, (64, 64, 3), np.uint8), "q": spaces.Box(-1, 1, (2,), np.float32)})
    buffer = EpisodeBuffer(id=0, observations={"camera": np.zeros((4, 64, 64, 3), np.uint8), "q": np.ones((4, 2), np.float32)},
                           actions=np.zeros((3, 2), np.float32), rewards=np.arange(3.0),
                           terminations=np.array([False, False, True]), truncations=np.zeros(3, bool), infos={})
    minari.create_dataset_from_buffers(
        "camera-v0", buffer=[buffer], env=None, observation_space=space, action_space=spaces.Box(LOW, HIGH, (2,), np.float32),
        algorithm_name="none", author="none", author_email="none@example.org", code_permalink="none", description="none",
        eval_env=None, data_format="arrow")
    said = dataset("map", tmp_path / "camera-v0")
    assert 'column "observations/camera" is left out: it holds images' in said
    assert 'q: ["observations/q"]' in said
