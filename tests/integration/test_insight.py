"""What a learner lets us see of itself: points for TensorBoard, the bar on a terminal, the profile, a replayed step."""

import json
import time

import numpy as np
import pytest

import tensorboard_points
from processes import wait_until
from test_learner import LEARNER, logged, reached, sealed  # noqa: F401 (fixtures)


def lines(run_dir):
    path = run_dir / "learner.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def same_points(points, reports, name, pick):
    """TensorBoard has of `name` what the lines have: one in float32, the other in seven digits."""
    assert [step for step, _ in points[name]] == [report["step"] for report in reports], name
    np.testing.assert_allclose([value for _, value in points[name]], [pick(report) for report in reports], rtol=3e-7,
                               err_msg=name)


def test_points_are_the_lines_also_after_kills(sealed):
    folder = sealed.run_dir / "tensorboard" / "learner"
    for kill_at in (60, 130):
        learner = sealed.start("learner", "--steps=200")
        wait_until(reached(sealed.run_dir, kill_at), f"step {kill_at}", alive=learner)
        learner.kill()
    # A record that was cut short: whoever reads goes on with the next file.
    newest = max(folder.iterdir())
    newest.write_bytes(newest.read_bytes() + b"\x40\0\0\0\0\0\0\0\1\2")
    sealed.start("learner", "--steps=200").succeed()
    reports, points = lines(sealed.run_dir), tensorboard_points.read(folder)
    assert [report["step"] for report in reports] == list(range(10, 201, 10))
    # Of what is before the last start, the newest seconds may have been in memory when the kill came.
    steps = [step for step, _ in points["critic_loss"]]
    assert steps == sorted(set(steps)) and steps[-5:] == [160, 170, 180, 190, 200]
    there = [report for report in reports if report["step"] in steps]
    for name in ("critic_loss", "eta", "accepted", "q_min", "grad_norm_policy"):
        same_points(points, there, name, lambda report: report[name])
    same_points(points, there, "kl_mean/01", lambda report: report["kl_mean"][1])
    assert len(list(folder.iterdir())) == 3

    # The same folder taken for another run: what was there is void.
    for path in (sealed.run_dir / "checkpoints").iterdir():
        path.unlink()
    sealed.start("learner", "--steps=30").succeed()
    assert [step for step, _ in tensorboard_points.read(folder)["critic_loss"]] == [10, 20, 30]


def test_phases_are_all_of_the_time(sealed):
    sealed.start("learner", "--steps=300", "--report_every=100").succeed()
    for line in lines(sealed.run_dir)[1:]:  # the first has the start in it
        phases = line["phase_ms"]
        assert all(value >= 0 for value in phases.values())
        assert all(phases[name] > 0 for name in ("value", "evaluate", "prior", "improve", "reduce", "apply", "publish"))
        whole = 1e3 / line["steps_per_second"]
        assert 0.5 * whole < sum(phases.values()) < 1.02 * whole, (whole, phases)
