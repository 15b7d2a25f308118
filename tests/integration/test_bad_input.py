"""What people get wrong: each is refused at once, with a non-zero exit and a sentence that names the thing."""

import json
import socket

import h5py
import numpy as np
import pytest

import logs

ROLES = ("replay_server", "restorer", "learner", "evaluator", "collector")
LEAVES_S = 20


@pytest.fixture
def ready(workspace):
    """Logs and a sound configuration; a test spoils one of them."""
    logs.write_dataset(workspace.folder / "logs", [[logs.episode(0, 20), logs.episode(1, 30)]])
    workspace.sound = {
        "experiment": {"name": "bad", "environment": "cheetah-run"},
        "restorer": {"folder": str(workspace.folder / "logs")},
        "replay_server": {"map_bytes": 64 << 20},
        "learner": {"widths": [16, 16], "steps": 10},
    }
    workspace.configure(**workspace.sound)
    return workspace


def refused(process, *words):
    """Leaves soon, not with 0, not by a signal, and says these words."""
    status = process.wait(LEAVES_S)
    assert status > 0, f"{process.name} left with {status}"
    for word in words:
        assert word in process.tail(), f"{process.name} does not say {word!r}"


def line_of(path, text):
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


# ---- the experiment file ----

@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("value, words", [
    ("colour: green\n", ["colour"]),                      # an unknown key
    ("index: many\n", ["index", "many", "integer"]),      # of the wrong type
    ("index: -7\n", ["index", "-7"]),                     # out of range
    ("index: 0\n  index: 0\n", ["index", "already set in line 2"]),
])
def test_a_bad_key_is_named_with_file_and_line(ready, role, value, words):
    if role == "learner":
        value, words = value.replace("index", "samples").replace(": 0", ": 5"), \
            [word.replace("index", "samples") for word in words]
    text = f"{role}:\n  {value}"
    ready.config.write_text(text)
    line = len(text.splitlines())
    refused(ready.start(role), f"{ready.config}:{line}:", role, *words)


@pytest.mark.parametrize("flag, words", [
    ("--colour=green", ["colour"]),
    ("--gather_threads=0", ["gather_threads", "1..64"]),
    ("--durability=sometimes", ["durability", "each|interval|none"]),
    ("--index=3", ["replay_server.index 3", "experiment.replay names 1 servers"]),
    ("--samples_per_insert=-1", ["samples_per_insert", "-1"]),
])
def test_a_replay_server_that_would_be_of_no_use_leaves_with_2(ready, flag, words):
    """Not with 1, which is what its supervisor starts it again for."""
    server = ready.start("replay_server", flag)
    refused(server, *words)
    assert server.ended() == 2
    assert not (ready.run_dir / "replay").exists()


@pytest.mark.parametrize("text, words", [
    ("learner: [1, 2]\n", ["learner"]),
    ("learner:\n  steps: 5\n bad\n", [":3"]),
    ("lerner:\n  steps: 5\n", ["lerner", "learner"]),
    ("learner:\n  steps: &a 5\n", ["anchor"]),
    ("learner\x80: 5\n", []),
    ("", []),
])
def test_a_file_that_is_no_experiment(ready, text, words):
    ready.config.write_bytes(text.encode("latin-1"))
    if text:
        refused(ready.start("learner"), str(ready.config), *words)
    else:
        ready.start("learner", "--check").succeed(LEAVES_S)  # nothing said is nothing wrong


def test_a_file_that_is_not_there(ready):
    ready.config.unlink()
    for role in ROLES:
        refused(ready.start(role), str(ready.config), "No such file")


def test_unknown_flags(ready):
    refused(ready.start("learner", "--stepz=5"), "stepz", "steps")
    refused(ready.start("learner", "steps"), "steps")
    refused(ready.start("learner", "--steps=1e3x"), "steps", "1e3x")


def test_up_says_it_before_it_starts_anything(ready):
    ready.configure(**{**ready.sound, "learner": {"steps": 10, "widht": [3]}})
    process = ready.up()
    refused(process, f"{ready.config}:{line_of(ready.config, 'widht')}", "widht", "widths")
    assert process.ended() == 2 and not ready.run_dir.exists()
    ready.configure(**ready.sound)
    refused(ready.up("--learner.stepz=3"), "stepz")
    refused(ready.up("steps=3"), "steps=3")


# ---- the logs ----

def test_no_folder(ready):
    refused(ready.start("restorer", "--folder=/nowhere/logs"), "/nowhere/logs")
    refused(ready.start("restorer", "--folder="), "restorer.folder")
    refused(ready.up("--restorer.folder=/nowhere/logs"), "/nowhere/logs")


def test_a_folder_without_metadata(ready):
    (ready.folder / "logs" / "metadata.json").unlink()
    refused(ready.start("restorer"), str(ready.folder / "logs"), "metadata.json")


@pytest.mark.parametrize("metadata, words", [
    ("{", ["metadata.json"]),
    ("[]", ["metadata.json"]),
    (json.dumps({"signature": {**logs.SIGNATURE, "observation": []}}), ["metadata.json", "observation"]),
    (json.dumps({"signature": {**logs.SIGNATURE, "action": {"min": [1], "max": [0]}}}), ["metadata.json", "action"]),
    (json.dumps({"signature": {**logs.SIGNATURE, "rewards": ["run", "run"]}}), ["metadata.json", "run"]),
])
def test_bad_metadata(ready, metadata, words):
    (ready.folder / "logs" / "metadata.json").write_text(metadata)
    refused(ready.start("restorer"), *words)


def test_logs_that_are_all_bad(ready):
    with h5py.File(ready.folder / "logs" / "log-000.hdf5", "r+") as shard:
        for episode in shard.values():
            episode["actions"][3, 2] = 7
    ready.serve("replay_server")
    refused(ready.start("restorer"), "none of 2 episodes was good", "log-000.hdf5", "row 3", "7")


def test_logs_with_another_signature(ready):
    ready.serve("replay_server")
    ready.start("restorer").succeed(LEAVES_S)
    longer = {**logs.SIGNATURE, "observation": [{"name": "position", "size": 9}, {"name": "velocity", "size": 9}]}
    one = logs.episode(0, 20)
    one["observations"] = np.pad(one["observations"], ((0, 0), (0, 1)))
    logs.write_dataset(ready.folder / "longer", [[one]], longer)
    refused(ready.start("restorer", f"--folder={ready.folder}/longer", label="second"), "position", "9", "8")


# ---- what is around ----

def test_a_run_folder_that_cannot_be_made(ready):
    (ready.folder / "file").write_text("")
    for role in ROLES:
        refused(ready.start(role, f"--run_dir={ready.folder}/file/run"), f"{ready.folder}/file")


def test_a_place_that_takes_no_files(ready):
    """Nobody makes folders in /proc, root neither."""
    for role in ROLES:
        refused(ready.start(role, "--run_dir=/proc/hindcast"), "/proc/hindcast")


def test_a_socket_path_that_is_too_long(ready):
    path = ready.folder / ("x" * 120)
    refused(ready.start("replay_server", f"--replay=unix:{path}"), "x" * 20)
    refused(ready.start("learner", f"--parameters=unix:{path}"), "x" * 20)


def test_a_socket_or_port_that_is_taken(ready):
    with socket.socket(socket.AF_UNIX) as taken, socket.socket() as port:
        taken.bind(str(ready.folder / "taken.sock"))
        taken.listen()
        port.bind(("127.0.0.1", 0))
        port.listen()
        number = port.getsockname()[1]
        refused(ready.start("replay_server", f"--replay=unix:{ready.folder}/taken.sock"), "taken.sock")
        refused(ready.start("replay_server", f"--replay=127.0.0.1:{number}"), str(number))
        refused(ready.start("learner", f"--parameters=127.0.0.1:{number}"), str(number))
        refused(ready.start("evaluator", f"--admin=127.0.0.1:{number}"), str(number))


def test_listening_to_the_world_without_tls(ready):
    refused(ready.start("replay_server", "--replay=0.0.0.0:0"), "0.0.0.0", "TLS")
    refused(ready.start("learner", "--parameters=0.0.0.0:0"), "0.0.0.0", "TLS")
    refused(ready.start("learner", "--admin=0.0.0.0:0"), "0.0.0.0")


def test_an_environment_that_nobody_knows(ready):
    for role in ("evaluator", "collector"):
        refused(ready.start(role, "--environment=cheetah-fly"), "cheetah-fly", "cheetah-run")


def test_a_store_that_is_no_store(ready):
    folder = ready.folder / "store"
    folder.mkdir()
    (folder / "data.mdb").write_bytes(b"not a store" * 1000)
    refused(ready.start("replay_server", f"--path={folder}"), str(folder))
