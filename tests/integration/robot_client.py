"""A foreign client of the Robot service, and what the simulated plant wrote about itself."""

import json
import queue
import threading
import time

import grpc

from processes import wait_until


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


def held(workspace, why, n=1):
    """The nth time that the plant held still for a reason that contains `why`, once it is there."""
    def found():
        matching = [event for event in events(workspace, "held") if why in event["why"]]
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
