"""An evaluator killed again and again: its lines stay and are not doubled, its best policy is whole, the report is made."""

import json

import grpc
import numpy as np

import logs
import policies
from story import same, wait_until

LEAST_KILLS = 20
LIMIT_S = 120
LEARNER = {"widths": [32, 32], "batch_snippets": 16, "snippet_transitions": 4, "samples": 4, "steps": 0, "threads": 1,
           "target_period": 20, "publish_every": 20, "report_every": 100, "linger_seconds": 60}
EVALUATOR = {"window_episodes": 2, "episodes": 4, "threads": 2, "min_interval_s": 0}


def configure(workspace):
    episodes = [logs.episode(number, 50) for number in range(10)]
    for episode in episodes:
        episode["observations"][:, 0] %= 7
    logs.write_dataset(workspace.folder / "logs", [episodes])
    workspace.configure(experiment={"environment": "cheetah-run", "seed": 4}, replay_server={"map_bytes": 64 << 20},
                        restorer={"folder": str(workspace.folder / "logs")}, learner=LEARNER, evaluator=EVALUATOR)


def check_lines(workspace, before):
    """Lines that were there stay as they were; of a run each version comes once, later ones after it."""
    lines = workspace.json_lines("evaluator.jsonl")
    assert lines[:len(before)] == before, "lines that were there are gone or changed"
    versions = [line["version"] for line in lines]
    same(versions, sorted(set(versions)), "versions evaluated")
    same(len({line["run_id"] for line in lines}), 1 if lines else 0, "runs")
    for line in lines:
        same(len(line["tasks"][0]["returns"]), EVALUATOR["window_episodes"], "returns of a line")
    return lines


def check_best(workspace, lines):
    """policy.safetensors is whole, and the best of all lines (it is written before its line)."""
    if not lines:
        return
    arrays, about = policies.load(workspace.run_dir / "policy.safetensors")
    assert np.isfinite(policies.mean_action(arrays, np.zeros((1, 17)))).all()
    best = float(about["evaluated/return_mean"])
    by_version = {line["version"]: line["return_mean"] for line in lines}
    version = int(about["evaluated/version"])
    assert best >= max(by_version.values()) - 1e-9, f"best {best}, lines {max(by_version.values())}"
    if version in by_version:
        assert abs(by_version[version] - best) < 1e-9, f"version {version}: {best}, its line {by_version[version]}"


def check_report(workspace, lines):
    report = workspace.json("evaluation.json")
    same(report["episodes"], EVALUATOR["episodes"], "episodes of the report")
    same(len(report["tasks"][0]["returns"]), EVALUATOR["episodes"], "returns of the report")
    _, about = policies.load(workspace.run_dir / "policy.safetensors")
    _, last = policies.load(workspace.run_dir / "policy_last.safetensors")
    same(str(report["version"]), about["evaluated/version"], "version reported")
    same(str(report["last"]["version"]), last["evaluated/version"], "last version reported")
    same(lines[-1]["version"], report["last"]["version"], "version evaluated last")
    assert not list(workspace.run_dir.glob("*.tmp*")), "something was left aside"


def kill_some(story, workspace, kills, longest_s):
    """The evaluator, so many times, each at a moment of its own; ends with a running one."""
    lines = workspace.json_lines("evaluator.jsonl")
    evaluator = workspace.start("evaluator")
    for _ in range(kills):
        story.some_time(longest_s)
        if evaluator.ended() is not None:
            same(evaluator.ended(), 0, "exit status of the evaluator")
            break
        story.kill(evaluator, "evaluator")
        lines = check_lines(workspace, lines)
        check_best(workspace, lines)
        evaluator = workspace.start("evaluator")
    return evaluator, lines


def one_run(story):
    random = story.random
    workspace = story.workspace()
    configure(workspace)
    server = workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    learner = workspace.serve("learner")
    evaluator, lines = kill_some(story, workspace, random.randint(4, 9), 2)
    wait_until(lambda: len(workspace.json_lines("evaluator.jsonl")) > len(lines), "an evaluation more", LIMIT_S,
               alive=evaluator)
    if random.random() < 0.5:  # the end comes while it is away
        story.kill(evaluator, "evaluator")

    messages = story.wire.parameters
    with grpc.insecure_channel(f"unix:{workspace.run_dir}/parameters.sock") as channel:
        client = story.wire.parameters_grpc.ParametersStub(channel)
        assert client.Finish(messages.FinishRequest(reason="the story's end", who="test"), timeout=10).accepted
    if evaluator.ended() is None:
        story.some_time(1)
        story.kill(evaluator, "evaluator")
    lines = check_lines(workspace, lines)
    evaluator, lines = kill_some(story, workspace, random.randint(2, 5), 2)
    if learner.ended() is not None:  # as `hindcast up` would, whose learner had left
        learner.succeed()
        learner = workspace.start("learner")
    evaluator.succeed(LIMIT_S)
    lines = check_lines(workspace, lines)
    check_best(workspace, lines)
    check_report(workspace, lines)
    report = (workspace.run_dir / "evaluation.json").read_bytes()
    if random.random() < 0.3:  # once more, with nobody there: the report is made again from what is kept
        learner.kill()
        workspace.start("evaluator").succeed(LIMIT_S)
        same(check_lines(workspace, lines), lines, "lines after one start more")
        check_report(workspace, lines)
        again = json.loads(report)
        same(workspace.json("evaluation.json")["return_mean"], again["return_mean"], "return reported again")
    story.checks["reports"] += 1
    story.checks["evaluations"] += len(lines)
    server.kill()
    story.drop(workspace)


def evaluator(story):
    while story.goes_on(story.kills["evaluator"], LEAST_KILLS):
        one_run(story)
