#!/usr/bin/env python3
"""A peer of bench_environment: the control suite from Python. Started by compare_environment.py.

Reads lines "WAY TASK SECONDS" and answers each with a line of JSON, {"steps_per_s": ..}, in control steps:

    dm_control   episodes of dm_control with their resets; observations joined to one array, as learners need them
    rollout      mujoco.rollout over the same model, an episode in one call: a loop in C under Python, which makes
                 no observation and no reward
"""

import functools
import json
import logging
import os
import sys
import time

os.environ["MUJOCO_GL"] = "disabled"  # nothing is drawn

import mujoco
import mujoco.rollout
import numpy as np
from dm_control import suite

logging.getLogger("absl").setLevel(logging.ERROR)  # MuJoCo warns about the suite's own models
STEPS = 1000  # of an episode


@functools.cache
def load(task):
    """The environment, and the actions of an episode: uniform, as in bench_environment."""
    domain, _, name = task.partition("-")
    environment = suite.load(domain, name, task_kwargs={"random": 0})
    limits = environment.action_spec()
    return environment, np.random.default_rng(0).uniform(limits.minimum, limits.maximum, (STEPS, *limits.shape))


def dm_control(task, end):
    environment, actions = load(task)
    steps = 0
    while time.perf_counter() < end:
        step = environment.reset()
        for action in actions:
            step = environment.step(action)
            np.concatenate([np.ravel(part) for part in step.observation.values()])
        if not step.last():
            raise RuntimeError(f"{task}: an episode has more than {STEPS} steps")
        steps += STEPS
    return steps


def rollout(task, end):
    environment, actions = load(task)
    model, data = environment.physics.model.ptr, mujoco.MjData(environment.physics.model.ptr)
    mujoco.mj_resetData(model, data)
    state = np.zeros((1, mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
    mujoco.mj_getState(model, data, state[0], mujoco.mjtState.mjSTATE_FULLPHYSICS)
    # An action lasts for all physics steps of a control step.
    control = np.repeat(actions, round(environment.control_timestep() / model.opt.timestep), axis=0)[None]
    steps = 0
    while time.perf_counter() < end:
        mujoco.rollout.rollout(model, data, initial_state=state, control=control)
        steps += STEPS
    return steps


def main():
    ways = {"dm_control": dm_control, "rollout": rollout}
    for line in sys.stdin:
        way, task, seconds = line.split()
        load(task)
        begin = time.perf_counter()
        steps = ways[way](task, begin + float(seconds))
        print(json.dumps({"steps_per_s": steps / (time.perf_counter() - begin)}), flush=True)


if __name__ == "__main__":
    main()
