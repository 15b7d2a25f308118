"""Datasets that lie further down in the folder that is named: the only one is read, and several are named."""

import json
import shutil

import pytest

import plant
from test_import import write_csv
from test_start import SHORT, hindcast, options_of

WRITERS = {"minari": plant.write_minari, "lerobot": plant.write_lerobot}


def write(layout, folder):
    """Returns the folder of the dataset, some levels below `folder`."""
    (folder / "site").mkdir(parents=True, exist_ok=True)
    return WRITERS[layout](folder / "site" / "arm3", plant.records(12))


@pytest.mark.parametrize("layout", WRITERS)
def test_the_only_dataset_is_read_and_told(workspace, layout):
    folder = workspace.folder / "logs"
    (folder / "site" / "notes").mkdir(parents=True)
    (folder / "site" / "notes" / "metadata.json").write_text(json.dumps({"who": "somebody"}))  # of no dataset
    place = write(layout, folder)
    told = f"{folder}: the dataset {place} is read, the only one in it"
    direct, found = hindcast("dataset", "inspect", place), hindcast("dataset", "inspect", folder)
    assert told in found.stderr and told not in direct.stderr
    assert "episodes     12" in found.stdout and found.stdout == direct.stdout
    made = hindcast("dataset", "start", folder)
    assert told in made.stderr
    if layout == "lerobot":
        mapped = hindcast("dataset", "map", folder)
        assert told in mapped.stderr and f"How the logs in {place} are read" in mapped.stdout
    else:
        refused = hindcast("dataset", "map", folder, status=1)
        assert f"{place}: is a dataset, which its metadata.json describes: it needs no mapping" in refused.stderr
    # The experiment names the folder, where the restorer finds the dataset again.
    experiment = workspace.folder / "my.yaml"
    experiment.write_text(made.stdout)
    assert options_of(made.stdout)["restorer"] == {"folder": str(folder)}
    hindcast("up", experiment, "--learner.steps=5", "--learner.widths=[16,16]", *SHORT, cwd=workspace.folder)
    run = workspace.folder / "runs" / options_of(made.stdout)["experiment"]["name"]
    assert told in (run / "restorer.log").read_text()


@pytest.mark.parametrize("command", ["inspect", "start", "map"])
def test_several_datasets_are_named(tmp_path, command):
    places = [write(layout, tmp_path / "all" / layout) for layout in ("lerobot", "minari")]
    said = hindcast("dataset", command, tmp_path / "all", status=1)
    assert f"{tmp_path / 'all'}: holds 2 datasets: name one of them ({places[0]}, {places[1]})" in said.stderr
    assert said.stdout == ""


def test_a_dataset_beside_other_logs_is_not_taken_for_all(tmp_path):
    place = write("lerobot", tmp_path / "all")
    logs = write_csv(tmp_path / "all" / "csv")
    said = hindcast("dataset", "inspect", tmp_path / "all", status=1).stderr
    assert f"holds a dataset, {place}, and other logs, such as {logs / 'run_000.csv'}: name one of them" in said
    # With a mapping these are logs, of which the dataset's files are none.
    (tmp_path / "all" / "mapping.yaml").write_text(hindcast("dataset", "map", logs).stdout)
    said = hindcast("dataset", "inspect", tmp_path / "all", status=1).stderr
    assert f"{place}: is a dataset of its own within the folder: expected its own path" in said
    shutil.rmtree(tmp_path / "all" / "site")
    assert "episodes     4" in hindcast("dataset", "inspect", tmp_path / "all").stdout
