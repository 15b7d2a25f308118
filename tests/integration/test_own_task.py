"""The example of docs/own_task.md: a collector that has it acts in it; what CMake makes of HINDCAST_TASKS."""

import csv
import json
import subprocess

import h5py
import numpy as np

from processes import BUILD, ROOT, SLOW

EXAMPLE = ROOT / "experiments" / "own_task" / "ball_plate.c"
COLLECTOR = BUILD / "tests" / "own_task_collector"


def collect(folder, **options):
    command = [COLLECTOR, "--environment=ball_plate-reach", "--act=random", "--episodes=6", f"--run_dir={folder}",
               *(f"--{name}={value}" for name, value in options.items())]
    return subprocess.run(command, text=True, capture_output=True, timeout=60 * SLOW)


def test_logs_of_the_example(tmp_path):
    collected = collect(tmp_path)
    assert collected.returncode == 0, collected.stderr
    logs = tmp_path / "logs"
    signature = json.loads((logs / "metadata.json").read_text())["signature"]
    assert [part["name"] for part in signature["observation"]] == [
        "tilt", "tilt_velocity", "ball", "ball_velocity", "target"]
    assert signature["rewards"] == ["reach", "level"]
    assert np.allclose(signature["action"]["max"], 0.2)
    with open(logs / "returns.csv") as file:
        returns = list(csv.DictReader(file))
    assert len(returns) == 6 and all(0 < int(line["steps"]) < 500 for line in returns)  # the ball falls
    shard, = logs.glob("*.hdf5")
    with h5py.File(shard) as file:
        targets = set()
        for name in file:
            observations = file[name]["observations"][:]
            assert observations.shape[1] == 10 and np.isfinite(observations).all()
            assert (observations[:, 8:] == observations[0, 8:]).all()  # the target stays
            targets.add(tuple(observations[0, 8:]))
        assert len(targets) == 6  # and is elsewhere in the next episode
    inspected = subprocess.run([BUILD / "hindcast", "dataset", "inspect", logs], text=True, capture_output=True,
                               timeout=60 * SLOW)
    assert inspected.returncode == 0, inspected.stderr
    assert "6 (6 end by termination), 0 bad" in inspected.stdout


def test_names_in_help_and_in_the_error(tmp_path):
    helped = subprocess.run([COLLECTOR, "--help"], text=True, capture_output=True, timeout=60 * SLOW)
    assert "ball_plate-centre, ball_plate-reach" in helped.stdout
    wrong = collect(tmp_path, environment="ball_plate-juggle")
    assert wrong.returncode == 2 and "ball_plate-reach" in wrong.stderr


def configure(folder, tasks):
    """What configuring a build does with HINDCAST_TASKS, without the rest of it."""
    script = folder / "script.cmake"
    script.write_text(f'include("{ROOT}/cmake/own_tasks.cmake")\nhindcast_own_tasks(own "{tasks}")\n')
    return subprocess.run(["cmake", "-P", script], cwd=folder, text=True, capture_output=True, timeout=60 * SLOW)


def test_cmake_makes_the_list_and_the_folder(tmp_path):
    configured = configure(tmp_path, EXAMPLE)
    assert configured.returncode == 0, configured.stderr
    made = (tmp_path / "own" / "own_domains.c").read_text()
    assert "{&ball_plate_domain, NULL}" in made and '{"ball_plate-", NULL}' in made
    assert (tmp_path / "share" / "hindcast" / "tasks" / "ball_plate" / "ball_plate.xml").is_file()
    wrong = configure(tmp_path, tmp_path / "absent.c")
    assert wrong.returncode != 0 and f"HINDCAST_TASKS: no file {tmp_path}/absent.c" in " ".join(wrong.stderr.split())
