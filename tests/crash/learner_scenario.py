"""Kills a learner on a sealed table repeatedly: it must end with the same bits as one that was never killed."""

import safetensors.numpy

from scenario import same, wait_until
from test_learner import LEARNER, checkpoints, notes, reports, write_logs

STEPS = 1500
LEAST_KILLS = 30
LIMIT_S = 120


def start(workspace, run_dir):
    return workspace.start("learner", f"--run_dir={run_dir}", f"--steps={STEPS}", label=run_dir.name)


def parameters(run_dir):
    """{name: bytes} of the last checkpoint, which holds everything that the run needs to continue."""
    return {name: array.tobytes() for name, array in
            safetensors.numpy.load_file(checkpoints(run_dir)[STEPS]).items()}


def disturbed(scenario, workspace, run_dir):
    """Kills learner and replay server at random moments until the learner has taken all steps."""
    random = scenario.random
    longest = random.choice((0.4, 0.7, 1))
    kills_left = random.randint(5, 15)
    versions = [0]
    learner = start(workspace, run_dir)
    while kills_left > 0:
        kills_left -= 1
        scenario.some_time(longest)
        if random.random() < 0.2:
            scenario.kill(workspace.server, "replay server")
            workspace.server = workspace.start("replay_server")
            continue
        if learner.ended() is not None:
            break
        scenario.kill(learner, "learner")
        number = run_dir / "learner.version"
        words = number.read_text().split() if number.exists() else []
        if words:  # a learner that was killed before its first version leaves the file empty
            versions.append(int(words[-1]))
            assert versions == sorted(versions), f"versions decrease: {versions}"
        learner = start(workspace, run_dir)
    learner.succeed(LIMIT_S)
    assert not list(run_dir.glob("checkpoints/*.corrupt")), "a checkpoint was incomplete"
    assert not list(run_dir.glob("failed-*")), "a step was not finite"


def learner(scenario):
    workspace = scenario.workspace()
    write_logs(workspace.folder / "logs")
    # Frequent checkpoints, so that many kills happen while one is being written.
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
    while scenario.goes_on(scenario.kills["learner"], LEAST_KILLS):
        runs += 1
        run_dir = workspace.folder / f"disturbed-{runs}"
        disturbed(scenario, workspace, run_dir)
        found = parameters(run_dir)
        same(sorted(found), sorted(expected), "names of tensors")
        same([name for name in found if found[name] != expected[name]], [], "tensors that differ")
        same(reports(run_dir), reports(calm), "learner.jsonl")
        same((notes(run_dir)["next_batch"], notes(run_dir)["finished"]), (str(STEPS), "true"), "notes")
        scenario.checks["runs equal bit for bit"] += 1
    wait_until(lambda: workspace.status("replay_server"), "the replay server to be still running")
