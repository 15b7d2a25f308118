"""For tests of robots: a foreign client of the Robot service, a simulated robot and what its plant wrote about itself."""

import json
import queue
import re
import subprocess
import threading
import time

import grpc
import h5py
import policies

from processes import BINARIES, wait_until

STEPS = 12
SLOW = 8  # periods of 160 ms, so that a busy machine keeps up


class Client:
    """A session by plain grpcio. `next` waits for the robot's next message; errors of the call are raised by it."""

    def __init__(self, wire, address, who="python"):
        self.pb = wire.robot
        self.channel = grpc.insecure_channel(address)
        self.stub = wire.robot_grpc.RobotStub(self.channel)
        self.requests, self.responses = queue.Queue(), queue.Queue()
        self.episode = 0
        self.call = self.stub.Session(iter(self.requests.get, None), wait_for_ready=True)
        threading.Thread(target=self.read, daemon=True).start()
        self.send(open=self.pb.RobotRequest.Open(who=who))

    def read(self):
        try:
            for response in self.call:
                self.responses.put(response)
            self.responses.put(None)
        except grpc.RpcError as error:
            self.responses.put(error)

    def send(self, **fields):
        self.requests.put(self.pb.RobotRequest(sent_ns=time.monotonic_ns(), **fields))

    def next(self, timeout=20):
        response = self.responses.get(timeout=timeout)
        if isinstance(response, grpc.RpcError):
            raise response
        return response

    def opened(self):
        assert self.next().HasField("opened")
        return self

    def reset(self, **more):
        self.episode += 1
        self.send(reset=self.pb.RobotRequest.Reset(episode=self.episode, **more))

    def start(self, **more):
        """Frame 0 of a new episode."""
        self.reset(**more)
        while True:
            response = self.next()
            if response.HasField("frame") and response.frame.episode == self.episode:
                return response.frame

    def act(self, step, action):
        self.send(act=self.pb.RobotRequest.Act(episode=self.episode, step=step, action=action))

    def close(self):
        self.requests.put(None)
        self.call.cancel()
        self.channel.close()


def events(workspace, name=None):
    """The plant's own record, or its events of that name."""
    return [event for event in workspace.json_lines("plant.jsonl") if name in (None, event["event"])]


def held(workspace, why, n=1, since_ns=0):
    """The nth time since then that the plant held still for a reason that contains `why`, once it is there."""
    def found():
        matching = [event for event in events(workspace, "held") if why in event["why"] and event["at_ns"] >= since_ns]
        return len(matching) >= n and matching[n - 1]
    return wait_until(found, f"the plant to hold still: {why}")


def check_held(workspace, event):
    """It stood still within one period of the observation that nobody answered, and nothing moved until a reset."""
    assert event["at_ns"] - event["observed_ns"] <= event["period_ns"], event
    later = [other for other in events(workspace) if other["at_ns"] > event["at_ns"]]
    for other in later:
        if other["event"] == "begin":
            break
        assert other["steps"] == event["steps"], (event, other)


def describe(wire, address):
    with grpc.insecure_channel(address) as channel:
        return wire.robot_grpc.RobotStub(channel).Describe(wire.robot.DescribeRequest(), timeout=20, wait_for_ready=True)


def json_line(text):
    """The line of JSON that the evaluator prints."""
    return next(json.loads(line) for line in text.splitlines() if line.startswith("{"))


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


def check_one_failed(evaluator, n, kind=r"\w+"):
    """Of n episodes the second has failed, for this reason, is not counted, and the evaluator went on.

    A busy machine may make others late; they are marked in the same way.
    """
    returns, failed = report(evaluator)
    marked = dict(re.findall(r"not counted episode=(\d+): (?:step \d+|reset): environment \S+: (\w+):",
                             evaluator.output.read_text()))
    assert re.fullmatch(kind, marked.pop("1")), marked
    assert set(marked.values()) <= {"late"}, marked
    assert failed == 1 + len(marked) and len(returns) == n - failed and len(returns) > 0


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


def inspect(folder):
    """(episodes, transitions) of a dataset, by `hindcast dataset inspect`."""
    said = subprocess.run([BINARIES["hindcast"], "dataset", "inspect", folder], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    return tuple(int(re.search(rf"^{name} +([\d,]+)", said.stdout, re.M)[1].replace(",", ""))
                 for name in ("episodes", "transitions"))
