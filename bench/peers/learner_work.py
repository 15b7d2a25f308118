"""What the peers of the learner share: the work of a step, its reference case, and the conversation with `run`.

A peer is a program that takes one ABM+MPO step of docs/maths.md on B snippets of N transitions as often as it can. The
same step is first held against a case of tests/golden/algorithms, so that what is timed is the same work as ours.
"""

import dataclasses
import json
import pathlib
import struct
import sys
import time

import numpy as np

CASE = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/algorithms/abm_mpo_step.safetensors"

# Snippets and transitions of each, as in docs/maths.md, section 6.
SIZES = {"quick": (64, 8), "large": (512, 10)}

NETWORKS = ("policy", "prior", "critic")
TARGETS = ("policy", "critic")
LOSSES = ("critic_loss", "prior_loss", "policy_loss", "trust_loss", "dual_loss", "alpha_loss")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes and constants of a step; the defaults are ours (learner/step/settings.c)."""

    B: int = 64
    N: int = 8
    O: int = 17
    A: int = 6
    M: int = 20
    widths: tuple = (256, 256, 256)
    gamma: float = 0.99
    init_std: float = 0.5
    policy_min_std: float = 0.01
    prior_min_std: float = 0.05
    eps: float = 0.1
    eps_mean: float = 2.5e-3
    eps_std: float = 1e-5
    lr: float = 3e-4
    dual_lr: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.999
    adam_eps: float = 1e-8
    clip_norm: float = 40.0
    target_period: int = 200
    rho_floor: float = -18.0
    init_eta: float = 10.0
    init_alpha_mean: float = 10.0
    init_alpha_std: float = 100.0

    @staticmethod
    def of_metadata(metadata):
        values = {}
        for field in dataclasses.fields(Settings):
            text = metadata.get(field.name)
            if text is None:
                raise SystemExit(f"{CASE}: no {field.name} in its metadata")
            kind = type(field.default)
            values[field.name] = tuple(map(int, text.split(","))) if kind is tuple else kind(text)
        return Settings(**values)


# ---- Parameters: {network: {"layers/0/weight": (out, in), ..}}, the names of the reference cases ----


def shapes(settings):
    """The shape of every tensor of every network, weights as (out, in)."""
    inputs = {"policy": settings.O, "prior": settings.O, "critic": settings.O + settings.A}
    result = {}
    for network in NETWORKS:
        tensors = {}
        width = inputs[network]
        for i, out in enumerate(settings.widths):
            tensors[f"layers/{i}/weight"] = (out, width)
            tensors[f"layers/{i}/bias"] = (out,)
            width = out
        tensors["norm/scale"] = tensors["norm/offset"] = (settings.widths[0],)
        heads = {"out": 1} if network == "critic" else {"mean": settings.A, "std": settings.A}
        for head, out in heads.items():
            tensors[f"{head}/weight"] = (out, width)
            tensors[f"{head}/bias"] = (out,)
        result[network] = tensors
    return result


def initial(settings, rng):
    """Networks and duals as ours begin (docs/maths.md, sections 2 and 3)."""
    params = {}
    for network, tensors in shapes(settings).items():
        params[network] = {}
        for name, shape in tensors.items():
            if name.endswith("weight"):
                limit = np.sqrt(3.0 * (1 / 3 if name.startswith("layers") else 1e-4) / shape[0])
                value = rng.uniform(-limit, limit, shape)
            else:
                value = np.full(shape, 1.0 if name == "norm/scale" else 0.0)
            params[network][name] = value.astype(np.float32)

    def rho(multiplier, n):
        return np.full(n, np.log(np.expm1(multiplier)) if multiplier < 30 else multiplier, np.float32)

    params["dual"] = {
        "rho_eta": rho(settings.init_eta, 1),
        "rho_mean": rho(settings.init_alpha_mean, settings.A),
        "rho_std": rho(settings.init_alpha_std, settings.A),
    }
    return params


def batch(settings, rng):
    """Full snippets with the rows' layout [ observation | action | reward | discount ]: rows (B,N+1,W), valid (B)."""
    rows = rng.standard_normal((settings.B, settings.N + 1, settings.O + settings.A + 2), dtype=np.float32)
    actions = slice(settings.O, settings.O + settings.A)
    rows[:, :, actions] = np.tanh(rows[:, :, actions])
    rows[:, :, -1] = 1.0
    return rows, np.full(settings.B, settings.N, np.int32)


# ---- The reference case ----


class Case:
    """A safetensors file of tests/golden/algorithms."""

    def __init__(self, path=CASE):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        self.settings = Settings.of_metadata(header.pop("__metadata__"))
        types = {"F32": np.float32, "F64": np.float64, "I32": np.int32}
        self._tensors = {}
        for name, tensor in header.items():
            begin, end = (8 + length + offset for offset in tensor["data_offsets"])
            self._tensors[name] = np.frombuffer(data[begin:end], types[tensor["dtype"]]).reshape(tensor["shape"])

    def group(self, prefix):
        """{rest of the name: tensor} of all whose name begins with prefix/."""
        return {name[len(prefix) + 1 :]: x for name, x in self._tensors.items() if name.startswith(prefix + "/")}

    def networks(self, prefix, names):
        return {name: self.group(f"{prefix}/{name}") for name in names}

    def step(self, s):
        """rows, valid, noise of V (B,N+1,M,A), noise of the improvement (B,N,M,A) of step s, from 1."""
        inputs = self.group(f"step{s}")
        return inputs["batch/rows"], inputs["batch/valid"], inputs["noise/value"][:, :, 0], inputs["noise/improve"][:, :, 0]


def check(start, take, networks, tolerance=1e-3):
    """Holds a peer's step against the reference case; returns the worst error of its losses, or exits.

    start(settings, params, targets)    begins anew from numpy parameters
    take(rows, valid, z_value, z_improve) takes one step with this noise and returns {loss: float}
    networks()                          {network: {name: numpy, as above}} of now

    A loss may differ by `tolerance` of max(1, expected); after three steps the parameters by that part of all they moved.
    """
    case = Case()
    begin = case.networks("init", NETWORKS + ("dual",))
    start(case.settings, begin, case.networks("init_target", TARGETS))
    worst = 0.0
    for s in (1, 2, 3):
        losses = take(*case.step(s))
        expected = case.group(f"step{s}/expect")
        for name in LOSSES:
            want = float(expected[name])
            error = abs(losses[name] - want) / max(1.0, abs(want))
            worst = max(worst, error)
            if not error <= tolerance:
                raise SystemExit(f"step {s}: {name} {losses[name]:.6g}, expected {want:.6g}: not the same work")
    after = case.networks("after3", NETWORKS + ("dual",))
    for network, tensors in networks().items():
        moved = sum(float(np.square(after[network][name] - begin[network][name]).sum()) for name in tensors)
        off = sum(float(np.square(after[network][name] - x).sum()) for name, x in tensors.items())
        if not off**0.5 <= max(10 * tolerance, 1e-2) * moved**0.5:
            raise SystemExit(f"{network}: {off**0.5:.3g} off after moving {moved**0.5:.3g}: not the same work")
    return worst


# ---- The conversation with `run` ----


def serve(step, wait, **facts):
    """Warms up, says so on stdout, then answers every line "SECONDS" with its speed until stdin ends.

    step() begins one step; wait() returns when all that began are done.
    """
    begin = time.perf_counter()
    for _ in range(3):
        step()
    wait()
    print(json.dumps({"ready": True, "warm_s": round(time.perf_counter() - begin, 1), **facts}), flush=True)
    for line in sys.stdin:
        seconds = float(line)
        step()
        wait()
        steps = 0
        begin_cpu = time.process_time()
        begin = time.perf_counter()
        while True:
            step()
            steps += 1
            if steps % 4 == 0 or time.perf_counter() - begin > seconds:
                wait()
                if time.perf_counter() - begin >= seconds:
                    break
        elapsed, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        print(json.dumps({"steps_per_s": steps / elapsed, "steps_per_cpu_s": steps / cpu}), flush=True)
