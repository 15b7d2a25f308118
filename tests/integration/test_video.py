"""evaluator.video: the film of an episode and its contact sheet, read by Pillow."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageSequence

import logs
import policies
from processes import BINARIES, SLOW, wait_until

SIZE = (320, 240)


def evaluate(environment, policy, *flags, **more):
    return subprocess.run([BINARIES["evaluator"], f"--environment={environment}", f"--policy={policy}", "--episodes=2",
                           *flags], text=True, capture_output=True, timeout=180 * SLOW, env={**os.environ, **more})


def frames_of(path):
    """(frames, height, width, 3), and milliseconds of each."""
    with Image.open(path) as image:
        assert image.format == "GIF" and image.size == SIZE
        frames, durations = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB"), np.int16))
            durations.append(frame.info["duration"])
    return np.stack(frames), durations


@pytest.fixture(scope="module")
def cheetah(tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "policy.safetensors"
    policies.make_package(path, "gaussian", slices=(17,), A=6, signature=False)
    return path


def test_the_film_of_an_episode(cheetah, tmp_path):
    filmed = evaluate("cheetah-run", cheetah, f"--video={tmp_path / 'run.gif'}")
    assert filmed.returncode == 0, filmed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.gif", "run.png"]
    # 1001 states 10 ms apart, of which every fourth is shown.
    frames, durations = frames_of(tmp_path / "run.gif")
    assert len(frames) == 251 and set(durations) == {40}
    # Something is seen: many colours, not dark, and no frame like the one before (the camera follows the body).
    for frame in frames[::25]:
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 20 and frame.mean() > 30
    moved = [(np.abs(after - before) > 40).any(axis=2).mean() for before, after in zip(frames[:-1], frames[1:])]
    assert min(moved) > 0 and np.mean(moved) > 0.005

    with Image.open(tmp_path / "run.png") as image:
        assert image.format == "PNG" and image.size == (4 * SIZE[0], 3 * SIZE[1])
        sheet = np.asarray(image.convert("RGB"), np.int16)
    pictures = [sheet[240 * y:240 * (y + 1), 320 * x:320 * (x + 1)] for y in range(3) for x in range(4)]
    # The first picture is the first frame but for the dither, and all are of the film, in its order.
    nearest = [int(np.argmin([np.abs(frame - picture).mean() for frame in frames])) for picture in pictures]
    assert nearest[0] == 0 and nearest == sorted(set(nearest)) and nearest[-1] > 220, nearest
    assert np.abs(frames[0] - pictures[0]).mean() < 20

    # What is measured is not changed by it.
    plain = evaluate("cheetah-run", cheetah)
    assert json.loads(plain.stdout)["tasks"] == json.loads(filmed.stdout)["tasks"]


@pytest.mark.long
def test_each_task_has_its_film(tmp_path):
    tasks = ["reach", "bring_to_corner"]
    signature = subprocess.run([BINARIES["collector"], "--environment=sawyer-stack", "--act=random", "--episodes=1",
                                f"--run_dir={tmp_path / 'logs'}"], capture_output=True, timeout=60 * SLOW)
    assert signature.returncode == 0, signature.stderr
    made = json.loads((tmp_path / "logs" / "logs" / "metadata.json").read_text())["signature"] | {"rewards": tasks}
    arrays = policies.make(np.random.default_rng(1), 60, 5, (16,))
    policies.save(tmp_path / "policy.safetensors", arrays,
                  {**policies.notes(58, 5, (16,)), "tasks": "2", "signature": json.dumps(made)})
    filmed = evaluate("sawyer-stack", tmp_path / "policy.safetensors", f"--video={tmp_path / 'films.gif'}")
    assert filmed.returncode == 0, filmed.stderr
    for task in tasks:
        frames, durations = frames_of(tmp_path / f"films-{task}.gif")
        assert len(frames) == 201 and set(durations) == {50}
        green = (frames[0][..., 1] > 100) & (frames[0][..., 0] < 80) & (frames[0][..., 2] < 80)
        assert 20 < green.sum() < 4000  # the block
        assert (tmp_path / f"films-{task}.png").stat().st_size > 10000


@pytest.mark.long
def test_a_run_shows_its_newest_films(workspace):
    """evaluator.films_s: filmed while the run goes on, and offered by the evaluator's own page."""
    logs.write_dataset(workspace.folder / "logs", [[logs.episode(number, 40) for number in range(6)]])
    workspace.configure(
        experiment={"environment": "cheetah-run", "seed": 1}, replay_server={"map_bytes": 64 << 20},
        restorer={"folder": str(workspace.folder / "logs"), "actions": "clip"},
        learner={"steps": 1000000, "publish_every": 20, "report_every": 10, "batch_snippets": 8, "widths": [32, 32],
                 "threads": 1},
        evaluator={"window_episodes": 1, "episodes": 2, "min_interval_s": 0, "films_s": 1})
    up = workspace.up()
    film = workspace.run_dir / "films" / "run.gif"
    wait_until(film.exists, "a film", 120, alive=up)
    first = film.stat().st_mtime
    assert len(frames_of(film)[0]) == 251 and film.with_suffix(".png").exists()
    wait_until(lambda: film.stat().st_mtime > first, "a newer film", 120, alive=up)
    offered = wait_until(lambda: json.loads(workspace.page("evaluator", "/runs.json"))["runs"], "the run", alive=up)
    assert [made["task"] for made in offered[0]["films"]] == ["run"]
    up.signal(signal.SIGINT)
    assert up.wait(60) == 130


@pytest.mark.parametrize("video, said", [
    ("run.mp4", "run.mp4: expected a file name that ends in .gif"), ("/nowhere/run.gif", "/nowhere/run.gif")])
def test_what_cannot_be_written_is_refused(cheetah, tmp_path, video, said):
    refused = evaluate("cheetah-run", cheetah, f"--video={tmp_path / video}")
    assert refused.returncode == 1 and said in refused.stderr and refused.stdout == ""


def test_without_a_driver_it_is_said_what_to_install(cheetah, tmp_path):
    refused = evaluate("cheetah-run", cheetah, f"--video={tmp_path / 'run.gif'}",
                       __EGL_VENDOR_LIBRARY_DIRS=str(tmp_path), __EGL_VENDOR_LIBRARY_FILENAMES=str(tmp_path / "none"))
    assert refused.returncode == 1 and "libegl-mesa0 and libgl1-mesa-dri" in refused.stderr, refused.stderr
    assert not list(tmp_path.iterdir())


def test_a_film_needs_a_policy():
    refused = subprocess.run([BINARIES["evaluator"], "--environment=cheetah-run", "--video=x.gif"], text=True,
                             capture_output=True, timeout=60 * SLOW)
    assert refused.returncode == 2 and "evaluator.video: needs evaluator.policy" in refused.stderr
