"""Compares exported policies, run by onnxruntime and by numpy, with the actions of `hindcast policy act`.

`hindcast policy act` calls policy_act with the same observations and the same noise. The tests cover every acting rule,
odd sizes, several tasks, extreme observations, policies of real learners with all algorithms, and invalid input.
"""

import json
import re
import shutil
import subprocess

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy

import logs
import policies
import stubs
from processes import BINARIES, ROOT, Workspace, wait_until

TOLERANCE = 1e-5
ALGORITHMS = ["mpo", "svg", "bm+mpo", "abm+mpo", "bm+svg", "abm+svg", "bm", "abm", "bcq", "bear",
              "crr", "iql", "td3+bc"]
CHOOSING = ["mpo", "abm", "iql"]  # with act_candidates, too
LEARNERS = {**{name: [f"--algorithm={name}"] for name in ALGORITHMS},
            **{f"{name}-of-20": [f"--algorithm={name}", "--act_candidates=20"] for name in CHOOSING}}
# The default acting rule; all others use the mean.
ACTING = dict.fromkeys(("bcq", "bear", *(f"{name}-of-20" for name in CHOOSING)), "argmax")


def command(*arguments, cwd=None, status=0):
    """Runs `hindcast policy`. Returns its standard output, or its standard error if it must fail."""
    done = subprocess.run([BINARIES["hindcast"], "policy", *map(str, arguments)], capture_output=True, text=True,
                          timeout=100, cwd=cwd)
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


# ---- running a policy with both implementations ----

def act(policy, inputs, folder, *flags):
    """The outputs of `hindcast policy act`."""
    safetensors.numpy.save_file(inputs, folder / "in.safetensors")
    command("act", policy, f"--inputs={folder}/in.safetensors", f"--to={folder}/out.safetensors", *flags)
    return safetensors.numpy.load_file(folder / "out.safetensors")


def load(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(path)


def feeds(session, rng, N, scale=1.0):
    """Random inputs of N rows for all inputs of the model."""
    made = {}
    for wanted in session.get_inputs():
        assert wanted.shape[0] == "batch"
        shape = (N, *wanted.shape[1:])
        if wanted.name == "task":
            assert wanted.type == "tensor(int64)"
            made["task"] = rng.integers(0, len(session.get_modelmeta().custom_metadata_map["tasks"].split(",")), N)
        else:
            assert wanted.type == "tensor(float)"
            made[wanted.name] = (rng.standard_normal(shape) * (scale if wanted.name == "observation" else 1)
                                 ).astype(np.float32)
    return made


def compare(policy, session, folder, *flags):
    """Compares the outputs of onnxruntime with ours and returns onnxruntime's actions.

    Uses one row, an odd number of rows, more rows than policy_act processes at once, and extreme observations.
    """
    rng = np.random.default_rng(3)
    notes = session.get_modelmeta().custom_metadata_map
    units = {"action": 1}  # differences of physical actions are relative to the range of the limits
    if "action_min" in notes:
        low, high = (np.array(notes[key].split(","), float) for key in ("action_min", "action_max"))
        units["action_physical"] = np.maximum(1, (high - low) / 2)
    worst, actions = 0, []
    for N, scale in ((1, 1), (7, 1), (7, 0), (7, 1e-6), (7, 1e3), (7, 1e6), (131, 2)):
        inputs = feeds(session, rng, N, scale)
        ours = act(policy, inputs, folder, *flags)
        theirs = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))
        assert theirs.keys() == ours.keys()
        for name in ours:
            assert theirs[name].shape == ours[name].shape and theirs[name].dtype == np.float32
            assert np.isfinite(theirs[name]).all()
            # Next to observations of 1e6 the action is lost in float32, so the critic cannot rank candidates.
            if scale < 1e6 or "candidates" not in notes:
                worst = max(worst, (np.abs(theirs[name] - ours[name]) / units[name]).max())
        assert np.abs(theirs["action"]).max() <= 1
        actions.append(theirs["action"])
    print(f"worst difference {worst:.1e}")
    assert worst < TOLERANCE
    assert np.concatenate(actions).std(0).min() > 1e-4  # the actions do vary
    return actions


# ---- all acting rules ----

RULES = [("gaussian", "mean"), ("gaussian", "sample"), ("argmax", "argmax"), ("argmax", "mean"),
         ("perturbed_argmax", "argmax"), ("perturbed_argmax", "mean")]
SIZES = {"odd": {}, "normalized": {"normalized": True},
         "one": {"slices": (1,), "A": 1, "widths": (2,), "candidates": 1},
         "deep": {"slices": (64,), "A": 17, "widths": (40, 7, 64, 31, 16), "candidates": 100}}


@pytest.mark.parametrize("acting, rule", RULES)
@pytest.mark.parametrize("size", SIZES)
def test_the_same_actions(tmp_path, size, acting, rule):
    policy = tmp_path / "policy.safetensors"
    signature = policies.make_package(policy, acting, **SIZES[size])
    said = command("export", policy, f"--onnx={tmp_path}/p.onnx", f"--acting={rule}")
    assert f"{tmp_path}/p.onnx: abm+mpo, learner step 7, {rule}" in said
    session = load(tmp_path / "p.onnx")
    outputs = {output.name: output.shape for output in session.get_outputs()}
    A = len(signature["action"]["min"])
    assert outputs == {"action": ["batch", A], "action_physical": ["batch", A]}
    compare(policy, session, tmp_path, f"--acting={rule}")
    noise = [wanted.shape for wanted in session.get_inputs() if wanted.name == "noise"]
    candidates = SIZES[size].get("candidates", 9)
    assert noise == {"mean": [], "sample": [["batch", A]], "argmax": [["batch", candidates, A]]}[rule]


@pytest.mark.parametrize("acting, rule", RULES)
def test_several_tasks(tmp_path, acting, rule):
    """The task as an input, and fixed at export by name or number."""
    policy, tasks = tmp_path / "policy.safetensors", ("stand", "walk", "run")
    policies.make_package(policy, acting, tasks=tasks)
    command("export", policy, f"--onnx={tmp_path}/all.onnx", f"--acting={rule}")
    every = load(tmp_path / "all.onnx")
    compare(policy, every, tmp_path, f"--acting={rule}")
    rng, taken = np.random.default_rng(1), []
    inputs = feeds(every, rng, 20)
    for number, name in enumerate(tasks):
        flag = f"--task={name if number else 0}"
        command("export", f"--onnx={tmp_path}/one.onnx", f"--acting={rule}", flag, policy)
        one = load(tmp_path / "one.onnx")
        assert one.get_modelmeta().custom_metadata_map["task"] == name
        compare(policy, one, tmp_path, f"--acting={rule}", flag)
        alone = {key: value for key, value in inputs.items() if key != "task"}
        taken.append(one.run(["action"], alone)[0])
        both = every.run(["action"], {**alone, "task": np.full(20, number)})[0]
        assert np.abs(taken[-1] - both).max() < TOLERANCE
    assert np.abs(taken[0] - taken[1]).max() > 0.01 and np.abs(taken[1] - taken[2]).max() > 0.01


def test_metadata_describes_inputs_and_outputs(tmp_path):
    policy = tmp_path / "policy.safetensors"
    signature = policies.make_package(policy, "argmax", tasks=("stand", "run"))
    command("export", policy, f"--onnx={tmp_path}/p.onnx")  # with the default acting rule
    session = load(tmp_path / "p.onnx")
    notes = session.get_modelmeta().custom_metadata_map
    version = subprocess.run([BINARIES["hindcast"], "--version"], capture_output=True, text=True).stdout.split()[1]
    limits = {key: [float(x) for x in notes.pop(key).split(",")] for key in ("action_min", "action_max")}
    assert limits == {"action_min": pytest.approx(signature["action"]["min"]),
                      "action_max": pytest.approx(signature["action"]["max"])}
    assert json.loads(notes.pop("signature")) == signature
    assert notes == {"hindcast_version": version, "algorithm": "abm+mpo", "learner_step": "7", "acting": "argmax",
                     "candidates": "9", "observation": "part_0:0:5,part_1:5:1,part_2:6:3", "tasks": "stand,run",
                     "control_period_s": "0.025000000000000001"}
    assert session.get_modelmeta().producer_name == "hindcast"
    model = onnx.load(tmp_path / "p.onnx")
    values = [*model.graph.input, *model.graph.output]
    names = ("observation", "task", "noise", "action", "action_physical")
    assert {value.name: bool(value.doc_string) for value in values} == dict.fromkeys(names, True)
    arrays, _ = policies.load(policy)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert all(np.array_equal(weights[name], array) for name, array in arrays.items())


def test_without_a_signature_there_are_no_physical_actions(tmp_path):
    policy = tmp_path / "policy.safetensors"
    policies.make_package(policy, "gaussian", signature=False, tasks=("a", "b"))
    command("export", policy, f"--onnx={tmp_path}/p.onnx", "--task=1")
    session = load(tmp_path / "p.onnx")
    assert [output.name for output in session.get_outputs()] == ["action"]
    assert "observation" not in session.get_modelmeta().custom_metadata_map
    compare(policy, session, tmp_path, "--task=1")
    assert "9 observations, 3 actions, 2 tasks" in command("inspect", policy)


# ---- real learners ----

@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """{name in LEARNERS: path of the last package} of learners that took a few steps on logs with two tasks."""
    workspace = Workspace()
    wire = stubs.make(tmp_path_factory.mktemp("stubs"))
    folder = tmp_path_factory.mktemp("learned")
    try:
        signature = {**logs.SIGNATURE, "rewards": ["run", "walk"],
                     "action": {"min": [-2.0, -1, -1, -1, -1, -1], "max": [2.0, 3, 1, 1, 1, 1]}}
        logs.write_dataset(workspace.folder / "logs", [[logs.episode(n % 3, 40, K=2) for n in range(12)]], signature)
        workspace.configure(
            experiment={"name": "test", "replay": [f"unix:{workspace.run_dir}/replay.sock"]},
            restorer={"folder": str(workspace.folder / "logs"), "mode": "once"},
            learner={"widths": [33, 20], "batch_snippets": 8, "snippet_transitions": 4, "samples": 5, "lr": 2e-3,
                     "steps": 40, "publish_every": 40, "target_period": 10, "linger_seconds": 10})
        workspace.serve("replay_server")
        workspace.start("restorer").succeed()
        for name, flags in LEARNERS.items():
            run_dir = workspace.folder / name
            learner = workspace.start("learner", f"--run_dir={run_dir}", *flags, label=name)
            wait_until(lambda: (run_dir / "parameters.sock").exists(), f"{name}'s learner", alive=learner)
            with grpc.insecure_channel(f"unix:{run_dir}/parameters.sock") as channel:
                client = wire.parameters_grpc.ParametersStub(channel)
                for response in client.Watch(wire.parameters.ParametersRequest(), timeout=60, wait_for_ready=True):
                    if response.modified:
                        (folder / f"{name}.safetensors").write_bytes(response.package)
                assert response.finished
            learner.succeed()
            # Without an evaluator the learner writes its last policy itself.
            package = (folder / f"{name}.safetensors").read_bytes()
            assert (run_dir / "policy_learner.safetensors").read_bytes() == package
    except BaseException:
        for name, text in workspace.outputs():
            print(f"---- {name}\n{text}")
        raise
    finally:
        workspace.close()
    return {name: folder / f"{name}.safetensors" for name in LEARNERS}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_algorithm(learned, tmp_path, name):
    """Every acting rule that the algorithm's policies support."""
    policy, taken = learned[name], {}
    algorithm = name.removesuffix("-of-20")
    page = command("inspect", policy)
    assert f"{algorithm}, learner step 40" in page and "position 0..7, velocity 8..16" in page
    assert "limits -2..2, -1..3, -1..1" in page and "run, walk" in page and "0.01 s" in page
    for rule in ("mean", "argmax" if name in ACTING else "sample"):
        command("export", policy, f"--onnx={tmp_path}/{rule}.onnx", f"--acting={rule}")
        session = load(tmp_path / f"{rule}.onnx")
        assert session.get_modelmeta().custom_metadata_map["algorithm"] == algorithm
        taken[rule] = compare(policy, session, tmp_path, f"--acting={rule}")
    first, second = taken.values()
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(first, second))
    wrong = "sample" if name in ACTING else "argmax"
    assert f'"{wrong}": expected mean or' in command("export", policy, f"--onnx={tmp_path}/{wrong}.onnx",
                                                     f"--acting={wrong}", status=1)
    command("export", policy, "--onnx=default.onnx", cwd=tmp_path)
    exported = load(tmp_path / "default.onnx").get_modelmeta().custom_metadata_map["acting"]
    assert exported == ACTING.get(name, "mean")


def documented(word):
    """The Python code block of docs/policies.md that contains this word."""
    text = (ROOT / "docs" / "policies.md").read_text()
    return next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if word in block)


def test_the_documented_onnxruntime_code(tmp_path, capsys):
    policy = tmp_path / "policy.safetensors"
    signature = policies.make_package(policy, "gaussian", slices=(8, 9))
    command("export", policy, f"--onnx={tmp_path}/p.onnx")
    scope = {}
    exec(documented("InferenceSession").replace("cheetah-run.onnx", f"{tmp_path}/p.onnx"), scope)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["part_0", "part_1"]
    low, high = (np.array(signature["action"][side]) for side in ("min", "max"))
    assert scope["physical"] == pytest.approx(low + (scope["action"] + 1) / 2 * (high - low), abs=TOLERANCE)


def test_the_documented_numpy_code_gives_the_same_actions(learned):
    """With the policy of a real learner."""
    folder = learned["abm+mpo"].parent
    scope = {}
    exec(documented("def act").replace("cheetah-run.safetensors", str(learned["abm+mpo"])), scope)
    rng = np.random.default_rng(2)
    inputs = {"observation": rng.standard_normal((9, 17)).astype(np.float32), "task": np.zeros(9, np.int64)}
    ours = act(learned["abm+mpo"], inputs, folder)
    states = np.concatenate([inputs["observation"], np.eye(2, dtype=np.float32)[inputs["task"]]], 1)
    for state, action in zip(states, ours["action"]):
        assert np.abs(scope["act"](state) - action).max() < TOLERANCE


# ---- runs, versions, copies ----

@pytest.fixture
def run(tmp_path):
    """A run folder with a best and a last policy, as the evaluator writes it, and the experiment file."""
    folder = tmp_path / "runs" / "stroll"
    folder.mkdir(parents=True)
    for name, returns, step in (("policy", 31.5, 7), ("policy_last", 12.25, 90)):
        policies.make_package(folder / f"{name}.safetensors", "gaussian")
        arrays, notes = policies.load(folder / f"{name}.safetensors")
        policies.save(folder / f"{name}.safetensors", arrays,
                      {**notes, "learner_step": str(step), "evaluated/return_mean": str(returns)})
    (folder / "evaluation.json").write_text(json.dumps({
        "learner_step": 7, "return_mean": 33.75, "episodes": 50,
        "last": {"learner_step": 90, "return_mean": 11.5, "episodes": 50}}))
    (tmp_path / "stroll.yaml").write_text(f"experiment:\n  name: stroll\n  run_dir: {folder}\nlearner:\n  steps: 9\n")
    return folder


def test_a_run_by_folder_and_by_experiment(run, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    for source in (run, f"{run}/", tmp_path / "stroll.yaml", run / "policy.safetensors"):
        page = command("inspect", source)
        assert "learner step 7\n" in page and "31.50, as evaluated" in page
        assert ("33.75, mean of 50 fresh episodes" in page) == (source != run / "policy.safetensors")
        command("export", source, "--onnx", "--safetensors", cwd=there)
        name = "policy" if source == run / "policy.safetensors" else "stroll"
        assert sorted(path.name for path in there.iterdir()) == [f"{name}.onnx", f"{name}.safetensors"]
        assert (there / f"{name}.safetensors").read_bytes() == (run / "policy.safetensors").read_bytes()
        notes = load(there / f"{name}.onnx").get_modelmeta().custom_metadata_map
        assert notes["evaluated_return"] == "31.5"
        for path in there.iterdir():
            path.unlink()
    last = command("inspect", "--version=last", run)
    assert "learner step 90\n" in last and "12.25, as evaluated" in last and "11.50, mean of 50" in last
    command("export", "--version=last", f"--safetensors={there}/last.safetensors", run)
    assert (there / "last.safetensors").read_bytes() == (run / "policy_last.safetensors").read_bytes()


# ---- invalid input ----

def refuse(folder, *arguments, status=1):
    """Checks that the command fails and leaves the folder unchanged. Returns the error text."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = command(*arguments, cwd=folder, status=status)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return said


def test_invalid_policy_files_are_refused(run, tmp_path):
    whole = (run / "policy.safetensors").read_bytes()
    arrays, notes = policies.load(run / "policy.safetensors")
    bad = tmp_path / "bad.safetensors"
    export = ("export", "--onnx=x.onnx", "--safetensors=x.safetensors")
    damages = [whole[:n] for n in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1)]
    damages += [b"no policy at all, only some words", whole + b"\0"]
    for damage in damages:
        bad.write_bytes(damage)
        assert str(bad) in refuse(tmp_path, *export, bad)
    for change, said in [
            ({"format": "hindcast-checkpoint-1"}, "format"), ({"acting": "dice"}, "acting 'dice'"),
            ({"observation": "8"}, "policy/layers/0/weight"), ({"signature": "{"}, "metadata signature"),
            ({"signature": json.dumps(policies.signature_of((9,), 4, ["run"]))}, "4 actions"),
            ({"widths": "33,x"}, "widths"), ({"acting": "argmax", "candidates": "5"}, "critic/layers/0/weight")]:
        policies.save(bad, arrays, {**notes, **change})
        text = refuse(tmp_path, *export, bad)
        assert str(bad) in text and said in text
    arrays["policy/mean/bias"] = arrays["policy/mean/bias"] * np.nan
    policies.save(bad, arrays, notes)
    assert "policy/mean/bias: element 0 is not finite" in refuse(tmp_path, *export, bad)


def test_a_run_without_an_evaluator(run, tmp_path):
    (run / "policy.safetensors").unlink()
    (run / "policy_last.safetensors").rename(run / "policy_learner.safetensors")
    for flags in ([], ["--version=last"]):
        assert "policy_learner.safetensors" in command("inspect", run, *flags)
    command("export", run, "--onnx", cwd=tmp_path)
    assert load(tmp_path / "stroll.onnx").get_modelmeta().custom_metadata_map["learner_step"] == "90"
    assert "no policy.safetensors" in refuse(tmp_path, "inspect", run, "--version=best")


def test_a_missing_policy_is_reported(run, tmp_path):
    empty, seeds = tmp_path / "empty", tmp_path / "seeds"
    empty.mkdir()
    shutil.copytree(run, seeds / "seed-4")
    assert "no policy.safetensors" in refuse(tmp_path, "export", empty, "--onnx")
    assert "no policy_last.safetensors" in refuse(tmp_path, "export", empty, "--onnx", "--version=last")
    assert f"{seeds}/seed-4/policy.safetensors" in refuse(tmp_path, "export", seeds, "--onnx")
    assert "nowhere: expected a run folder" in refuse(tmp_path, "inspect", "nowhere")
    (tmp_path / "broken.yaml").write_text("experiment:\n  nmae: x\n")
    assert "broken.yaml:2" in refuse(tmp_path, "inspect", "broken.yaml")


def test_invalid_arguments_are_refused(run, tmp_path):
    policy = run / "policy.safetensors"
    for arguments, said, status in [
            (("export", run), "expected --onnx, --safetensors or both", 2),
            (("export", "--onnx"), "usage", 2),
            (("export", run, "--onyx"), '"--onyx": no such flag', 2),
            (("export", run, "--onnx="), '"--onnx="', 2),
            (("export", run, run, "--onnx"), "expected one RUN or FILE", 2),
            (("export", run, "--safetensors=x", "--acting=mean"), "concern --onnx alone", 2),
            (("inspect", run, "--onnx"), "no such flag", 2),
            (("sell", run), "usage", 2),
            (("act", run, "--to=x"), "expected --inputs=IN and --to=OUT", 2),
            (("export", run, "--onnx", "--acting=wild"), '"wild": expected mean or sample', 1),
            (("export", run, "--onnx", "--task=fly"), "--task=fly: expected 0..0, run", 1),
            (("export", run, "--onnx", "--task=1"), "--task=1: expected 0..0, run", 1),
            (("export", run, "--onnx", "--version=worst"), "expected best or last", 1),
            (("export", policy, "--onnx", "--version=last"), "is one policy, not a run", 1),
            (("export", policy, f"--onnx={policy}"), "is the policy itself", 1),
            (("export", run, f"--safetensors={policy}"), "is the policy itself", 1),
            (("export", policy, "--safetensors"), "is the policy itself", 1),
            (("act", run, f"--inputs={policy}", f"--to={policy}"), "is the policy itself", 1),
            (("export", run, "--onnx=no/such/folder/x.onnx"), "no/such/folder/x.onnx", 1)]:
        text = refuse(run if arguments[1:] == (policy, "--safetensors") else tmp_path, *arguments, status=status)
        assert said in text, (arguments, text)
    assert command("--help").startswith("usage: hindcast policy inspect")


def test_act_refuses_invalid_inputs(tmp_path):
    policy, given = tmp_path / "policy.safetensors", tmp_path / "in.safetensors"
    policies.make_package(policy, "argmax", tasks=("a", "b"))
    ok = {"observation": np.zeros((2, 9), np.float32), "noise": np.zeros((2, 9, 3), np.float32),
          "task": np.array([0, 1])}
    assert act(policy, ok, tmp_path)["action"].shape == (2, 3)
    for change, said in [
            ({"observation": None}, "observation is missing"),
            ({"observation": np.zeros((2, 8), np.float32)}, "observation: expected shape (N, 9)"),
            ({"observation": np.zeros((0, 9), np.float32)}, "observation: expected shape (N, 9)"),
            ({"observation": np.zeros((2, 9))}, "observation: F64"),
            ({"observation": np.full((2, 9), np.inf, np.float32)}, "observation: element 0 is not finite"),
            ({"noise": None}, "noise is missing"), ({"noise": ok["noise"][:, :8].copy()}, "noise: dimension 1 is 8"),
            ({"task": None}, "task is missing"), ({"task": np.array([0, 2])}, "task: row 1: 2: expected 0..1"),
            ({"task": np.array([0])}, "task: dimension 0 is 1"), ({"noises": ok["noise"]}, "tensor noises")]:
        safetensors.numpy.save_file({name: array for name, array in {**ok, **change}.items() if array is not None},
                                    given)
        text = refuse(tmp_path, "act", policy, f"--inputs={given}", "--to=new.safetensors")
        assert str(given) in text and said in text, text
    for flag in ("--acting=mean", "--task=a"):
        safetensors.numpy.save_file(ok, given)
        assert "expected observation" in refuse(tmp_path, "act", policy, flag, f"--inputs={given}", "--to=x")
