"""How to observe a learner: TensorBoard points, the progress bar, the profile, and rerunning a failed step."""

import json
import re
import subprocess

import h5py
import numpy as np
import pytest
import safetensors.numpy

import tensorboard_points
from processes import BINARIES, wait_until
from terminal import Screen, draws
from test_metrics import WORK, running  # noqa: F401 (a fixture)
from test_learner import further, last_step, logged, sealed  # noqa: F401 (fixtures)


def lines(run_dir):
    path = run_dir / "learner.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def same_points(points, reports, name, pick):
    """The TensorBoard points of `name` equal those of the lines, up to rounding to float32 and to seven digits."""
    assert [step for step, _ in points[name]] == [report["step"] for report in reports], name
    np.testing.assert_allclose([value for _, value in points[name]], [pick(report) for report in reports], rtol=1e-6,
                               err_msg=name)


def test_points_match_the_lines_even_after_kills(sealed):
    folder = sealed.run_dir / "tensorboard" / "learner"
    for _ in range(2):
        learner = sealed.start("learner", "--steps=0")
        wait_until(further(sealed.run_dir), "60 more steps", alive=learner)
        learner.kill()
    # Readers continue with the next file after a truncated record.
    newest = max(folder.iterdir())
    newest.write_bytes(newest.read_bytes() + b"\x40\0\0\0\0\0\0\0\1\2")
    end = last_step(sealed.run_dir) // 10 * 10 + 60
    sealed.start("learner", f"--steps={end}").succeed()
    reports, points = lines(sealed.run_dir), tensorboard_points.read(folder)
    assert [report["step"] for report in reports] == list(range(10, end + 1, 10))
    # The points of the last seconds before a kill may be missing, since they were still in memory.
    last_start = int(re.findall(r"resumed run=\S+ step=(\d+)", (sealed.folder / "learner.out").read_text())[-1])
    steps = [step for step, _ in points["critic_loss"]]
    assert steps == sorted(set(steps)) and set(range(last_start + 10, end + 1, 10)) <= set(steps)
    there = [report for report in reports if report["step"] in steps]
    for name in ("critic_loss", "eta", "accepted", "q_min", "grad_norm_policy"):
        same_points(points, there, name, lambda report: report[name])
    same_points(points, there, "kl_mean/01", lambda report: report["kl_mean"][1])
    assert len(list(folder.iterdir())) == 3

    # A new run in the same folder discards the points of the old one.
    for path in (sealed.run_dir / "checkpoints").iterdir():
        path.unlink()
    sealed.start("learner", "--steps=30").succeed()
    assert [step for step, _ in tensorboard_points.read(folder)["critic_loss"]] == [10, 20, 30]


def test_points_of_the_evaluator_match_its_lines(running):
    """Across a restart of the evaluator."""
    def evaluations(n):
        return lambda: len(running.json_lines("evaluator.jsonl")) >= n
    evaluator = running.processes[list(WORK).index("evaluator")]
    wait_until(evaluations(2), "two evaluations", alive=evaluator)
    evaluator.stop()
    before = len(running.json_lines("evaluator.jsonl"))
    evaluator = running.start("evaluator")
    wait_until(evaluations(before + 1), "one more", alive=evaluator)
    evaluator.stop()
    lines_there = running.json_lines("evaluator.jsonl")
    points = tensorboard_points.read(running.run_dir / "tensorboard" / "evaluator")
    steps = [line["learner_step"] for line in lines_there]
    for tag, pick in (("return_mean", lambda line: line["return_mean"]),
                      ("return_max/run", lambda line: line["tasks"][0]["max"]),
                      ("return_iqm/run", lambda line: line["tasks"][0]["iqm"]),
                      ("eval/mean_reward", lambda line: line["return_mean"]),
                      ("eval/mean_ep_length", lambda line: line["steps"] / line["tasks"][0]["n"]),
                      ("time/fps", lambda line: line["steps"] / line["seconds"]),
                      ("evaluation_seconds", lambda line: line["seconds"])):
        assert [step for step, _ in points[tag]] == steps
        np.testing.assert_allclose([value for _, value in points[tag]], [pick(line) for line in lines_there], rtol=1e-6)
    best = [value for _, value in points["best_return_mean"]]
    np.testing.assert_allclose(best, np.maximum.accumulate([line["return_mean"] for line in lines_there]), rtol=1e-6)


def test_phases_add_up_to_the_time_of_a_step(sealed):
    sealed.start("learner", "--steps=300", "--report_every=100").succeed()
    for line in lines(sealed.run_dir)[1:]:  # the first line includes the start of the process
        phases = line["phase_ms"]
        assert all(value >= 0 for value in phases.values())
        assert all(phases[name] > 0 for name in ("value", "evaluate", "prior", "improve", "reduce", "apply", "publish"))
        whole = 1e3 / line["steps_per_second"]
        assert 0.5 * whole < sum(phases.values()) < 1.02 * whole, (whole, phases)


def run_command(workspace, *flags):
    """Runs hindcast-learner with a flag that replaces learning. Returns (exit status, stdout, stderr)."""
    made = subprocess.run([BINARIES["learner"], f"--config={workspace.config}", *flags], capture_output=True, text=True,
                          timeout=120)
    return made.returncode, made.stdout, made.stderr


def everything(folder):
    """The contents of all files in a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def table(text):
    """{first word of a line: its numbers} of a profile."""
    return {line.split()[0]: [float(word.rstrip("%")) for word in line.split()[1:]]
            for line in text.splitlines()[3:] if line and line.split()[1:] and "steps/s" not in line}


def test_profile_reports_times_and_does_not_change_the_run(sealed):
    # Profiling a run that does not exist yet does not create it.
    status, text, errors = run_command(sealed, "--profile=40")
    assert (status, errors) == (0, ""), errors
    assert not (sealed.run_dir / "checkpoints").exists() and not (sealed.run_dir / "learner.jsonl").exists()
    assert "abm+mpo, 8 snippets of 4, 2 threads" in text and "40 steps from step 5 on" in text
    rows = table(text)
    assert {"wait", "load", "value", "evaluate", "prior", "improve", "idle", "reduce", "apply", "publish", "other",
            "step"} == rows.keys()
    parts = [values[0] for name, values in rows.items() if name != "step"]
    rounding = 0.0005 * (len(parts) + 1)  # each is printed in microseconds, and a step may take less than a hundred
    assert sum(parts) == pytest.approx(rows["step"][0], rel=0.02, abs=rounding)
    assert all(rows[name][2] > 0 for name in ("value", "evaluate", "prior", "improve", "step"))

    # Profiling a stopped run continues from its last step and leaves its files unchanged.
    sealed.start("learner", "--steps=60").succeed()
    before = everything(sealed.run_dir / "checkpoints") | everything(sealed.run_dir / "tensorboard")
    status, text, errors = run_command(sealed, "--profile=10")
    assert status == 0 and "from step 65 on" in text, errors
    assert everything(sealed.run_dir / "checkpoints") | everything(sealed.run_dir / "tensorboard") == before


def test_a_step_that_is_not_finite_is_saved_and_rerun(logged):
    """The rewards are finite but their sums are not, as a broken sensor may produce them."""
    for path in (logged.folder / "logs").glob("*.hdf5"):
        with h5py.File(path, "a") as file:
            for group in file.values():
                group["rewards"][...] = np.float32(3e38)
    logged.serve("replay_server")
    logged.start("restorer").succeed(30)
    learner = logged.start("learner", "--steps=50")
    assert learner.wait(30) == 2  # not to be restarted: the same batch would fail again
    said = learner.tail()
    assert re.search("learner step 1: grad_norm_critic is -?(inf|nan)", said)
    command = re.search(r"to see where: hindcast-learner (--rerun_step=\S+)", said)[1]
    batch, state = (logged.run_dir / f"failed-{what}-00000000.safetensors" for what in ("batch", "state"))
    assert command == f"--rerun_step={batch}" and state.exists()

    # The printed command needs no configuration and no server.
    made = subprocess.run([BINARIES["learner"], command], capture_output=True, text=True, timeout=60, cwd=logged.folder)
    assert (made.returncode, made.stderr) == (1, "")
    assert re.search("fails again: learner step 1: grad_norm_critic is -?(inf|nan)", made.stdout)
    first = re.search(r"first not finite: gradient (critic/\S+), element \d+", made.stdout)
    assert first, made.stdout
    assert re.search(r"batch +reward +3e\+38 +0 of", made.stdout)  # the value that causes the failure
    assert re.search(r"layer +critic/layers/0 +\S+ +0 of", made.stdout)
    assert re.search(r"norm +grad_norm_critic +0 +1 of 1", made.stdout)
    assert len(list(logged.folder.iterdir())) == len({"logs", "run", "experiment.yaml"}) + 3  # three outputs

    # With normal rewards in the same files the step is finite.
    arrays = safetensors.numpy.load_file(batch)
    arrays["rows"][..., -2] = 0.5
    safetensors.numpy.save_file(arrays, batch)
    status, text, errors = run_command(logged, command)
    assert (status, errors) == (0, "") and "all of it is finite here" in text
    # A single NaN is reported with its position.
    arrays["rows"][3, 0, 1] = np.nan
    safetensors.numpy.save_file(arrays, batch)
    status, text, _ = run_command(logged, command)
    assert status == 1 and "first not finite: batch observation, snippet 3, transition 0" in text
    # Other files and truncated ones are rejected.
    state.write_bytes(state.read_bytes()[:-4])
    status, _, errors = run_command(logged, command)
    assert status == 2 and str(state) in errors
    status, _, errors = run_command(logged, f"--rerun_step={state}")
    assert status == 2 and "expected a file failed-batch-" in errors


def test_the_progress_bar_on_a_terminal(sealed):
    """Log lines stay intact, and the bar below them shows the progress of learning."""
    screen = Screen("".join(draws(170, [BINARIES["learner"], f"--config={sealed.config}", "--steps=6000", "--linger_seconds=0"],
                                  sealed.folder)))
    bars = [bar for bar in screen.bars if bar.startswith("learner [")]
    learning = [bar for bar in bars if "steps/s" in bar]
    assert learning, screen.lines
    for word in ("step", "/6000", "%", "accepted", "std", "eta", "critic", "value", "wait"):
        assert any(word in bar for bar in learning), (word, learning)
    assert all(len(bar) < 170 for bar in bars)
    logged_lines = [line for line in screen.lines if " INFO " in line]
    assert len(logged_lines) >= 5
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ INFO learner \w+: ", line) for line in logged_lines), logged_lines
