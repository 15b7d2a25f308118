"""hindcast-robot-sim with our evaluator and collector, and with a client in Python: what works, and the rules."""

import re
import socket
import time

import grpc
import numpy as np
import pytest

import prometheus
from processes import ROOT, wait_until
from robot_client import (SLOW, STEPS, Client, check_held, configure, describe, evaluate, events, held, inspect, logged,
                          ready, report, start)


# ---- what works ----

def test_a_collector_logs_the_same_episodes_as_in_the_simulator(workspace, wire):
    address = start(workspace, wire)
    flags = ["--act=random", "--episodes=3", "--seed=9"]
    workspace.start("collector", f"--environment=robot:{address}", f"--run_dir={workspace.folder}/real", *flags,
                    label="real").succeed(120)
    workspace.start("collector", "--environment=pendulum-swingup", f"--run_dir={workspace.folder}/simulated", *flags,
                    label="simulated").succeed(120)
    real, simulated = logged(workspace, "real"), logged(workspace, "simulated")
    assert len(real) == len(simulated) == 3
    for one, other in zip(real, simulated):
        assert len(one["actions"]) == STEPS
        for key in one:
            assert np.allclose(one[key], other[key][:len(one[key])], atol=1e-3), key
    assert [event["event"] for event in events(workspace)].count("begin") == 3


def test_an_evaluator_measures_through_the_robot(workspace, wire):
    address = start(workspace, wire, latency_ms=5, jitter_ms=3, noise=0.001)
    returns, failed = report(evaluate(workspace, address, "--episodes=3"))
    assert len(returns) == 3 and failed == 0
    assert len(events(workspace, "begin")) == 3 and events(workspace)[-1]["steps"] == 3 * STEPS


def test_one_command_starts_both_and_ends_both(workspace, wire):
    address = configure(workspace)
    robot = workspace.start("robot_sim")
    ready(wire, address)
    assert len(workspace.living()) == 2
    assert report(evaluate(workspace, address, "--episodes=1"))[1] == 0
    robot.stop()
    assert workspace.living() == []


def test_the_clock_and_the_latency_are_measured(workspace, wire):
    address = start(workspace, wire)
    workspace.start("collector", f"--environment=robot:{address}", "--act=random")
    metrics = wait_until(lambda: (found := workspace.metrics("collector")) and
                         found.get("hindcast_robot_observation_age_seconds_count", 0) > STEPS and found,
                         "a robot's metrics")
    assert abs(metrics["hindcast_robot_clock_offset_seconds"]) < 0.05  # one machine, one clock
    assert 0 < metrics["hindcast_robot_delay_seconds"] < 1
    assert workspace.metrics("robot_driver")["hindcast_robot_driver_episodes_total"] > 0
    assert workspace.metrics("robot_plant")["hindcast_robot_plant_steps_total"] > 0


def test_docs_list_the_metrics(workspace, wire):
    address = start(workspace, wire)
    workspace.start("collector", f"--environment=robot:{address}", "--act=random")
    wait_until(lambda: "hindcast_robot_failed_episodes_total" in (workspace.page("collector", "/metrics") or ""),
               "the collector's metrics")
    shown = set()
    for role in ("collector", "robot_driver", "robot_plant"):
        families = prometheus.parse(workspace.page(role, "/metrics"))
        shown |= {(name, family.kind) for name, family in families.items() if name.startswith("hindcast_robot_")}
    page = (ROOT / "docs" / "robot.md").read_text()
    assert shown == set(re.findall(r"\| `(hindcast_robot_\w+)` \| (\w+) \|", page))


# ---- the rules, with a foreign client ----

def test_a_second_client_gets_a_sentence(workspace, wire):
    address = start(workspace, wire, lease_ms=2000)
    first = Client(wire, address, "alice").opened()
    with pytest.raises(grpc.RpcError) as error:
        Client(wire, address, "bob").next()
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "in use by alice" in error.value.details()
    evaluator = evaluate(workspace, address, "--episodes=1")
    assert evaluator.wait() == 1 and "in use by alice" in evaluator.tail()
    # The lease ends with silence, and with the stream.
    with pytest.raises(grpc.RpcError) as error:
        first.next()
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    Client(wire, address, "bob").opened().close()
    wait_until(lambda: describe(wire, address).state.user == "", "bob to leave")


@pytest.mark.parametrize("action, words", [([1.5], "expected within -1..1"), ([float("nan")], "action 0 is nan")])
def test_an_action_beyond_its_limits_is_not_executed(workspace, wire, action, words):
    client = Client(wire, start(workspace, wire), "python").opened()
    client.start()
    client.act(0, [0.5])
    assert client.next().frame.step == 1
    client.act(1, action)
    fault = client.next().fault
    assert fault.kind == wire.robot.RobotResponse.Fault.LIMITS and words in fault.text
    check_held(workspace, held(workspace, "the driver says so"))
    assert client.start().step == 0  # and the next episode begins
    client.close()


def test_an_action_that_changes_too_fast_is_refused_on_both_sides(workspace, wire):
    address = start(workspace, wire, action_rate=1)  # a range of 2 in a second, 0.04 in a control period
    client = Client(wire, address).opened()
    client.start()
    client.act(0, [0.5])
    assert client.next().frame.step == 1
    client.act(1, [0.9])
    fault = client.next().fault
    assert fault.kind == wire.robot.RobotResponse.Fault.LIMITS and "20 a second: expected at most 2" in fault.text
    client.close()
    wait_until(lambda: describe(wire, address).state.user == "", "the client to leave")
    steps = events(workspace)[-1]["steps"]
    evaluator = evaluate(workspace, address, "--episodes=2", "--act=sample")
    assert evaluator.wait(60) == 1 and "action 0 changes from" in evaluator.tail()
    assert "the environment failed in all 2 episodes" in evaluator.tail()
    assert events(workspace)[-1]["steps"] - steps < 10


def test_messages_out_of_order_close_the_session(workspace, wire):
    address = start(workspace, wire)
    for wrong in ({"act": wire.robot.RobotRequest.Act(action=[0.1, 0.2])},
                  {"reset": wire.robot.RobotRequest.Reset(task=7)},
                  {"open": wire.robot.RobotRequest.Open(who="again")}):
        client = Client(wire, address).opened()
        client.send(**wrong)
        with pytest.raises(grpc.RpcError) as error:
            client.next()
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, wrong
        wait_until(lambda: describe(wire, address).state.user == "", "the session to end")


def test_a_late_action_is_not_executed(workspace, wire):
    client = Client(wire, start(workspace, wire)).opened()
    client.start()
    client.act(0, [0.5])
    assert client.next().frame.step == 1
    time.sleep(0.24)  # a period and a half
    client.act(1, [0.5])
    assert client.next().fault.kind == wire.robot.RobotResponse.Fault.LATE
    check_held(workspace, held(workspace, "no action in time"))
    assert events(workspace)[-1]["steps"] == 1
    client.close()


# ---- the journal, and a run that is followed on a robot ----

def test_every_step_is_journalled_as_logs_that_the_restorer_reads(workspace, wire):
    address = start(workspace, wire, faults=["nan@2.9", "stop@4.5"])
    evaluator = evaluate(workspace, address, f"--run_dir={workspace.run_dir}", "--episodes=4")
    wait_until(lambda: describe(wire, address).state.stopped, "the emergency stop", alive=evaluator)
    with grpc.insecure_channel(address) as channel:
        wire.robot_grpc.RobotStub(channel).Resume(wire.robot.ResumeRequest(), timeout=20)
    assert report(evaluator)[1] == 2
    journal = workspace.run_dir / "robot-evaluator"
    assert inspect(journal / "logs") == (2, 2 * STEPS)
    n, transitions = inspect(journal / "failed")
    marks = workspace.json_lines("robot-evaluator/failed.jsonl")
    assert n == 2 and [(mark["kind"], mark["steps"]) for mark in marks] == [("sensor", 8), ("stopped", 5)]
    assert transitions == 13

    # A process that is killed loses no step.
    another = evaluate(workspace, address, f"--run_dir={workspace.run_dir}", "--episodes=2", label="another")
    wait_until(lambda: len(events(workspace, "begin")) == 6, "its second episode", alive=another)
    time.sleep(0.5)
    another.kill()
    wait_until(lambda: describe(wire, address).state.user == "", "the lease to end")
    report(evaluate(workspace, address, f"--run_dir={workspace.run_dir}", "--episodes=1", label="third"))
    mark = workspace.json_lines("robot-evaluator/failed.jsonl")[-1]
    assert mark["kind"] == "killed" and mark["steps"] >= 1
    assert inspect(journal / "logs") == (4, 4 * STEPS)

    restored = workspace.folder / "restored"
    workspace.start("replay_server", f"--run_dir={restored}", label="replay_server")
    workspace.start("restorer", f"--run_dir={restored}", f"--folder={journal}/logs", label="restorer").succeed()
    with grpc.insecure_channel(f"unix:{restored}/replay.sock") as channel:
        info = wire.replay_grpc.ReplayStub(channel).Info(wire.replay.InfoRequest(), timeout=20)
    assert (info.tables[0].episodes, info.tables[0].transitions) == (4, 4 * STEPS)


@pytest.mark.long
def test_a_run_ends_when_the_mean_of_the_last_episodes_on_the_robot_no_longer_improves(workspace, wire):
    """The paper's script: one episode after another, and the mean over the last of them."""
    address = configure(workspace)
    workspace.start("collector", "--environment=pendulum-swingup", "--act=random", "--episodes=4",
                    f"--run_dir={workspace.folder}/made").succeed()
    workspace.configure(
        experiment={"environment": f"robot:{address}"},
        robot_sim={"model": "pendulum-swingup", "steps": STEPS, "slow_motion": SLOW},
        restorer={"folder": f"{workspace.folder}/made/logs"},
        learner={"widths": [16], "batch_snippets": 4, "publish_every": 20, "threads": 1},
        evaluator={"window_episodes": 1, "stop_window": 3, "patience": 2, "min_delta": 1e6, "min_interval_s": 0,
                   "episodes": 1})
    workspace.start("robot_sim", label="robot")
    ready(wire, address)
    workspace.up().succeed(180)
    lines = workspace.json_lines("evaluator.jsonl")
    assert len(lines) >= 5  # three for the first mean, and two that are not better
    assert "no improvement in 2 evaluations" in (workspace.run_dir / "learner.log").read_text()
    assert inspect(workspace.run_dir / "robot-evaluator" / "logs")[0] >= len(lines) + 1


# ---- what is refused at once ----

def test_a_robot_on_a_network_needs_certificates(workspace):
    configure(workspace, listen="0.0.0.0:0")
    robot = workspace.start("robot_sim", "--part=driver", "--allow_insecure=true", label="driver")
    assert robot.wait() == 1 and "only with mutual TLS" in robot.tail()
    evaluator = evaluate(workspace, "192.0.2.1:7000")
    assert evaluator.wait() == 2 and "needs mutual TLS" in evaluator.tail()


def test_mutual_tls(workspace, wire, certificates):
    def tls(who):
        return [f"--tls_ca={certificates}/ca.pem", f"--tls_cert={certificates}/{who}.pem",
                f"--tls_key={certificates}/{who}.key"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configure(workspace, listen=f"0.0.0.0:{port}")
    workspace.start("robot_sim", "--part=plant", label="plant")
    workspace.start("robot_sim", "--part=driver", *tls("server"), label="driver")
    wait_until(lambda: f"serving address=0.0.0.0:{port}" in workspace.processes[-1].tail(), "the driver to serve")
    returns, failed = report(evaluate(workspace, f"127.0.0.1:{port}", "--episodes=1", *tls("client")))
    assert len(returns) == 1 and failed == 0
    nobody = evaluate(workspace, f"127.0.0.1:{port}", "--episodes=1", label="nobody")
    assert nobody.wait() == 1 and "127.0.0.1" in nobody.tail()
    read = [(certificates / name).read_bytes() for name in ("ca.pem",)]
    with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(*read)) as channel:
        with pytest.raises(grpc.RpcError):  # without a certificate of its own
            wire.robot_grpc.RobotStub(channel).Stop(wire.robot.StopRequest(), timeout=5)


@pytest.mark.parametrize("option, words", [
    ("--model=robot:127.0.0.1:1", "expected a simulated environment"),
    ("--model=nothing", "is unknown"),
    ("--faults=boom@1.2", "expected KIND@EPISODE.STEP"),
    ("--joints=a b 1 2 3 4", "has no slices a and b"),
    ("--joints=velocity velocity 2 1 3 4", "expected min < max"),
    ("--jitter_ms=3", "expected at most latency_ms"),
])
def test_bad_options_are_sentences(workspace, option, words):
    configure(workspace)
    robot = workspace.start("robot_sim", option)
    assert robot.wait() == 2 and words in robot.tail()


def test_a_robot_that_is_not_there(workspace):
    configure(workspace)
    evaluator = evaluate(workspace, f"unix:{workspace.run_dir}/nobody.sock")
    assert evaluator.wait() in (1, 2) and "nobody.sock" in evaluator.tail()
