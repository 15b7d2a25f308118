"""Which episodes are used: those cut around bad rows and time gaps, and those that a filter leaves."""

import csv
import json
import subprocess

import h5py
import numpy as np
import pytest

import logs
from processes import BINARIES
from replay_client import Client, cheetah_signature

T = 20


def dataset(*arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "dataset", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def restore(workspace, folder, **options):
    workspace.configure(restorer={"folder": str(folder), **options}, replay_server={"map_bytes": 64 << 20})
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()


def table_of(workspace, wire):
    return Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire))


def write(folder, returns, tags=None):
    """Episodes of T steps with these returns, the last reward above 0 where the return is; two files."""
    episodes = []
    for number, value in enumerate(returns):
        one = logs.episode(number, T)
        one["rewards"] = np.zeros(T, np.float32)
        one["rewards"][-1] = value
        episodes.append(one)
    logs.write_dataset(folder, [episodes[:3], episodes[3:]])
    if tags:
        for path in sorted(folder.glob("*.hdf5")):
            with h5py.File(path, "a") as file:
                for name in file:
                    number = int(file[name]["observations"][0, 0]) // 1000
                    file[name].attrs["robot"], file[name].attrs["trial"] = tags[number]
    return episodes


# ---- bad rows ----

def test_bad_rows_are_cut_out(workspace, wire):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(number, T, terminated=True) for number in range(3)]
    episodes[0]["observations"][5, 2] = np.nan   # steps 4 and 5 go: 0..3, 6..19
    episodes[1]["actions"][0, 1] = np.inf        # step 0 goes: 1..19
    episodes[1]["rewards"][18] = np.nan          # and step 18: 1..17, and 19, which is too short
    logs.write_dataset(folder, [episodes])
    restore(workspace, folder, bad_rows="split")
    client = table_of(workspace, wire)
    info = client.info()
    assert (info.episodes, info.transitions, info.sealed) == (4, 4 + 14 + 17 + 20, True)
    starts = {0: {0, *range(1, 4), *range(6, 20)}, 1: set(range(1, 18)), 2: set(range(20))}
    seen = {number: set() for number in starts}
    expected = [logs.rows(one) for one in episodes]
    for n_valid, batch in client.draw(20, batch_snippets=128, snippet_transitions=T, seed=1):
        for n, snippet in zip(n_valid, batch):
            number, t = divmod(int(round(snippet[0, 0])), 1000)
            seen[number].add(t)
            assert np.array_equal(snippet[:n], expected[number][t:t + n])
            assert np.array_equal(snippet[n, :logs.O], expected[number][t + n, :logs.O])
    assert seen == starts
    note = workspace.json("restorer.json")
    assert (note["bad"], note["episodes"]) == (0, 4)
    assert note["selection"] | {"left_out": {}} == {
        "rules": "bad_rows: split, min_piece: 2", "episodes": 3, "bad_rows": 3, "cut": 2, "pieces": 3,
        "short_pieces": 1, "lost_transitions": 5, "kept": 4, "left_out": {}}
    looked = dataset("inspect", "--bad_rows=split", folder)
    assert "2 of 3 episodes were cut around 3 bad rows into 3 pieces; 1 pieces were too short, 5 transitions" in looked
    assert "episodes     4" in looked


def test_without_it_such_episodes_are_refused(workspace, wire):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(number, T) for number in range(3)]
    episodes[0]["observations"][5, 2] = np.nan
    logs.write_dataset(folder, [episodes])
    restore(workspace, folder)
    assert table_of(workspace, wire).info().episodes == 2
    note = workspace.json("restorer.json")
    assert note["bad"] == 1 and "selection" not in note
    assert "1 bad" in dataset("inspect", folder, status=1)


def test_min_piece(tmp_path):
    folder = tmp_path / "logs"
    one = logs.episode(0, T)
    one["observations"][5, 2] = np.nan
    logs.write_dataset(folder, [[one, logs.episode(1, 3)]])
    # A sound episode that is shorter than a piece may be stays.
    said = dataset("inspect", "--bad_rows=split", "--min_piece=10", folder)
    assert "1 pieces were too short, 6 transitions are left out" in said and "episodes     2" in said


# ---- filters ----

RETURNS = [0, 3, 6, 9, 2, 5, 8, 1]
TAGS = [("left", 0), ("left", 1), ("right", 0), ("right", 1), ("left", 0), ("left", 1), ("right", 0), ("right", 1)]


@pytest.mark.parametrize("conditions, kept", [
    (["success"], [1, 2, 3, 4, 5, 6, 7]),
    (["min_return=5"], [2, 3, 5, 6]),
    (["max_return=2", "reward=run"], [0, 4, 7]),
    (["best=0.25"], [3, 6]),
    (["every=3"], [0, 3, 6]),
    (["tag=robot=left"], [0, 1, 4, 5]),
    (["tag=trial=1", "best=0.5"], [3, 5]),
])
def test_filters_of_a_dataset(workspace, wire, conditions, kept):
    folder = workspace.folder / "logs"
    write(folder, RETURNS, TAGS)
    restore(workspace, folder, filter=conditions)
    client = table_of(workspace, wire)
    assert client.info().episodes == len(kept)
    seen = set()
    for _, batch in client.draw(10, batch_snippets=64, snippet_transitions=1, seed=1):
        seen |= {int(round(value)) // 1000 for value in batch[:, 0, 0]}
    assert sorted(seen) == kept
    note = workspace.json("restorer.json")
    assert note["selection"]["kept"] == len(kept) == note["episodes"]
    assert sum(note["selection"]["left_out"].values()) == len(RETURNS) - len(kept)
    looked = dataset("inspect", "--filter=" + ",".join(conditions), folder)
    assert f"{len(kept)} of 8 episodes are kept; left out:" in looked and f"episodes     {len(kept)} (" in looked


def test_another_filter_is_another_table(workspace, wire):
    folder = workspace.folder / "logs"
    write(folder, RETURNS)
    restore(workspace, folder, filter=["success"])
    workspace.start("restorer", label="same").succeed()
    for flags in ("--filter=min_return=5",), ("--filter=",), ("--filter=success", "--bad_rows=split"):
        other = workspace.start("restorer", *flags, label="other" + "".join(flags).replace("=", ""))
        assert other.wait() == 2
        said = other.tail()
        assert "made of other logs" in said and 'the rules about episodes' in said and '"filter: success"' in said
    assert table_of(workspace, wire).info().episodes == 7


def test_a_killed_restorer_goes_on_with_the_same_choice(workspace, wire):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(i, T) for i in range(300)]
    for one in episodes[::7]:
        one["actions"][10, 0] = np.nan
    logs.write_dataset(folder, [episodes[i::5] for i in range(5)])
    workspace.configure(restorer={"folder": str(folder), "bad_rows": "split", "filter": ["max_length=19"],
                                  "in_flight": 65536, "prefetch": 2}, replay_server={"map_bytes": 64 << 20})
    workspace.serve("replay_server")
    for i in range(4):
        restorer = workspace.start("restorer", label=f"restorer-{i}")
        try:
            restorer.wait(0.05 + 0.05 * i)
        except AssertionError:
            restorer.kill()
    workspace.start("restorer").succeed()
    info = table_of(workspace, wire).info()
    assert (info.episodes, info.transitions, info.sealed) == (2 * 43, 43 * 19, True)


def test_two_restorers_choose_together(workspace):
    """The best of all logs, whoever reads them, also in the summary that no single restorer can make."""
    folder = workspace.folder / "logs"
    write(folder, RETURNS)
    workspace.configure(
        restorer={"folder": str(folder), "filter": ["best=0.25"]}, replay_server={"map_bytes": 64 << 20},
        learner={"steps": 3, "widths": [8, 8], "batch_snippets": 4}, up={"restorers": 2, "evaluators": 0})
    workspace.up().succeed(120)
    assert workspace.json("summary.json")["logged_return_mean"] == pytest.approx((9 + 8) / 2)


def test_what_is_wrong_is_said(workspace):
    folder = workspace.folder / "logs"
    write(folder, RETURNS)
    for conditions, word in ((["sucess"], '"sucess": expected success, min_return='),
                             (["min_return=100"], "none of 8 episodes is left by the rules (filter: min_return=100)"),
                             (["reward=fly", "success"], "reward=fly: the logs have no such reward")):
        workspace.configure(restorer={"folder": str(folder), "filter": conditions})
        process = workspace.start("restorer", label=word[:9].strip('" '))
        assert process.wait() == 2 and word in process.tail()
    assert '--min_piece=0: expected' in dataset("inspect", "--min_piece=0", folder, status=2)


# ---- logs of other formats ----

def write_csv(folder, gap_at=None, missing=None, n=2):
    folder.mkdir()
    for number in range(n):
        with open(folder / f"run_{number}.csv", "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(["stamp_ns", "q_0", "q_1", "tau", "reward", "robot"])
            for t in range(T + 1):
                stamp = int(t * 2e7) + (400_000_000 if number == 0 and gap_at is not None and t > gap_at else 0)
                row = [stamp, 100 * number + t, t / 7, (t % 5 - 2) / 2 if t < T else "", 1 if t < T else "", number]
                if number == 0 and missing is not None and t == missing[0]:
                    row[missing[1]] = ""
                writer.writerow(row)
    return folder


MAPPING = """
format: csv
control_period_s: 0.02
episodes: {by: recording}
observation: {q: [q_0, q_1]}
last_observation: last_row
action: {columns: [tau], min: [-1], max: [1]}
rewards: {reward: reward}
time: {column: stamp_ns, scale: 1e-9}
"""


def imported(folder):
    episodes = []
    for shard in json.loads((folder / "metadata.json").read_text())["shards"]:
        with h5py.File(folder / shard["file"]) as file:
            for name in sorted(file, key=lambda one: int(one.split("_")[1])):
                observations = file[name]["observations"]
                first = observations[()] if isinstance(observations, h5py.Dataset) else observations["q"][()]
                episodes.append((first[:, 0].tolist(), file[name]["truncations"][()].tolist()))
    return episodes


def test_missing_cells_cut_an_episode(tmp_path):
    source = write_csv(tmp_path / "logs", missing=(7, 2))
    (source / "mapping.yaml").write_text(MAPPING + "bad_rows: split\nmin_piece: 3\n")
    said = dataset("import", f"--to={tmp_path / 'out'}", source)
    assert "1 of 2 episodes were cut around 1 bad rows into 2 pieces" in said
    assert "3 episodes, 38 transitions; 0 bad" in said
    pieces = imported(tmp_path / "out")
    assert [one[0] for one in pieces] == [[*range(7)], [*range(8, 21)], [*range(100, 121)]]
    assert all(not any(flags[:-1]) for _, flags in pieces)
    # The mapping that the metadata records is the whole mapping.
    made_by = json.loads((tmp_path / "out" / "metadata.json").read_text())["made_by"]
    assert "bad_rows: split\nmin_piece: 3\n" in made_by["mapping"]


def test_time_gaps(tmp_path):
    source = write_csv(tmp_path / "logs", gap_at=9)
    mapping = source / "mapping.yaml"
    mapping.write_text(MAPPING)
    warning = "time gaps: 1 intervals between rows are much longer than the control period, or not positive; " \
              "the longest is 0.42 s"
    looked = dataset("inspect", source)
    assert warning in looked and "run_0.csv, row 9" in looked and "episodes     2" in looked
    mapping.write_text(MAPPING + "time_gaps: refuse\n")
    said = dataset("import", f"--to={tmp_path / 'refused'}", source, status=1)
    assert "run_0.csv: time: column stamp_ns: 0.42 s between rows 9 and 10, the control period is 0.02 s" in said
    mapping.write_text(MAPPING + "time_gaps: split\n")
    assert warning in dataset("inspect", source)
    dataset("import", f"--to={tmp_path / 'split'}", source)
    assert [one[0] for one in imported(tmp_path / "split")] == [[*range(10)], [*range(10, 21)], [*range(100, 121)]]
    # A longer interval may be no gap.
    mapping.write_text(MAPPING + "time_gaps: split\ngap_periods: 30\n")
    dataset("import", f"--to={tmp_path / 'whole'}", source)
    assert len(imported(tmp_path / "whole")) == 2


def test_a_proposal_names_the_times_and_warns_of_gaps(tmp_path):
    for number, gap in enumerate((0, 0.5)):
        with open(tmp_path / f"run_{number}.csv", "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "q", "tau", "reward"])
            for t in range(30):
                writer.writerow([round(t * 0.02 + gap * (t > 9), 3), t, t % 3 - 1 if t < 29 else "", 1 if t < 29 else ""])
    mapped = dataset("map", tmp_path)
    assert "time gaps: 1 intervals between rows" in mapped and 'time: {column: "t"}\ntime_gaps: ignore\n' in mapped
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(mapped.replace("time_gaps: ignore", "time_gaps: split"))
    assert "1 of 2 episodes were cut around 1 bad rows into 2 pieces" in dataset("inspect", tmp_path)


def test_filters_of_a_mapping(tmp_path, workspace, wire):
    del wire
    source = write_csv(tmp_path / "logs", n=6)
    (source / "mapping.yaml").write_text(MAPPING + "filter: [tag=robot=3]\n")
    said = dataset("import", f"--to={tmp_path / 'out'}", source)
    assert "1 of 6 episodes are kept; left out: 5 without the tag" in said
    assert [one[0][0] for one in imported(tmp_path / "out")] == [300]
    # The restorer reads the same logs by the same rules; its own filter replaces that of the mapping.
    workspace.configure(restorer={"folder": str(source)}, replay_server={"map_bytes": 64 << 20})
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    assert workspace.json("restorer.json")["episodes"] == 1
    other = workspace.start("restorer", "--filter=every=2", label="other")
    assert other.wait() == 2 and "rules about episodes" in other.tail()


def test_wrong_keys_are_refused(tmp_path):
    source = write_csv(tmp_path / "logs")
    for keys, word in (("bad_rows: drop", "bad_rows: expected refuse or split"),
                       ("time_gaps: cut", "time_gaps: expected ignore, refuse or split"),
                       ("filter: [best]", '"best": expected success'),
                       ("filter: {best: 1}", "filter: expected a list"), ("gap_periods: 0", "gap_periods: expected"),
                       ("min_piece: 0", "min_piece: expected a whole number")):
        (source / "mapping.yaml").write_text(MAPPING + keys + "\n")
        assert word in dataset("inspect", source, status=1)
    (source / "mapping.yaml").write_text(MAPPING.replace("time: {column: stamp_ns, scale: 1e-9}", "time_gaps: split"))
    assert "time_gaps: needs time" in dataset("inspect", source, status=1)
    (source / "mapping.yaml").write_text(MAPPING.replace("stamp_ns", "clock"))
    assert 'time: the logs have no column "clock"' in dataset("inspect", source, status=1)


def test_robomimic_attributes_are_tags(tmp_path):
    path = tmp_path / "demos.hdf5"
    with h5py.File(path, "w") as file:
        for number in range(4):
            one = logs.episode(number, T)
            demo = file.create_group(f"data/demo_{number}")
            demo.attrs["operator"] = "ann" if number % 2 else "bob"
            demo["obs/state"], demo["next_obs/state"] = one["observations"][:-1], one["observations"][1:]
            demo["actions"], demo["rewards"] = one["actions"], one["rewards"]
            demo["dones"] = one["terminations"]
    mapping = tmp_path / "m.yaml"
    mapping.write_text(dataset("map", path) + "filter: [tag=operator=ann]\n")
    said = dataset("import", f"--mapping={mapping}", f"--to={tmp_path / 'out'}", path)
    assert "2 of 4 episodes are kept" in said
