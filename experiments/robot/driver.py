#!/usr/bin/env python3
"""A driver in Python: serves a dm_control task as a robot, for evaluators and collectors: docs/robot.md.

    python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. proto/robot.proto proto/replay.proto
    PYTHONPATH=. python experiments/robot/driver.py 127.0.0.1:7000 reacher easy [STEPS [SLOW_MOTION]]
"""
import queue
import sys
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import replay_pb2
import robot_pb2 as pb
import robot_pb2_grpc
from dm_control import suite

LEASE_S, FIRST_S, DEADLINE = 10, 10, 0.7  # the last in periods


class Driver(robot_pb2_grpc.RobotServicer):
    def __init__(self, domain, task, steps="1000", slow="1"):
        self.name, self.steps, self.slow = (domain, task), int(steps), float(slow)
        self.user, self.stopped, self.lock = "", "", threading.Lock()
        env = suite.load(domain, task)
        self.low, self.high = env.action_spec().minimum, env.action_spec().maximum
        self.period = env.control_timestep() * self.slow
        self.signature = replay_pb2.Signature(
            observation=[replay_pb2.Signature.Slice(name=name, size=int(np.prod(spec.shape)))
                         for name, spec in env.observation_spec().items()],
            action_min=self.low, action_max=self.high, rewards=[task], control_period_s=env.control_timestep())

    def Describe(self, request, context):
        return pb.RobotDescription(
            name="-".join(self.name), signature=self.signature, step_limit=self.steps, slow_motion=self.slow,
            deadline_s=DEADLINE * self.period, lease_ms=1000 * LEASE_S, state=self.state(self.stopped))

    def Stop(self, request, context):
        return self.state(f"stopped by {request.who}: {request.reason}")

    def Resume(self, request, context):
        return self.state("")

    def state(self, stopped):
        self.stopped = stopped
        return pb.RobotState(user=self.user, stopped=bool(stopped), reason=stopped)

    def Session(self, requests, context):
        inbox = queue.Queue()  # (message, when it came); None: the client is gone
        context.add_callback(lambda: inbox.put((None, 0)))
        threading.Thread(target=lambda: [inbox.put((r, time.monotonic_ns())) for r in requests], daemon=True).start()
        opening = inbox.get(timeout=LEASE_S)[0].open
        with self.lock:
            if self.user:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the robot is in use by {self.user}")
            self.user = opening.who or "somebody"
        try:
            yield pb.RobotResponse(opened=pb.RobotResponse.Opened(lease_ms=1000 * LEASE_S))
            got = inbox.get(timeout=LEASE_S)
            while got[0]:
                got = (yield from self.episode(*got, inbox)) if got[0].HasField("reset") else inbox.get(timeout=LEASE_S)
        except queue.Empty:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the lease is over")
        finally:
            self.user = ""

    def episode(self, request, came_ns, inbox):
        """Returns the message that ended it. A simulation holds still by not being stepped."""
        reset, step = request.reset, 0

        def answer(**what):
            return pb.RobotResponse(request_sent_ns=request.sent_ns, request_received_ns=came_ns,
                                    sent_ns=time.monotonic_ns(), **what)
        while self.stopped:
            yield answer(waits=self.stopped)
            time.sleep(0.5)
        env = suite.load(*self.name, task_kwargs={"random": reset.seed})
        now, observed_ns = env.reset(), time.monotonic_ns()
        while True:
            last = now.last() or step == self.steps
            yield answer(frame=pb.RobotResponse.Frame(
                episode=reset.episode, step=step, observed_ns=observed_ns, last=last, discount=now.discount,
                rewards=[now.reward] if step else [],
                observation=np.concatenate([np.ravel(v) for v in now.observation.values()])))
            due_s = observed_ns / 1e9 + (DEADLINE * self.period if step else FIRST_S)
            try:
                new, new_ns = inbox.get(timeout=LEASE_S if last else max(due_s - time.monotonic(), 0))
                if last or new is None or not new.HasField("act"):
                    return new, new_ns
                request, came_ns, action = new, new_ns, np.array(new.act.action)
                fits = action.shape == self.low.shape and ((action >= self.low) & (action <= self.high)).all()
                fault = "STOPPED" if self.stopped else "LIMITS"
            except queue.Empty:
                fits, action, fault = False, "none", "LATE"
            if self.stopped or not fits:
                yield answer(fault=pb.RobotResponse.Fault(kind=fault, text=self.stopped or f"action {action}",
                                                          episode=reset.episode))
                return inbox.get(timeout=LEASE_S)
            observed_ns = (observed_ns if step else came_ns) + int(self.period * 1e9)  # the first one starts the clock
            now, step = env.step(action), step + 1
            time.sleep(max(observed_ns / 1e9 - time.monotonic(), 0))


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(8))
    robot_pb2_grpc.add_RobotServicer_to_server(Driver(*sys.argv[2:]), server)
    server.add_insecure_port(sys.argv[1])  # of this machine; beyond it, add_secure_port with client certificates
    server.start()
    server.wait_for_termination()
