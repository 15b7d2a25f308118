"""A learner killed again and again on a sealed table ends with the bits of one that never was."""

import safetensors.numpy

from story import same, wait_until
from test_learner import LEARNER, checkpoints, notes, reports, write_logs

STEPS = 1500
LEAST_KILLS = 30
LIMIT_S = 120


def start(workspace, run_dir):
    return workspace.start("learner", f"--run_dir={run_dir}", f"--steps={STEPS}", label=run_dir.name)


def parameters(run_dir):
    """{name: bytes} of the last checkpoint, everything that the run needs to go on among them."""
    return {name: array.tobytes() for name, array in
            safetensors.numpy.load_file(checkpoints(run_dir)[STEPS]).items()}


def disturbed(story, workspace, run_dir):
    """Kills at random moments; the server's too. The learner's progress is in its checkpoints."""
    random = story.random
    longest = random.choice((0.4, 0.7, 1))
    kills_left = random.randint(5, 15)
    versions = [0]
    learner = start(workspace, run_dir)
    while kills_left > 0:
        kills_left -= 1
        story.some_time(longest)
        if random.random() < 0.2:
            story.kill(workspace.server, "replay server")
            workspace.server = workspace.start("replay_server")
            continue
        if learner.ended() is not None:
            break
        story.kill(learner, "learner")
        number = run_dir / "learner.version"
        if number.exists():
            versions.append(int(number.read_text().split()[-1]))
            assert versions == sorted(versions), f"versions go back: {versions}"
        learner = start(workspace, run_dir)
    learner.succeed(LIMIT_S)
    assert not list(run_dir.glob("checkpoints/*.corrupt")), "a checkpoint was not whole"
    assert not list(run_dir.glob("failed-*")), "a step was not finite"


def learner(story):
    workspace = story.workspace()
    write_logs(workspace.folder / "logs")
    # Checkpoints often, so that many kills hit one being written.
    workspace.configure(experiment={"seed": 3, "replay": [f"unix:{workspace.run_dir}/replay.sock"]},
                        learner={**LEARNER, "checkpoint_every_steps": 7, "linger_seconds": 1},
                        restorer={"folder": str(workspace.folder / "logs")})
    workspace.server = workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    calm = workspace.folder / "calm"
    start(workspace, calm).succeed(LIMIT_S)
    expected = parameters(calm)
    assert len(expected) > 50
    runs = 0
    while story.goes_on(story.kills["learner"], LEAST_KILLS):
        runs += 1
        run_dir = workspace.folder / f"disturbed-{runs}"
        disturbed(story, workspace, run_dir)
        found = parameters(run_dir)
        same(sorted(found), sorted(expected), "names of tensors")
        same([name for name in found if found[name] != expected[name]], [], "tensors that differ")
        same(reports(run_dir), reports(calm), "learner.jsonl")
        same((notes(run_dir)["next_batch"], notes(run_dir)["finished"]), (str(STEPS), "true"), "notes")
        story.checks["runs equal bit for bit"] += 1
    wait_until(lambda: workspace.status("replay_server"), "the server to be there still")
