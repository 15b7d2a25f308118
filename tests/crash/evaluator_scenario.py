"""Kills an evaluator repeatedly.

Its lines must stay and must not be duplicated, its best policy must be complete, and the report must be written.
"""

import json

import grpc
import numpy as np

import logs
import policies
from scenario import same, wait_until

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
    """Earlier lines are unchanged, and each version of the run occurs once, in increasing order."""
    lines = workspace.json_lines("evaluator.jsonl")
    assert lines[:len(before)] == before, "earlier lines are missing or changed"
    versions = [line["version"] for line in lines]
    same(versions, sorted(set(versions)), "versions evaluated")
    same(len({line["run_id"] for line in lines}), 1 if lines else 0, "runs")
    for line in lines:
        same(len(line["tasks"][0]["returns"]), EVALUATOR["window_episodes"], "returns of a line")
    return lines


def check_best(workspace, lines):
    """policy.safetensors is complete and at least as good as every line; it is written before its line."""
    if not lines:
        return
    arrays, about = policies.load(workspace.run_dir / "policy.safetensors")
    assert np.isfinite(policies.mean_action(arrays, np.zeros((1, 17)))).all()
    best = float(about["evaluated/return_mean"])
    by_version = {line["version"]: line["return_mean"] for line in lines}
    version = int(about["evaluated/version"])
    assert best >= max(by_version.values()) - 1e-9, f"best {best}, lines {max(by_version.values())}"
    if version in by_version:
        assert abs(by_version[version] - best) < 1e-9, f"version {version}: {best}, its line says {by_version[version]}"


def check_report(workspace, lines):
    report = workspace.json("evaluation.json")
    same(report["episodes"], EVALUATOR["episodes"], "episodes of the report")
    same(len(report["tasks"][0]["returns"]), EVALUATOR["episodes"], "returns of the report")
    _, about = policies.load(workspace.run_dir / "policy.safetensors")
    _, last = policies.load(workspace.run_dir / "policy_last.safetensors")
    same(str(report["version"]), about["evaluated/version"], "version reported")
    same(str(report["last"]["version"]), last["evaluated/version"], "last version reported")
    same(lines[-1]["version"], report["last"]["version"], "version evaluated last")
    assert not list(workspace.run_dir.glob("*.tmp*")), "temporary files remain"


def kill_some(scenario, workspace, kills, longest_s):
    """Kills the evaluator up to `kills` times at random moments. Returns a running evaluator and the lines so far."""
    lines = workspace.json_lines("evaluator.jsonl")
    evaluator = workspace.start("evaluator")
    for _ in range(kills):
        scenario.some_time(longest_s)
        if evaluator.ended() is not None:
            same(evaluator.ended(), 0, "exit status of the evaluator")
            break
        scenario.kill(evaluator, "evaluator")
        lines = check_lines(workspace, lines)
        check_best(workspace, lines)
        evaluator = workspace.start("evaluator")
    return evaluator, lines


def one_run(scenario):
    random = scenario.random
    workspace = scenario.workspace()
    configure(workspace)
    server = workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    learner = workspace.serve("learner")
    evaluator, lines = kill_some(scenario, workspace, random.randint(4, 9), 2)
    wait_until(lambda: len(workspace.json_lines("evaluator.jsonl")) > len(lines), "another evaluation", LIMIT_S,
               alive=evaluator)
    if random.random() < 0.5:  # the run ends while no evaluator is running
        scenario.kill(evaluator, "evaluator")

    messages = scenario.wire.parameters
    with grpc.insecure_channel(f"unix:{workspace.run_dir}/parameters.sock") as channel:
        client = scenario.wire.parameters_grpc.ParametersStub(channel)
        assert client.Finish(messages.FinishRequest(reason="end of the scenario", who="test"), timeout=10).accepted
    if evaluator.ended() is None:
        scenario.some_time(1)
        scenario.kill(evaluator, "evaluator")
    lines = check_lines(workspace, lines)
    evaluator, lines = kill_some(scenario, workspace, random.randint(2, 5), 2)
    if learner.ended() is not None:  # start it again, as `hindcast up` does
        learner.succeed()
        learner = workspace.start("learner")
    evaluator.succeed(LIMIT_S)
    lines = check_lines(workspace, lines)
    check_best(workspace, lines)
    check_report(workspace, lines)
    report = (workspace.run_dir / "evaluation.json").read_bytes()
    if random.random() < 0.3:  # start the evaluator without a learner: it makes the report again from its files
        learner.kill()
        workspace.start("evaluator").succeed(LIMIT_S)
        same(check_lines(workspace, lines), lines, "lines after another start")
        check_report(workspace, lines)
        again = json.loads(report)
        same(workspace.json("evaluation.json")["return_mean"], again["return_mean"], "return reported again")
    scenario.checks["reports"] += 1
    scenario.checks["evaluations"] += len(lines)
    server.kill()
    scenario.drop(workspace)


def evaluator(scenario):
    while scenario.goes_on(scenario.kills["evaluator"], LEAST_KILLS):
        one_run(scenario)
