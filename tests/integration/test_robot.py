"""hindcast-robot-sim, plant and driver as two processes, with our evaluator and collector, and a client in Python."""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import h5py
import numpy as np
import policies
import pytest

import prometheus
from processes import BINARIES, BUILD, ROOT, wait_until
from robot_client import Client, check_held, describe, events, held, json_line

STEPS = 15
SLOW = 6  # periods of 120 ms, so that a busy machine keeps up


def configure(workspace, **options):
    """A pendulum with short episodes."""
    workspace.configure(
        experiment={"seed": 4},
        robot_sim={"model": "pendulum-swingup", "steps": STEPS, "slow_motion": SLOW, **options})
    return f"unix:{workspace.run_dir}/robot.sock"


def start(workspace, wire, **options):
    """Starts plant and driver; returns the driver's address once it has its plant."""
    address = configure(workspace, **options)
    workspace.start("robot_sim", "--part=plant", label="plant")
    workspace.start("robot_sim", "--part=driver", label="driver")
    ready(wire, address)
    return address


def ready(wire, address):
    wait_until(lambda: describe(wire, address).state.reason == "", "the driver to have its plant")


def process(workspace, name):
    return next(p for p in reversed(workspace.processes) if p.name == name)


def policy(workspace):
    """A policy for the pendulum: its signature is given by sizes alone."""
    path = workspace.folder / "policy.safetensors"
    policies.make_package(path, "gaussian", slices=(2, 1), A=1, tasks=("swingup",), signature=False)
    return path


def evaluate(workspace, address, *flags, label="evaluator"):
    return workspace.start("evaluator", f"--environment=robot:{address}", f"--policy={policy(workspace)}", *flags,
                           label=label)


def report(process):
    """The evaluator's result: (returns, failed episodes)."""
    process.succeed(120)
    result = json_line(process.output.read_text())
    return result["tasks"][0]["returns"], result["failed_episodes"]


def logged(workspace, name):
    """The episodes of a collector's first shard."""
    with h5py.File(workspace.folder / name / "logs" / "shard-00000.hdf5") as file:
        return [{key: file[f"episode_{i}"][key][:] for key in ("observations", "actions", "rewards")}
                for i in range(len(file))]


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
    time.sleep(0.18)  # a period and a half
    client.act(1, [0.5])
    assert client.next().fault.kind == wire.robot.RobotResponse.Fault.LATE
    check_held(workspace, held(workspace, "no action in time"))
    assert events(workspace)[-1]["steps"] == 1
    client.close()


# ---- faults within an episode: marked, not counted, and the evaluator goes on ----

@pytest.mark.parametrize("fault, options, kind, why", [
    ("nan@2.9", {}, "sensor", "the driver says so"),
    ("jump@2.9", {"joints": ["velocity velocity -90 90 90 0"]}, "limits", "the driver says so"),
    ("drop@2.9", {}, "sensor", "no action in time"),
    ("late@2.9", {}, "late", "too late"),
])
def test_a_fault_costs_its_episode(workspace, wire, fault, options, kind, why):
    address = start(workspace, wire, faults=[fault], **options)
    evaluator = evaluate(workspace, address, "--episodes=3")
    returns, failed = report(evaluator)
    assert len(returns) == 2 and failed == 1
    assert re.search(rf"not counted episode=1: step [89]: environment robot:{re.escape(address)}: {kind}: ",
                     evaluator.output.read_text())
    check_held(workspace, held(workspace, why))


def test_latency_beyond_the_deadline_fails_every_episode(workspace, wire):
    address = start(workspace, wire, latency_ms=100)  # of 120 ms, where 84 are allowed
    evaluator = evaluate(workspace, address, "--episodes=2")
    assert evaluator.wait() == 1
    assert "late: the action for frame 1 comes" in evaluator.tail()
    for n in (1, 2):
        check_held(workspace, held(workspace, "too late", n))
    assert events(workspace)[-1]["steps"] == 2  # the first action of each: until it comes nothing moves


def test_an_emergency_stop_holds_until_it_is_resumed(workspace, wire):
    address = start(workspace, wire, faults=["stop@2.9"])
    evaluator = evaluate(workspace, address, "--episodes=3")
    held(workspace, "the driver says so")
    wait_until(lambda: "waiting: reset: environment" in evaluator.output.read_text(), "the evaluator to wait",
               alive=evaluator)
    state = describe(wire, address).state
    assert state.stopped and "stopped by robot_sim.faults: injected" in state.reason
    n = len(events(workspace))
    time.sleep(1)
    assert len(events(workspace)) == n and evaluator.ended() is None
    with grpc.insecure_channel(address) as channel:
        assert not wire.robot_grpc.RobotStub(channel).Resume(wire.robot.ResumeRequest(who="test"), timeout=20).stopped
    returns, failed = report(evaluator)
    assert len(returns) == 2 and failed == 1


def test_a_pause_waits_for_the_episode_and_the_operator_answers_resets(workspace, wire):
    address = start(workspace, wire, prompt="put the ball back")
    client = Client(wire, address).opened()
    with grpc.insecure_channel(address) as channel:
        stub = wire.robot_grpc.RobotStub(channel)
        client.reset()
        assert client.next().waits == "put the ball back"
        assert describe(wire, address).state.asks
        stub.Confirm(wire.robot.ConfirmRequest(who="test"), timeout=20)
        while not (response := client.next()).HasField("frame"):
            pass
        stub.Stop(wire.robot.StopRequest(who="test", reason="lunch", after_episode=True), timeout=20)
        for step in range(STEPS):
            client.act(step, [0.1])
            response = client.next()
            assert response.frame.step == step + 1, response
        assert response.frame.last
        client.reset()
        assert client.next().waits == "paused by test: lunch; it waits for resume"
        with pytest.raises(grpc.RpcError) as error:
            stub.Confirm(wire.robot.ConfirmRequest(), timeout=20)
        assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        stub.Resume(wire.robot.ResumeRequest(), timeout=20)
        wait_until(lambda: describe(wire, address).state.asks, "the prompt")
        stub.Confirm(wire.robot.ConfirmRequest(), timeout=20)
        while not (response := client.next()).HasField("frame"):
            pass
        assert response.frame.step == 0
    client.close()


def test_the_operator_by_command_line(workspace, wire):
    address = start(workspace, wire, prompt="put the ball back")

    def operate(*flags, status=0):
        said = subprocess.run([BINARIES["robot_operator"], f"--robot={address}", *flags], capture_output=True, text=True,
                              timeout=60)
        assert said.returncode == status, said.stderr
        return said.stdout + said.stderr
    assert "robot    pendulum-swingup\nuser     nobody\nmoving   no\nstopped  no\n" == operate()
    assert "nothing is asked" in operate("--do=confirm", status=1)
    client = Client(wire, address, "alice").opened()
    client.reset()
    assert client.next().waits == "put the ball back"
    assert "user     alice" in operate() and "asks     put the ball back" in operate()
    operate("--do=confirm")
    while not client.next().HasField("frame"):
        pass
    stopped = operate("--do=stop", "--who=ann", "--reason=smoke")
    assert "stopped  yes\nreason   stopped by ann: smoke; it waits for resume" in stopped
    assert client.next().fault.kind == wire.robot.RobotResponse.Fault.STOPPED
    assert "stopped  no" in operate("--do=resume")
    assert "expected one of" in operate("--do=jump", status=2)
    client.close()


# ---- processes that die or stop ----

def disturbed(workspace, wire, address, disturb, why, recover):
    """Disturbs the second episode, lets it recover, and checks what plant and evaluator made of it."""
    evaluator = evaluate(workspace, address, "--episodes=4")
    wait_until(lambda: len(events(workspace, "begin")) == 2, "the second episode", alive=evaluator)
    time.sleep(0.4)
    disturb(evaluator)
    check_held(workspace, held(workspace, why))
    time.sleep(0.5)
    recover(evaluator)
    returns, failed = report(evaluator)
    assert len(returns) == 3 and failed == 1


def test_a_stopped_client(workspace, wire):
    address = start(workspace, wire, lease_ms=1000)
    disturbed(workspace, wire, address, lambda client: client.signal(signal.SIGSTOP), "",
              lambda client: client.signal(signal.SIGCONT))
    assert held(workspace, "no action in time")


def test_a_killed_client(workspace, wire):
    address = start(workspace, wire)
    evaluator = evaluate(workspace, address, "--episodes=4")
    wait_until(lambda: len(events(workspace, "begin")) == 2, "the second episode", alive=evaluator)
    time.sleep(0.4)
    evaluator.kill()
    check_held(workspace, held(workspace, "", 2))
    wait_until(lambda: describe(wire, address).state.user == "", "the lease to end")
    assert report(evaluate(workspace, address, "--episodes=1", label="another"))[1] == 0


def test_a_stopped_driver(workspace, wire):
    address = start(workspace, wire)
    driver = process(workspace, "driver")
    disturbed(workspace, wire, address, lambda _: driver.signal(signal.SIGSTOP), "no action in time",
              lambda _: driver.signal(signal.SIGCONT))


def test_a_killed_driver(workspace, wire):
    address = start(workspace, wire)
    disturbed(workspace, wire, address, lambda _: process(workspace, "driver").kill(), "the driver is gone",
              lambda _: workspace.start("robot_sim", "--part=driver", label="driver"))


def test_a_stopped_plant(workspace, wire):
    address = start(workspace, wire)
    plant = process(workspace, "plant")
    evaluator = evaluate(workspace, address, "--episodes=4")
    wait_until(lambda: len(events(workspace, "begin")) == 2, "the second episode", alive=evaluator)
    time.sleep(0.4)
    plant.signal(signal.SIGSTOP)
    time.sleep(1)
    at_ns = time.monotonic_ns()
    plant.signal(signal.SIGCONT)
    # It does not catch up: the first thing that it does is to stand still.
    event = wait_until(lambda: next((e for e in events(workspace, "held") if e["at_ns"] > at_ns), None), "it to hold")
    assert event["at_ns"] - at_ns <= event["period_ns"]
    returns, failed = report(evaluator)
    assert len(returns) == 3 and failed == 1
    assert events(workspace)[-1]["steps"] < 4 * STEPS


def test_a_killed_plant(workspace, wire):
    address = start(workspace, wire)
    evaluator = evaluate(workspace, address, "--episodes=4")
    wait_until(lambda: len(events(workspace, "begin")) == 2, "the second episode", alive=evaluator)
    time.sleep(0.4)
    process(workspace, "plant").kill()
    wait_until(lambda: "the plant is away" in describe(wire, address).state.reason, "the driver to notice")
    workspace.start("robot_sim", "--part=plant", label="plant")
    returns, failed = report(evaluator)
    assert len(returns) == 3 and failed == 1
    assert "robot: the plant is away" in evaluator.output.read_text()


class Link:
    """A TCP link to the driver that can be cut, or hold everything back."""

    def __init__(self, port):
        self.port, self.whole, self.open, self.sockets = port, True, threading.Event(), []
        self.open.set()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one, _ = self.listening.accept()
            except OSError:
                return
            if not self.whole:
                one.close()
                continue
            other = socket.create_connection(("127.0.0.1", self.port))
            self.sockets += [one, other]
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self.forward, args=pair, daemon=True).start()

    def forward(self, source, target):
        try:
            while data := source.recv(65536):
                self.open.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def cut(self):
        self.whole = False
        for end in self.sockets:
            with_shutdown(end)

    def mend(self):
        self.whole = True


def with_shutdown(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@pytest.mark.parametrize("how", ["cut", "stalled"])
def test_a_lost_link(workspace, wire, how):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configure(workspace, listen=f"127.0.0.1:{port}", lease_ms=1000)
    workspace.start("robot_sim", "--part=plant", label="plant")
    workspace.start("robot_sim", "--part=driver", label="driver")
    ready(wire, f"127.0.0.1:{port}")
    link = Link(port)
    if how == "cut":
        disturbed(workspace, wire, link.address, lambda _: link.cut(), "", lambda _: link.mend())
    else:
        disturbed(workspace, wire, link.address, lambda _: link.open.clear(), "no action in time",
                  lambda _: link.open.set())
    link.listening.close()


# ---- the journal, and a run that is followed on a robot ----

def inspect(folder):
    """(episodes, transitions) of a dataset, by `hindcast dataset inspect`."""
    said = subprocess.run([BINARIES["hindcast"], "dataset", "inspect", folder], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    return tuple(int(re.search(rf"^{name} +([\d,]+)", said.stdout, re.M)[1].replace(",", ""))
                 for name in ("episodes", "transitions"))


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


# ---- drivers of others ----

def serve_python(workspace, wire, *arguments):
    """The driver in Python of docs/robot.md, with dm_control behind it."""
    address = f"unix:{workspace.folder}/python.sock"
    stubs = pathlib.Path(wire.robot.__file__).parent
    workspace.start_command("python", "env", f"PYTHONPATH={stubs}", sys.executable, ROOT / "experiments/robot/driver.py",
                            address, *arguments)
    describe(wire, address)
    return address


def test_dm_control_in_python_is_a_robot(workspace, wire):
    """The collector's logs of a pendulum in Python are those of the built-in one."""
    address = serve_python(workspace, wire, "pendulum", "swingup", STEPS, 2 * SLOW)
    configure(workspace)
    flags = ["--act=random", "--episodes=2", "--seed=9"]
    collector = workspace.start("collector", f"--environment=robot:{address}", f"--run_dir={workspace.folder}/python",
                                *flags, label="through-python")
    collector.succeed(120)
    workspace.start("collector", "--environment=pendulum-swingup", f"--run_dir={workspace.folder}/simulated", *flags,
                    label="simulated").succeed(120)
    for one, other in zip(logged(workspace, "python"), logged(workspace, "simulated"), strict=True):
        assert len(one["actions"]) == STEPS
        for key in one:
            assert np.allclose(one[key], other[key][:len(one[key])], atol=1e-3), key


def test_the_driver_in_python_keeps_the_rules(workspace, wire):
    address = serve_python(workspace, wire, "pendulum", "swingup", STEPS, SLOW)
    kinds = wire.robot.RobotResponse.Fault
    client = Client(wire, address, "alice").opened()
    with pytest.raises(grpc.RpcError) as error:
        Client(wire, address, "bob").next()
    assert "in use by alice" in error.value.details()
    client.start()
    client.act(0, [0.5])
    assert client.next().frame.step == 1
    assert client.next().fault.kind == kinds.LATE
    client.start()
    client.act(0, [1.5])
    assert client.next().fault.kind == kinds.LIMITS
    with grpc.insecure_channel(address) as channel:
        stub = wire.robot_grpc.RobotStub(channel)
        stub.Stop(wire.robot.StopRequest(who="ann", reason="smoke"), timeout=20)
        client.reset()
        assert client.next().waits == "stopped by ann: smoke"
        stub.Resume(wire.robot.ResumeRequest(), timeout=20)
    while not client.next().HasField("frame"):
        pass
    client.close()
    wait_until(lambda: describe(wire, address).state.user == "", "alice to leave")
    # A client that is told of a fault goes on; so does the evaluator.
    configure(workspace)
    returns, failed = report(evaluate(workspace, address, "--episodes=2"))
    assert len(returns) + failed == 2


def test_the_driver_in_c_is_a_robot(workspace, wire):
    address = f"unix:{workspace.folder}/motor.sock"
    driver = workspace.start_command("motor", BUILD / "robot_sim" / "robot-driver-example", address)
    described = describe(wire, address)
    assert described.name == "motor" and described.joints[0].name == "shaft"
    client = Client(wire, address).opened()
    frame = client.start()
    assert list(frame.observation) == [1, 0]
    client.act(0, [-1])
    frame = client.next().frame
    assert frame.step == 1 and frame.observation[1] < 0
    assert client.next().fault.kind == wire.robot.RobotResponse.Fault.LATE
    client.close()
    driver.stop()
