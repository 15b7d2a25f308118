"""Drivers of others: the examples in Python, with dm_control behind it, and in C."""

import pathlib
import sys

import grpc
import numpy as np
import pytest

from processes import BUILD, ROOT, wait_until
from robot_client import SLOW, STEPS, Client, configure, describe, evaluate, logged, report


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
