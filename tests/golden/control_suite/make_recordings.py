"""Records what dm_control computes, for build/tests/verify_tasks to compare with.

    make_recordings.py FOLDER [--tasks a,b] [--tag t] [--seed s] [--steps n] [--actions uniform|smooth|bang]
    make_recordings.py FOLDER --starts n
    make_recordings.py FOLDER --states n
    make_recordings.py FOLDER --every    a short trajectory, start states and single states of each task

Needs dm_control 1.0.50 and mujoco 3.17.0. The layout is drawn in tests/verify_tasks.c.
"""

import argparse
import pathlib
import struct

import mujoco
import numpy as np
from dm_control import suite

TASKS = (
    "acrobot-swingup acrobot-swingup_sparse ball_in_cup-catch "
    "cartpole-balance cartpole-balance_sparse cartpole-swingup cartpole-swingup_sparse "
    "cheetah-run finger-spin finger-turn_easy finger-turn_hard fish-upright fish-swim "
    "hopper-hop hopper-stand humanoid-stand humanoid-walk humanoid-run "
    "manipulator-bring_ball manipulator-bring_peg manipulator-insert_ball manipulator-insert_peg "
    "pendulum-swingup point_mass-easy point_mass-hard quadruped-walk quadruped-run reacher-easy reacher-hard "
    "walker-stand walker-walk walker-run"
).split()


def flat(observation):
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(float)


def header(magic, task, seed, n, sub_steps, model, n_obs):
    sizes = (seed, n, sub_steps, model.nq, model.nv, model.na, model.nu, n_obs)
    return magic + task.encode().ljust(32, b"\0") + struct.pack("<8i", *sizes)


def state(data):
    return [data.qpos, data.qvel, data.act]


def action_source(kind, spec, seed):
    """Actions within the bounds from a generator of their own."""
    random = np.random.default_rng(seed)
    middle, half = (spec.maximum + spec.minimum) / 2, (spec.maximum - spec.minimum) / 2
    unit = np.zeros(spec.shape)
    while True:
        if kind == "smooth":
            unit = np.clip(0.9 * unit + 0.4 * random.standard_normal(spec.shape), -1, 1)
        elif kind == "bang":
            unit = np.sign(random.uniform(-1, 1, spec.shape))
        else:
            unit = random.uniform(-1, 1, spec.shape)
        yield middle + half * unit


def record_start(environment):
    """The next start state that the environment draws, as a list of arrays."""
    data = environment.physics.data
    first = environment.reset()
    parts = state(data) + [data.qacc_warmstart, flat(first.observation)]
    return [np.array(part, dtype=float) for part in parts]


def record_starts(task, seed, n):
    """The start states of n episodes, drawn one after the other."""
    environment = suite.load(*task.split("-"), task_kwargs={"random": seed})
    starts = [record_start(environment) for _ in range(n)]
    body = np.concatenate(sum(starts, [])).astype("<f8").tobytes()
    sub_steps = round(environment.control_timestep() / environment.physics.timestep())
    sizes = (sub_steps, environment.physics.model, starts[0][-1].size)
    return header(b"DMCSTA1\0", task, seed, n, *sizes) + body


def record_trajectory(task, seed, n, kind):
    """One environment from its first reset; where an episode ends the next begins."""
    environment = suite.load(*task.split("-"), task_kwargs={"random": seed})
    physics = environment.physics
    parts = record_start(environment)
    n_obs = parts[-1].size
    actions = action_source(kind, environment.action_spec(), seed)
    for _ in range(n):
        action = next(actions)
        step = environment.step(action)
        # A first step has neither reward nor discount; the reader does not look at them.
        numbers = [step.reward or 0.0, 1.0 if step.first() else step.discount, int(step.step_type)]
        parts += [action, flat(step.observation), np.array(numbers)]
        parts += [np.array(part, dtype=float) for part in state(physics.data)]
    sub_steps = round(environment.control_timestep() / physics.timestep())
    body = np.concatenate(parts).astype("<f8").tobytes()
    return header(b"DMCPAR1\0", task, seed, n, sub_steps, physics.model, n_obs) + body


def forward(physics):
    with physics.model.disable("actuation"):
        mujoco.mj_forward(physics.model.ptr, physics.data.ptr)


def record_states(task, seed, n):
    """Single states all over the place: those of a rollout, faster and with other controls."""
    environment = suite.load(*task.split("-"), task_kwargs={"random": seed})
    physics, data = environment.physics, environment.physics.data
    random = np.random.default_rng(seed)
    actions = action_source("smooth", environment.action_spec(), seed)
    states = []
    environment.reset()
    while len(states) < n:
        for _ in range(7):
            environment.step(next(actions))
        qvel = data.qvel * random.uniform(0, 2) + random.normal(0, 2, data.qvel.size)
        states.append((data.qpos.copy(), qvel, data.act.copy(), next(actions)))
    rows = []
    for qpos, qvel, act, ctrl in states:
        mujoco.mj_resetData(physics.model.ptr, data.ptr)
        forward(physics)
        data.qpos[:], data.qvel[:], data.act[:] = qpos, qvel, act
        forward(physics)
        data.ctrl[:] = ctrl
        observation = flat(environment.task.get_observation(physics))
        reward = environment.task.get_reward(physics)
        rows.append(np.concatenate([qpos, qvel, act, ctrl, observation, [reward]]))
    body = np.array(rows).astype("<f8").tobytes()
    return header(b"DMCOBS1\0", task, seed, n, 0, physics.model, observation.size) + body


def write(folder, task, kind, recording):
    path = folder / f"{task}_{kind}.bin"
    path.write_bytes(recording)
    print(path, path.stat().st_size, "bytes")


def write_every(folder, task, seed):
    write(folder, task, "a", record_trajectory(task, seed, 60, "uniform"))
    write(folder, task, "b", record_trajectory(task, seed + 1, 40, "bang"))
    write(folder, task, "starts", record_starts(task, seed + 2, 40))
    write(folder, task, "states", record_states(task, seed + 3, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--tag", default="a")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--actions", choices=("uniform", "smooth", "bang"), default="uniform")
    parser.add_argument("--starts", type=int, default=0, help="start states instead of a trajectory")
    parser.add_argument("--states", type=int, default=0, help="single states instead of a trajectory")
    parser.add_argument("--every", action="store_true", help="some of all three")
    options = parser.parse_args()
    folder, seed = options.folder, options.seed
    folder.mkdir(parents=True, exist_ok=True)
    for task in options.tasks.split(","):
        if options.every:
            write_every(folder, task, seed)
        elif options.states:
            write(folder, task, "states", record_states(task, seed, options.states))
        elif options.starts:
            write(folder, task, "starts", record_starts(task, seed, options.starts))
        else:
            write(folder, task, options.tag, record_trajectory(task, seed, options.steps, options.actions))


if __name__ == "__main__":
    main()
