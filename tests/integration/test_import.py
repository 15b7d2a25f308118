"""Logs in other programs' formats, written by those programs: imported value for value, or refused with a reason."""

import csv
import json
import subprocess

import h5py
import numpy as np
import pytest

from processes import BINARIES

LOW, HIGH = np.array([-12.0, -3.0]), np.array([8.0, 3.0])


def episode(number, T):
    """Physical units, of very different size; a success ends every second episode."""
    random = np.random.default_rng(number)
    reward = np.zeros(T)
    reward[-1] = number % 2
    return {"encoder": random.normal(0, 1e4, (T + 1, 3)), "strain": random.normal(0, 1e-4, (T + 1, 2)),
            "action": random.uniform(LOW, HIGH, (T, 2)), "reward": reward}


EPISODES = [episode(number, T) for number, T in enumerate([12, 1, 40, 7])]
# The limits that a proposal finds are those of the data.
EPISODES[0]["action"][0], EPISODES[0]["action"][1] = LOW, HIGH


def write_csv(folder):
    folder.mkdir()
    for i, e in enumerate(EPISODES):
        with open(folder / f"run_{i:03}.csv", "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "encoder_0", "encoder_1", "encoder_2", "strain_0", "strain_1", "tau_0", "tau_1",
                             "success"])
            for t in range(len(e["reward"]) + 1):
                action = map(repr, e["action"][t].tolist()) if t < len(e["reward"]) else ["", ""]
                writer.writerow([f"{t * 0.02:.3f}", *map(repr, e["encoder"][t].tolist()),
                                 *map(repr, e["strain"][t].tolist()), *action, int(t > 0 and e["reward"][t - 1])])
    return folder


def write_npz(folder, save=np.savez):
    folder.mkdir()
    for i, e in enumerate(EPISODES):
        save(folder / f"run_{i:03}.npz", encoder=e["encoder"], strain=e["strain"].astype("<f8"), tau=e["action"],
             success=np.array(bool(e["reward"][-1])), camera=np.zeros((3, 8, 8, 3), np.uint8))
    return folder


def write_robomimic(path):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for i, e in enumerate(EPISODES):
            demo = data.create_group(f"demo_{i}")
            demo.attrs["num_samples"] = len(e["reward"])
            for name in ("encoder", "strain"):
                demo[f"obs/{name}"], demo[f"next_obs/{name}"] = e[name][:-1], e[name][1:]
            demo["actions"], demo["rewards"] = e["action"], e["reward"]
            demo["dones"] = np.arange(1, len(e["reward"]) + 1) == len(e["reward"])
    return path


def write_d4rl(path):
    states = [np.concatenate([e["encoder"], e["strain"]], 1) for e in EPISODES]
    last = [np.arange(1, len(e["reward"]) + 1) == len(e["reward"]) for e in EPISODES]
    with h5py.File(path, "w") as file:
        file["observations"] = np.concatenate([s[:-1] for s in states])
        file["next_observations"] = np.concatenate([s[1:] for s in states])
        file["actions"] = np.concatenate([e["action"] for e in EPISODES])
        file["rewards"] = np.concatenate([e["reward"] for e in EPISODES])
        file["terminals"] = np.concatenate([l & (i % 2 == 1) for i, l in enumerate(last)])
        file["timeouts"] = np.concatenate([l & (i % 2 == 0) for i, l in enumerate(last)])
        file["infos/goal"] = np.zeros((len(file["rewards"]), 2))
    return path


WRITERS = {"csv": write_csv, "npz": write_npz, "npz-deflate": lambda path: write_npz(path, np.savez_compressed),
           "robomimic": write_robomimic, "d4rl": write_d4rl}


def dataset(*arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "dataset", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def imported(folder):
    """[{observations, actions, rewards, terminations}] of a dataset of ours, as h5py reads it."""
    metadata = json.loads((folder / "metadata.json").read_text())
    episodes = []
    for shard in metadata["shards"]:
        with h5py.File(folder / shard["file"]) as file:
            for name in sorted(file, key=lambda one: int(one.split("_")[1])):
                episodes.append({key: values[()] for key, values in file[name].items()})
    return metadata, episodes


def whole(group):
    """Observations of an episode, whose slices may be datasets of a group."""
    if isinstance(group, dict) or hasattr(group, "keys"):
        return np.concatenate([group[key] for key in group], 1)
    return group


@pytest.mark.parametrize("layout", WRITERS)
def test_every_value_comes_back(tmp_path, layout):
    source = WRITERS[layout](tmp_path / "logs")
    said = dataset("import", f"--to={tmp_path / 'out'}", source)
    assert "4 episodes, 60 transitions; 0 bad episodes left out" in said
    metadata, episodes = imported(tmp_path / "out")
    signature = metadata["signature"]
    assert signature["action"] == {"min": LOW.tolist(), "max": HIGH.tolist()}
    assert sum(one["size"] for one in signature["observation"]) == 5
    assert len(signature["rewards"]) == 1
    assert len(episodes) == len(EPISODES)
    for i, (ours, theirs) in enumerate(zip(episodes, EPISODES)):
        expected = np.concatenate([theirs["encoder"], theirs["strain"]], 1).astype(np.float32)
        assert np.array_equal(whole(ours["observations"]), expected), f"{layout}: observations of episode {i}"
        np.testing.assert_allclose(ours["actions"], theirs["action"], rtol=0, atol=2e-6)
        assert np.array_equal(ours["rewards"].ravel(), theirs["reward"].astype(np.float32))
        assert ours["terminations"].tolist() == [False] * (len(theirs["reward"]) - 1) + [i % 2 == 1]
    looked = dataset("inspect", tmp_path / "out")
    assert "episodes     4 (2 end by termination), 0 bad" in looked


@pytest.mark.parametrize("layout", WRITERS)
def test_the_proposed_mapping_is_the_one_that_is_used(tmp_path, layout):
    source = WRITERS[layout](tmp_path / "logs")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(dataset("map", source))
    dataset("import", f"--to={tmp_path / 'a'}", source)
    said = dataset("import", f"--to={tmp_path / 'b'}", f"--mapping={mapping}", source)
    assert "no mapping was given" not in said
    shards = [[(tmp_path / name / shard["file"]).read_bytes() for shard in imported(tmp_path / name)[0]["shards"]]
              for name in "ab"]
    assert shards[0] == shards[1]


def test_a_mapping_beside_the_logs_is_read(tmp_path):
    source = write_csv(tmp_path / "logs")
    text = dataset("map", source).replace("encoder: [", "ticks: {columns: [", 1).replace(
        '"encoder_2"]', '"encoder_2"], scale: 0.5, offset: 1}', 1)
    (source / "mapping.yaml").write_text(text)
    dataset("import", f"--to={tmp_path / 'out'}", source)
    metadata, episodes = imported(tmp_path / "out")
    assert metadata["signature"]["observation"][0]["name"] == "ticks"
    ticks = (EPISODES[2]["encoder"] * 0.5 + 1).astype(np.float32)
    assert np.array_equal(whole(episodes[2]["observations"])[:, :3], ticks)


def test_bad_episodes_are_named_and_left_out(tmp_path):
    source = write_csv(tmp_path / "logs")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(dataset("map", source))
    bad = source / "run_002.csv"
    lines = bad.read_text().splitlines()
    cells = lines[5].split(",")
    cells[6] = "99"
    lines[5] = ",".join(cells)
    bad.write_text("\n".join(lines) + "\n")
    said = dataset("import", f"--to={tmp_path / 'out'}", f"--mapping={mapping}", source, status=1)
    assert "run_002.csv: action: row 4, component 0: 99, expected -12..8" in said
    assert "3 episodes, 20 transitions; 1 bad episodes left out" in said


def test_damaged_files_are_refused(tmp_path):
    for layout, name in [("csv", "run_002.csv"), ("npz", "run_002.npz"), ("robomimic", None)]:
        source = WRITERS[layout](tmp_path / layout)
        path = source / name if name else source
        whole_file = path.read_bytes()
        path.write_bytes(whole_file[:len(whole_file) * 2 // 3])
        said = dataset("import", f"--to={tmp_path / ('out-' + layout)}", source, status=1)
        assert str(path) in said
        assert not (tmp_path / f"out-{layout}" / "metadata.json").exists()


def test_what_is_not_there_is_said(tmp_path):
    assert "contains no logs in a supported format" in dataset("map", tmp_path, status=1)
    assert "No such file" in dataset("map", tmp_path / "absent", status=1)
    source = write_csv(tmp_path / "logs")
    mapping = tmp_path / "m.yaml"
    mapping.write_text(dataset("map", source).replace("tau_1", "tau_7"))
    said = dataset("import", f"--to={tmp_path / 'out'}", f"--mapping={mapping}", source, status=1)
    assert 'action: columns: the logs have no column "tau_7"' in said
    dataset("import", f"--to={tmp_path / 'out'}", source)
    assert "holds a dataset already" in dataset("import", f"--to={tmp_path / 'out'}", source, status=1)
