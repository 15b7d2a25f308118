"""From a stranger's logs to a policy that acts: `dataset start`, `up`, ONNX. The commands are those of docs/logs.md."""

import json
import subprocess

import numpy as np
import onnxruntime
import pytest

import plant
from processes import BINARIES
from test_import import write_csv as write_two_rewards


def hindcast(*arguments, status=0, cwd=None, seconds=120):
    done = subprocess.run([BINARIES["hindcast"], *map(str, arguments)], capture_output=True, text=True,
                          timeout=seconds, check=False, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def options_of(text):
    """{section: {option: value}} of an experiment file that is written line by line."""
    sections, current = {}, None
    for line in text.splitlines():
        line = line.partition("#")[0].rstrip()
        key, colon, value = line.partition(":")
        if line and not line.startswith(" "):
            current = sections.setdefault(key, {})
        elif colon:
            value = value.strip()
            try:
                current[key.strip()] = json.loads(value)
            except json.JSONDecodeError:
                current[key.strip()] = value
    return sections


def policy_of(path):
    """Acts by an exported model, which takes physical observations and gives physical actions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    order = [part.split(":")[0] for part in session.get_modelmeta().custom_metadata_map["observation"].split(",")]
    names = [name for name, _ in plant.SLICES]
    columns = [names.index(name) for name in order] if set(order) <= set(names) else range(len(names))

    def act(o):
        inputs = {"observation": np.float32([[o[j] for j in columns]])}
        return session.run(["action_physical"], inputs)[0][0, 0]
    return act


# An evaluation of the policies from the logs that takes seconds, as `up` makes one where the proposal says so.
SHORT = ("--offline_evaluator.steps=20", "--offline_evaluator.critics=2", "--offline_evaluator.widths=[16]",
         "--offline_evaluator.resamples=100")


LAYOUTS = {"csv": plant.write_csv, "npz": plant.write_npz, "robomimic.hdf5": plant.write_robomimic,
           "d4rl.hdf5": plant.write_d4rl, "minari": plant.write_minari,
           "lerobot": plant.write_lerobot}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_proposed_experiment_runs_as_it_is(workspace, layout):
    """From every layout, and with no line by hand but those of a mapping that has to be confirmed."""
    source = LAYOUTS[layout](workspace.folder / layout, plant.records(12))
    if layout in ("csv", "npz"):
        refused = hindcast("dataset", "start", source, status=1)
        assert "has to be confirmed" in refused.stderr and refused.stdout == ""
        (source / "mapping.yaml").write_text(hindcast("dataset", "map", source).stdout)
    made = hindcast("dataset", "start", source)
    assert "to be confirmed:" in made.stderr
    experiment = workspace.folder / "my.yaml"
    experiment.write_text(made.stdout)
    # Every line of the experiment is an option that its program knows, with a comment that says why.
    options = options_of(made.stdout)
    assert options["restorer"] == {"folder": str(source)} and options["up"] == {"evaluators": 0}
    assert options["learner"]["normalize"] == "standard" and options["learner"]["algorithm"] == "abm+mpo"
    lengths = [len(actions) for _, actions, _, _ in plant.records(12)]
    assert 1 / (1 - options["learner"]["gamma"]) == pytest.approx(np.mean(lengths), rel=0.1)
    run = workspace.folder / "runs" / options["experiment"]["name"]
    assert options["experiment"]["choose"] == "offline"
    hindcast("up", experiment, "--learner.steps=30", "--learner.widths=[16,16]", *SHORT, cwd=workspace.folder)
    assert "chosen_policy" in json.loads((run / "summary.json").read_text())
    # bf16 is proposed only where it is faster.
    assert "gains nothing" not in (run / "learner.log").read_text()
    hindcast("policy", "export", run, "--onnx=out.onnx", cwd=workspace.folder)
    act = policy_of(workspace.folder / "out.onnx")
    assert plant.LOW <= act(plant.records(1)[0][0][0]) <= plant.HIGH


def test_a_policy_learned_from_records_beats_those_who_made_them(workspace):
    """End to end: a plant, its records, the proposed settings (but for fewer steps), and the plant again."""
    episodes = plant.records(60)
    logged = np.mean([one[3] for one in episodes])
    source = plant.write_robomimic(workspace.folder / "cart.hdf5", episodes)
    experiment = workspace.folder / "my.yaml"
    experiment.write_text(hindcast("dataset", "start", source).stdout)
    hindcast("up", experiment, "--learner.steps=1500", "--learner.widths=[64,64,64]", *SHORT, cwd=workspace.folder,
             seconds=600)
    hindcast("policy", "export", "runs/cart", "--onnx=cart.onnx", cwd=workspace.folder)
    learned = plant.success(policy_of(workspace.folder / "cart.onnx"))
    assert learned >= 0.9 and learned > logged + 0.1, f"learned {learned}, logged {logged}"


def test_what_the_logs_do_not_say_is_asked(workspace):
    source = write_two_rewards(workspace.folder / "logs")
    mapping = workspace.folder / "mine.yaml"
    text = hindcast("dataset", "map", source).stdout
    # No reward: the experiment names a script that is to be written, and `up` says so before it starts anything.
    mapping.write_text("\n".join(line for line in text.splitlines()
                                 if not line.startswith(("rewards:", "  success:", "terminated:"))) + "\n")
    made = hindcast("dataset", "start", f"--mapping={mapping}", source)
    assert "the logs have no reward: write rewards.lua" in made.stderr
    assert options_of(made.stdout)["restorer"]["mapping"] == str(mapping)
    assert "choose" not in options_of(made.stdout)["experiment"]
    experiment = workspace.folder / "my.yaml"
    experiment.write_text(made.stdout)
    refused = hindcast("up", experiment, status=2, cwd=workspace.folder)
    assert "rewards.lua" in refused.stderr
    (workspace.folder / "rewards.lua").write_text("return { near = function(now, action, after) return 1 end }\n")
    hindcast("up", experiment, "--learner.steps=10", "--learner.widths=[16,16]", cwd=workspace.folder)


def test_a_choice_is_proposed_where_rewards_differ_and_held_out_episodes_where_there_are_many(workspace):
    source = plant.write_robomimic(workspace.folder / "many.hdf5", plant.records(100))
    options = options_of(hindcast("dataset", "start", source).stdout)
    assert options["experiment"]["choose"] == "offline" and options["restorer"]["holdout"] == 0.1
    source = plant.write_robomimic(workspace.folder / "few.hdf5", plant.records(99))
    options = options_of(hindcast("dataset", "start", source).stdout)
    assert options["experiment"]["choose"] == "offline" and "holdout" not in options["restorer"]
    source = plant.write_robomimic(workspace.folder / "same.hdf5", [(o, a, 0 * r, s) for o, a, r, s in plant.records(12)])
    assert "choose" not in options_of(hindcast("dataset", "start", source).stdout)["experiment"]


def test_rewards_of_an_unusual_size_are_scaled(workspace):
    source = plant.write_robomimic(workspace.folder / "cart.hdf5",
                                   [(o, a, 500 * r, s) for o, a, r, s in plant.records(12)])
    made = hindcast("dataset", "start", source)
    assert options_of(made.stdout)["learner"]["reward_scale"] == 0.002
    looked = hindcast("dataset", "inspect", source)
    assert "reward of a step" in looked.stdout and " 500\n" in looked.stdout


def test_wrong_commands_are_told(workspace):
    assert "usage:" in hindcast("dataset", "start", status=2).stderr
    assert "usage:" in hindcast("dataset", "start", "--mapping=x", status=2).stderr
    assert "No such file" in hindcast("dataset", "start", workspace.folder / "absent", status=1).stderr
