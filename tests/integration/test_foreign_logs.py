"""Logs of other formats in restorer.folder: read as they are, through a mapping, with all that holds for datasets."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from processes import BINARIES, SLOW
from replay_client import Client
from test_import import EPISODES, HIGH, LOW, WRITERS, write_csv, write_robomimic

TRANSITIONS = sum(len(one["reward"]) for one in EPISODES)
NAMED = ("robomimic", "d4rl")  # layouts whose names say what is what
SLICES = {"d4rl": [("observations", 5)]}


def configure(workspace, folder, **restorer):
    workspace.configure(experiment={"seed": 5}, restorer={"folder": str(folder), **restorer},
                        replay_server={"map_bytes": 64 << 20})


def dataset(*arguments):
    return subprocess.run([BINARIES["hindcast"], "dataset", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, check=False)


def confirm(source, mapping=None):
    """What a user does after reading the proposal."""
    mapping = mapping or source / "mapping.yaml"
    mapping.write_text(dataset("map", source).stdout)
    return mapping


def client_of(workspace, wire, layout):
    slices = SLICES.get(layout, [("encoder", 3), ("strain", 2)])
    signature = wire.replay.Signature(
        observation=[wire.replay.Signature.Slice(name=name, size=size) for name, size in slices],
        action_min=LOW.tolist(), action_max=HIGH.tolist(),
        rewards=["reward" if layout in NAMED else "success"],
        control_period_s=0.02 if layout == "csv" else 0)
    return Client(wire, f"unix:{workspace.run_dir}/replay.sock", signature)


def check_rows(client):
    """Every row that a table gives is one of EPISODES."""
    place = {np.float32(one["encoder"][t, 0]): (i, t) for i, one in enumerate(EPISODES)
             for t in range(len(one["reward"]))}
    seen = set()
    for n_valid, batch in client.draw(20, batch_snippets=32, snippet_transitions=3, seed=4):
        for n, snippet in zip(n_valid, batch):
            i, t = place[snippet[0, 0]]
            one = EPISODES[i]
            seen.add(i)
            states = np.concatenate([one["encoder"], one["strain"]], 1).astype(np.float32)
            assert np.array_equal(snippet[:n + 1, :5], states[t:t + n + 1])
            canonical = 2 * (one["action"][t:t + n] - LOW) / (HIGH - LOW) - 1
            np.testing.assert_allclose(snippet[:n, 5:7], canonical, atol=1e-6)
            assert np.array_equal(snippet[:n, 7], one["reward"][t:t + n].astype(np.float32))
            last = np.arange(t, t + n) == len(one["reward"]) - 1
            assert np.array_equal(snippet[:n, 8], 1 - (last & (i % 2 == 1)))
    assert seen == set(range(len(EPISODES)))


@pytest.mark.parametrize("layout", WRITERS)
def test_logs_are_read_where_they_are(workspace, wire, layout):
    source = WRITERS[layout](workspace.folder / "logs")
    configure(workspace, source)
    if layout not in NAMED:
        refused = workspace.start("restorer", label="refused")
        assert refused.wait() == 2
        assert "the proposed one has to be confirmed" in refused.tail()
        assert f"hindcast dataset map {source} > {source}/mapping.yaml" in refused.tail()
        confirm(source)
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    restorer.succeed()
    client = client_of(workspace, wire, layout)
    table = client.info()
    assert (table.episodes, table.transitions, table.sealed) == (4, TRANSITIONS, True)
    check_rows(client)
    client.close()
    made = workspace.json("restorer.json")
    assert (made["episodes"], made["bad"], made["datasets"]) == (4, 0, [str(source)])
    # A proposal that nobody has to confirm is told, with its reasons.
    said = restorer.output.read_text()
    assert ("no mapping was given; the proposed one is used" in said) == (layout in NAMED)
    assert layout not in NAMED or "mapping: format: hdf5" in said
    # Inspect reads them in the same way, and the second start finds nothing to do.
    looked = dataset("inspect", source)
    assert looked.returncode == 0 and "episodes     4 (2 end by termination), 0 bad" in looked.stdout
    again = workspace.start("restorer", label="again")
    again.succeed()
    assert "the table is sealed and made of these logs" in again.tail()


def test_a_table_made_of_other_logs_is_refused(workspace, wire):
    source = write_csv(workspace.folder / "logs")
    mapping = confirm(source, workspace.folder / "mine.yaml")
    configure(workspace, source, mapping=str(mapping))
    workspace.serve("replay_server")
    workspace.start("restorer", label="first").succeed()

    def refused(label, word):
        restorer = workspace.start("restorer", label=label)
        assert restorer.wait() == 2
        for part in (word, "experiment.name", "--restore-anew"):
            assert part in restorer.tail(), restorer.tail()

    # Another time, another place, a comment more: the same logs.
    for path in source.iterdir():
        path.touch()
    source = source.rename(workspace.folder / "moved")
    text = mapping.read_text()
    mapping.write_text("# mine\n" + text)
    configure(workspace, source, mapping=str(mapping))
    workspace.start("restorer", label="moved").succeed()
    # Another mapping, another value, a file more, a file less.
    mapping.write_text(text.replace('strain: ["strain_0", "strain_1"]',
                                    'strain: {columns: ["strain_0", "strain_1"], scale: 1000}'))
    refused("scale", f"the mapping of {source} is another one")
    mapping.write_text(text)
    path = source / "run_002.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"\r\n")
    refused("value", "run_002.csv has other contents")
    path.write_bytes(before)
    shutil.copy(path, source / "run_009.csv")
    refused("more", "run_009.csv is not among the files it was made of")
    (source / "run_009.csv").unlink()
    path.unlink()
    refused("less", "run_003.csv")
    path.write_bytes(before)
    workspace.start("restorer", label="restored").succeed()
    client = client_of(workspace, wire, "csv")
    assert client.info().episodes == 4
    client.close()


def test_restorers_share_files_and_episodes(workspace, wire):
    """Whole files where there are enough, else every n-th episode of each."""
    for name, source in (("files", write_csv(workspace.folder / "csv")),
                         ("episodes", write_robomimic(workspace.folder / "logs.hdf5"))):
        other = type(workspace)()
        try:
            if name == "files":
                confirm(source)
            configure(other, source, count=3)
            other.serve("replay_server")
            for i in reversed(range(3)):
                other.start("restorer", f"--index={i}", label=f"restorer-{i}").succeed()
            client = client_of(other, wire, "csv" if name == "files" else "robomimic")
            table = client.info()
            assert (table.episodes, table.episodes_duplicate, table.sealed) == (4, 0, True)
            check_rows(client)
            client.close()
        finally:
            other.close()


def test_kills_lose_and_double_nothing(workspace, wire):
    source = write_csv(workspace.folder / "logs")
    confirm(source)
    text = (source / "run_002.csv").read_text()
    for i in range(10, 300):  # as many different recordings
        (source / f"run_{i:03}.csv").write_text(text.replace("\n", "\n1", 1).replace("\n10.", f"\n{i}.", 1))
    configure(workspace, source, in_flight=65536, prefetch=2)
    workspace.serve("replay_server")
    for start in range(12):
        restorer = workspace.start("restorer", label=f"restorer-{start}")
        try:
            restorer.popen.wait(0.05 + 0.03 * start)
        except subprocess.TimeoutExpired:
            restorer.kill()
    workspace.start("restorer").succeed()
    client = client_of(workspace, wire, "csv")
    table = client.info()
    assert (table.episodes, table.sealed) == (294, True)
    client.close()


def test_bad_episodes_are_left_out_and_named(workspace, wire):
    source = write_csv(workspace.folder / "logs")
    confirm(source)
    lines = (source / "run_002.csv").read_text().splitlines()
    cells = lines[5].split(",")
    cells[6] = "99"
    (source / "run_002.csv").write_text("\n".join([*lines[:5], ",".join(cells), *lines[6:]]) + "\n")
    looked = dataset("inspect", source)
    assert looked.returncode == 1 and "run_002.csv: action: row 4, component 0: 99" in looked.stdout
    configure(workspace, source)
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    restorer.succeed()
    assert "left out: " in restorer.tail() and "run_002.csv: action: row 4, component 0: 99" in restorer.tail()
    made = workspace.json("restorer.json")
    assert (made["episodes"], made["bad"]) == (3, 1)
    # Clipped, the rows are others: a table of its own.
    refused = workspace.start("restorer", "--actions=clip", label="clip")
    assert refused.wait() == 2 and "restorer.actions is another one" in refused.tail()


def test_actions_are_clipped_on_request(workspace, wire):
    source = write_csv(workspace.folder / "logs")
    mapping = confirm(source)
    mapping.write_text(mapping.read_text().replace("max: [8, 3]", "max: [2, 3]"))
    configure(workspace, source, actions="clip")
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    restorer.succeed()
    beyond = sum(int((one["action"][:, 0] > 2 + 1e-5 * 14).sum()) for one in EPISODES)
    assert f"actions beyond their limits were clipped values={beyond}" in restorer.tail()
    assert workspace.json("restorer.json")["actions_clipped"] == beyond


def test_damaged_and_missing_logs_are_told_before_the_run(workspace):
    source = write_csv(workspace.folder / "logs")
    mapping = confirm(source)
    configure(workspace, source)
    whole = (source / "run_002.csv").read_text()
    (source / "run_002.csv").write_text(whole[:len(whole) * 2 // 3] + '"')
    restorer = workspace.start("restorer", label="damaged")
    assert restorer.wait() == 2 and "run_002.csv" in restorer.tail()
    (source / "run_002.csv").write_text(whole)
    mapping.write_text(mapping.read_text().replace("tau_1", "tau_7"))
    restorer = workspace.start("restorer", label="column")
    assert restorer.wait() == 2 and 'the logs have no column "tau_7"' in restorer.tail()
    mapping.unlink()
    configure(workspace, workspace.folder / "empty")
    (workspace.folder / "empty").mkdir()
    restorer = workspace.start("restorer", label="empty")
    assert restorer.wait() == 2 and "contains no logs in a supported format" in restorer.tail()


@pytest.mark.parametrize("name", ["metadata.json", "data/metadata.json", "meta/info.json", "metadata.yaml", "mapping.yaml",
                                  "bag.mcap", "a.parquet", "a.arrow", "a.csv", "a.tfrecord"])
@pytest.mark.parametrize("command", ["inspect", "map"])
def test_a_named_pipe_is_not_waited_for(tmp_path, command, name):
    """Archives may contain pipes. Nobody writes to this one."""
    folder = write_csv(tmp_path / "logs")
    (folder / name).parent.mkdir(exist_ok=True)
    os.mkfifo(folder / name)
    done = subprocess.run([BINARIES["hindcast"], "dataset", command, folder], capture_output=True, text=True,
                          timeout=20 * SLOW, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
