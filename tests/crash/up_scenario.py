"""Kills `hindcast up` repeatedly.

Its processes must end with it, and running the same command again must bring the run to the same result.
"""

import json
import math

import safetensors.numpy

import logs
from scenario import same, wait_until

LEAST_KILLS = 10
STEPS = 2500
LIMIT_S = 240
ROLES = ("replay_server", "restorer", "learner", "evaluator")
EPISODES, T = 40, 60


def configure(workspace):
    episodes = [logs.episode(number, T) for number in range(EPISODES)]
    for episode in episodes:
        episode["observations"][:, 0] %= 7
    logs.write_dataset(workspace.folder / "logs", [episodes[:25], episodes[25:]])
    workspace.configure(
        experiment={"name": "crash", "environment": "cheetah-run", "seed": 4},
        up={"max_crashes": 1000}, replay_server={"map_bytes": 64 << 20},
        restorer={"folder": str(workspace.folder / "logs")},
        learner={"widths": [32, 32], "batch_snippets": 32, "snippet_transitions": 6, "samples": 10, "steps": STEPS,
                 "threads": 1, "target_period": 20, "publish_every": 20, "report_every": 20,
                 "checkpoint_every_seconds": 0, "checkpoint_every_steps": 50, "keep_checkpoints": 2},
        evaluator={"window_episodes": 2, "episodes": 2, "threads": 1, "min_interval_s": 0})


def parameters(run_dir):
    path = run_dir / "checkpoints" / f"step-{STEPS:08}.safetensors"
    return {name: array.tobytes() for name, array in safetensors.numpy.load_file(path).items()}


def kill_a_process_of_up(scenario, workspace, roles=ROLES):
    role = scenario.random.choice(roles)
    status = workspace.status(role)
    if status is not None and status["pid"] in workspace.living():
        scenario.kill_pid(status["pid"], f"{role} under up")


def run_to_its_end(scenario, workspace):
    """Repeats the same command until it succeeds."""
    random = scenario.random
    kills_left = random.randint(5, 9)
    flag = f"--evaluator.window_episodes={random.choice((2, 20))}"
    while kills_left > 0:
        kills_left -= 1
        up = workspace.up(flag)
        for _ in range(random.randrange(3)):
            scenario.some_time(2)
            kill_a_process_of_up(scenario, workspace)
        scenario.some_time(2.5)
        if up.ended() is not None:
            break
        scenario.kill(up, "hindcast up")
        wait_until(lambda: workspace.living() == [], "the processes of a killed `up` to end", 15)
    up = workspace.up(flag)
    # After the last checkpoint the evaluator still has to receive and evaluate the last version.
    last = workspace.run_dir / "checkpoints" / f"step-{STEPS:08}.safetensors"
    wait_until(lambda: last.exists() or up.ended() is not None, "the last checkpoint", LIMIT_S)
    for _ in range(random.randrange(3)):
        scenario.some_time(0.6)
        kill_a_process_of_up(scenario, workspace, ("learner", "evaluator", "evaluator"))
    up.succeed(LIMIT_S)
    same(workspace.living(), [], "processes left")


def check_run(workspace, expected):
    found = parameters(workspace.run_dir)
    same([name for name in expected if found.get(name) != expected[name]], [], "tensors that differ")
    steps = [line["step"] for line in workspace.json_lines("learner.jsonl")]
    same(steps, list(range(20, STEPS + 1, 20)), "steps in learner.jsonl")
    lines = workspace.json_lines("evaluator.jsonl")
    versions = [line["version"] for line in lines]
    same(versions, sorted(set(versions)), "versions evaluated")
    report = workspace.json("evaluation.json")
    same(report["last"]["learner_step"], STEPS, "last step reported")
    same(lines[-1]["learner_step"], STEPS, "step evaluated last")
    summary = json.loads((workspace.run_dir / "summary.json").read_text())
    same(summary["learner_steps"], STEPS, "steps in the summary")
    assert math.isfinite(summary["policy_return_mean"]) and math.isfinite(summary["last_policy_return_mean"])
    left = [path.name for path in workspace.run_dir.rglob("*.tmp*")]
    same(left, [], "temporary files left")


def up(scenario):
    workspace = scenario.workspace()
    configure(workspace)
    workspace.up("--up.evaluators=0").succeed(LIMIT_S)
    expected = parameters(workspace.run_dir)
    assert len(expected) > 50
    scenario.drop(workspace)
    while scenario.goes_on(scenario.kills["hindcast up"], LEAST_KILLS):
        workspace = scenario.workspace()
        configure(workspace)
        run_to_its_end(scenario, workspace)
        check_run(workspace, expected)
        scenario.checks["runs equal bit for bit"] += 1
        scenario.drop(workspace)
