"""A policy of Hindcast in Python, by ctypes and numpy: no other package is needed.

    policy = Policy("policy.safetensors")
    policy.start(seed=0, episode=0, task="run")
    action = policy.act(observation)

`python3 hindcast_policy.py policy.safetensors` prints what the policy is, and its action at an observation of zeros.
"""

import ctypes
import os
import sys

import numpy as np

_lib = ctypes.CDLL(os.environ.get("HINDCAST_POLICY_LIBRARY", "libhindcast_policy.so.0"))
_floats = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
_p, _u32, _u64, _s = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p


class Outside(ctypes.Structure):
    """Which dimensions of an observation are outside of what was seen in learning (hindcast_policy.h)."""

    _fields_ = [("count", _u32), ("dimension", _u32), ("slice", _s), ("element", _u32), ("value", ctypes.c_float),
                ("min", ctypes.c_float), ("max", ctypes.c_float), ("excess", ctypes.c_float)]


for _name, _result, _arguments in [
        ("hindcast_policy_load", ctypes.c_int, [ctypes.POINTER(_p), _s, _s]),
        ("hindcast_policy_free", None, [_p]),
        ("hindcast_policy_status_text", _s, [ctypes.c_int]),
        ("hindcast_policy_observation_size", _u32, [_p]),
        ("hindcast_policy_action_size", _u32, [_p]),
        ("hindcast_policy_slices", _u32, [_p]),
        ("hindcast_policy_slice", _s, [_p, _u32, ctypes.POINTER(_u32), ctypes.POINTER(_u32)]),
        ("hindcast_policy_action_min", ctypes.c_float, [_p, _u32]),
        ("hindcast_policy_action_max", ctypes.c_float, [_p, _u32]),
        ("hindcast_policy_control_period_s", ctypes.c_double, [_p]),
        ("hindcast_policy_tasks", _u32, [_p]),
        ("hindcast_policy_task", _s, [_p, _u32]),
        ("hindcast_policy_note", _s, [_p, _s]),
        ("hindcast_policy_observed", ctypes.c_int, [_p, _u32, ctypes.POINTER(ctypes.c_float),
                                                    ctypes.POINTER(ctypes.c_float)]),
        ("hindcast_policy_offline_value", ctypes.c_int, [_p] + 3 * [ctypes.POINTER(ctypes.c_double)]),
        ("hindcast_actor_hold", ctypes.c_int, [_p, ctypes.c_int, ctypes.c_float, _p]),
        ("hindcast_actor_outside", None, [_p, ctypes.POINTER(Outside)]),
        ("hindcast_actor_new", ctypes.c_int, [ctypes.POINTER(_p), _p, _s, _s]),
        ("hindcast_actor_free", None, [_p]),
        ("hindcast_actor_start", ctypes.c_int, [_p, _u64, _u64, _u32]),
        ("hindcast_actor_act", ctypes.c_int, [_p, _floats, _floats])]:
    _function = getattr(_lib, _name)
    _function.restype, _function.argtypes = _result, _arguments


class Policy:
    """A policy and an actor for it. `rule` is "mean", "sample", "argmax", or None for the evaluator's choice."""

    def __init__(self, path, rule=None):
        self._policy, self._actor = _p(), _p()
        error = ctypes.create_string_buffer(1024)
        if (_lib.hindcast_policy_load(ctypes.byref(self._policy), os.fsencode(path), error) != 0 or
                _lib.hindcast_actor_new(ctypes.byref(self._actor), self._policy, rule and rule.encode(), error) != 0):
            raise ValueError(error.value.decode())
        self.observation_size = _lib.hindcast_policy_observation_size(self._policy)
        self.action_size = _lib.hindcast_policy_action_size(self._policy)
        self.slices = {}
        for i in range(_lib.hindcast_policy_slices(self._policy)):
            begin, size = _u32(), _u32()
            name = _lib.hindcast_policy_slice(self._policy, i, begin, size).decode()
            self.slices[name] = slice(begin.value, begin.value + size.value)
        self.tasks = [(_lib.hindcast_policy_task(self._policy, i) or b"").decode()
                      for i in range(_lib.hindcast_policy_tasks(self._policy))]
        self.action_min, self.action_max = (
            np.array([limit(self._policy, i) for i in range(self.action_size)], np.float32)
            for limit in (_lib.hindcast_policy_action_min, _lib.hindcast_policy_action_max))
        self.control_period_s = _lib.hindcast_policy_control_period_s(self._policy)
        self.observed = self._observed()
        self.outside = None

    def _observed(self):
        """The least and the largest value of each dimension that was seen in learning, (2, O); None: not known."""
        ranges = np.empty((2, self.observation_size), np.float32)
        least, most = ctypes.c_float(), ctypes.c_float()
        for i in range(self.observation_size):
            if _lib.hindcast_policy_observed(self._policy, i, least, most) != 0:
                return None
            ranges[:, i] = least.value, most.value
        return ranges

    @property
    def offline_value(self):
        """(value, low, high) of an offline evaluation, or None."""
        values = [ctypes.c_double() for _ in range(3)]
        return None if _lib.hindcast_policy_offline_value(self._policy, *values) else tuple(v.value for v in values)

    def hold(self, rule, margin=0.0, action=None):
        """What act() does where an observation is outside: "never", "stop", "last" or "action". It then sets `outside`."""
        if action is not None:
            action = np.ascontiguousarray(action, np.float32)
        self._check(_lib.hindcast_actor_hold(self._actor, ("never", "stop", "last", "action").index(rule), margin,
                                             None if action is None else action.ctypes.data))

    def note(self, key):
        """A metadata text of the file, such as note("learner_step"), or None."""
        text = _lib.hindcast_policy_note(self._policy, key.encode())
        return text and text.decode()

    def start(self, seed=0, episode=0, task=0):
        """Begins an episode; `task` is a name or a number."""
        task = self.tasks.index(task) if isinstance(task, str) else task
        self._check(_lib.hindcast_actor_start(self._actor, seed, episode, task))

    def act(self, observation):
        """The action, in physical units, at one observation; None where it holds by writing none."""
        observation = np.ascontiguousarray(observation, np.float32)
        if observation.shape != (self.observation_size,):
            raise ValueError(f"observation of shape {observation.shape}: expected ({self.observation_size},)")
        action = np.full(self.action_size, np.nan, np.float32)
        status = _lib.hindcast_actor_act(self._actor, observation, action)
        self.outside = None
        if status == 6:
            self.outside = Outside()
            _lib.hindcast_actor_outside(self._actor, self.outside)
            return None if np.isnan(action).any() else action
        self._check(status)
        return action

    @staticmethod
    def _check(status):
        if status != 0:
            raise ValueError(_lib.hindcast_policy_status_text(status).decode())

    def __del__(self):
        _lib.hindcast_actor_free(self._actor)
        _lib.hindcast_policy_free(self._policy)


if __name__ == "__main__":
    policy = Policy(sys.argv[1])
    print(policy.note("algorithm"), policy.slices, policy.tasks, policy.control_period_s)
    print(policy.act(np.zeros(policy.observation_size)))
