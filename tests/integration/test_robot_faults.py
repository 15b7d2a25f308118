"""Faults of a robot: the plant holds still, the episode is marked and not counted, the evaluator goes on."""

import re
import signal
import socket
import subprocess
import threading
import time

import grpc
import pytest

from processes import BINARIES, wait_until
from robot_client import (STEPS, Client, check_held, check_one_failed, configure, describe, evaluate, events, held,
                          inspect, process, ready, report, start)

pytestmark = pytest.mark.long


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
    check_one_failed(evaluator, 3, kind)
    assert re.search(r"not counted episode=1: step [89]: ", evaluator.output.read_text())
    check_held(workspace, held(workspace, why))


def test_physics_that_go_unstable_cost_their_episode(workspace, wire):
    """The plant computes a step at the end of its period, and holds still as soon as the state is bad."""
    address = start(workspace, wire, faults=["burst@2.9"])
    check_one_failed(evaluate(workspace, address, "--episodes=3"), 3, "robot")
    event = held(workspace, "the plant's state is unsound")
    assert 0 <= event["at_ns"] - event["observed_ns"] - event["period_ns"] < event["period_ns"]
    after = [other for other in events(workspace) if other["at_ns"] > event["at_ns"]]
    assert after[0]["steps"] == event["steps"]  # nothing moved until the next reset


def test_latency_beyond_the_deadline_fails_every_episode(workspace, wire):
    address = start(workspace, wire, latency_ms=130)  # of 160 ms, where 112 are allowed
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
    check_one_failed(evaluator, 3, "stopped")


def test_a_collector_says_what_it_waits_for_and_goes_on(workspace, wire):
    address = start(workspace, wire, faults=["stop@2.9"])
    collector = workspace.start("collector", f"--environment=robot:{address}", "--act=random", "--episodes=2")
    reason = "stopped by robot_sim.faults: injected; it waits for resume"
    wait_until(lambda: reason in (workspace.status("collector") or {}).get("text", ""), "the reason on its status line",
               alive=collector)
    with grpc.insecure_channel(address) as channel:
        wire.robot_grpc.RobotStub(channel).Resume(wire.robot.ResumeRequest(), timeout=20)
    collector.succeed(60)
    assert inspect(workspace.run_dir / "logs") == (2, 2 * STEPS)
    assert inspect(workspace.run_dir / "robot-collector" / "failed") == (1, 9)


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
    at_ns = time.monotonic_ns()
    disturb(evaluator)
    event = held(workspace, why, since_ns=at_ns)
    check_held(workspace, event)
    # The period that was under way, and the one without an answer.
    assert event["at_ns"] - at_ns <= 2 * event["period_ns"], event
    time.sleep(0.5)
    recover(evaluator)
    check_one_failed(evaluator, 4)


def test_a_stopped_client(workspace, wire):
    address = start(workspace, wire, lease_ms=1000)
    disturbed(workspace, wire, address, lambda client: client.signal(signal.SIGSTOP), "no action in time",
              lambda client: client.signal(signal.SIGCONT))


def test_a_killed_client(workspace, wire):
    address = start(workspace, wire)
    evaluator = evaluate(workspace, address, "--episodes=4")
    wait_until(lambda: len(events(workspace, "begin")) == 2, "the second episode", alive=evaluator)
    time.sleep(0.4)
    at_ns = time.monotonic_ns()
    evaluator.kill()
    check_held(workspace, held(workspace, "", since_ns=at_ns))
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
    check_one_failed(evaluator, 4, "robot|late")
    assert events(workspace)[-1]["steps"] < 4 * STEPS


def test_a_killed_plant(workspace, wire):
    address = start(workspace, wire)
    evaluator = evaluate(workspace, address, "--episodes=4")
    wait_until(lambda: len(events(workspace, "begin")) == 2, "the second episode", alive=evaluator)
    time.sleep(0.4)
    process(workspace, "plant").kill()
    wait_until(lambda: "the plant is away" in describe(wire, address).state.reason, "the driver to notice")
    workspace.start("robot_sim", "--part=plant", label="plant")
    check_one_failed(evaluator, 4, "robot")
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
