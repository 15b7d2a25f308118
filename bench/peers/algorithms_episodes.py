"""Episodes of the control suite in dm_control, all at once, for a policy in another process. Started by
algorithms_d3rlpy.py: algorithms_episodes.py TASK EPISODES

Writes observations (EPISODES, O) of float32, reads actions (EPISODES, A), until the episodes end; each frame is a byte
"o" before them. Then "r" and the returns, EPISODES float32."""

import logging
import os
import sys

os.environ["MUJOCO_GL"] = "disabled"  # nothing is drawn

import numpy as np
from dm_control import suite

logging.getLogger("absl").setLevel(logging.ERROR)  # MuJoCo warns about the suite's own models


def observe(steps):
    return np.float32([np.concatenate([np.ravel(part) for part in step.observation.values()]) for step in steps])


def write(kind, array):
    sys.stdout.buffer.write(kind + array.tobytes())
    sys.stdout.buffer.flush()


def main():
    task, n = sys.argv[1], int(sys.argv[2])
    domain, _, name = task.partition("-")
    environments = [suite.load(domain, name, task_kwargs={"random": 1000 + i}) for i in range(n)]
    A = environments[0].action_spec().shape[0]
    steps = [environment.reset() for environment in environments]
    returns = np.zeros(n, np.float32)
    while not steps[0].last():  # all end at the same time limit
        write(b"o", observe(steps))
        actions = np.frombuffer(sys.stdin.buffer.read(4 * n * A), np.float32).reshape(n, A)
        steps = [environment.step(action) for environment, action in zip(environments, actions)]
        returns += [step.reward for step in steps]
    write(b"r", returns)


if __name__ == "__main__":
    main()
