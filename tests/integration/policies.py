"""Reads, writes and evaluates policy packages in Python, independently of the C code.

A safetensors file consists of 8 bytes of length, JSON, and arrays. A policy is a few lines of numpy.
"""

import json
import struct

import numpy as np


def load(path):
    """Returns (arrays by name, metadata) of a safetensors file of float32."""
    raw = path.read_bytes()
    size, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + size])
    notes = header.pop("__metadata__", {})
    arrays = {name: np.frombuffer(raw[8 + size:][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
              for name, entry in header.items()}
    return arrays, notes


def save(path, arrays, notes):
    header, data = {"__metadata__": notes}, b""
    for name in sorted(arrays):
        part = np.ascontiguousarray(arrays[name], "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(arrays[name].shape),
                        "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def mean_action(arrays, inputs, network="policy"):
    """clip(tanh(Wm h + bm)) as in docs/maths.md, section 2. `inputs` has shape (N, I)."""
    part = {name.removeprefix(network + "/"): array.astype(np.float64) for name, array in arrays.items()}
    if "normalizer/mean" in arrays:
        mean, scale = arrays["normalizer/mean"], arrays["normalizer/scale"]
        normalized = np.clip((inputs[:, :len(mean)] - mean) * scale, -10, 10)
        inputs = np.concatenate([normalized, inputs[:, len(mean):]], axis=1)
    layers = sum(name.startswith("layers/") and name.endswith("weight") for name in part)
    h = inputs @ part["layers/0/weight"].T + part["layers/0/bias"]
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    h = np.tanh(h * part["norm/scale"] + part["norm/offset"])
    for layer in range(1, layers):
        h = h @ part[f"layers/{layer}/weight"].T + part[f"layers/{layer}/bias"]
        h = np.where(h > 0, h, np.expm1(np.minimum(h, 0)))
    return np.clip(np.tanh(h @ part["mean/weight"].T + part["mean/bias"]), -1, 1)


def make(rng, inputs, outputs, widths, network="policy", heads=("mean", "std")):
    """Random weights, large enough that actions differ between states. Each head has `outputs` outputs."""
    arrays, fan_in = {}, inputs
    for layer, width in enumerate(widths):
        arrays[f"{network}/layers/{layer}/weight"] = rng.normal(size=(width, fan_in)) * 0.3
        arrays[f"{network}/layers/{layer}/bias"] = rng.normal(size=width) * 0.1
        fan_in = width
    arrays[f"{network}/norm/scale"] = 1 + rng.normal(size=widths[0]) * 0.1
    arrays[f"{network}/norm/offset"] = rng.normal(size=widths[0]) * 0.1
    for head in heads:
        arrays[f"{network}/{head}/weight"] = rng.normal(size=(outputs, fan_in)) * 0.3
        arrays[f"{network}/{head}/bias"] = rng.normal(size=outputs) * 0.1
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def notes(observations, actions, widths):
    return {"format": "hindcast-policy-1", "algorithm": "abm+mpo", "acting": "gaussian",
            "observation": str(observations), "actions": str(actions), "tasks": "1",
            "widths": ",".join(map(str, widths)), "min_std": "0.01", "init_std": "0.5", "learner_step": "7",
            "setting/prior_min_std": "0.05"}


def signature_of(slices, A, tasks):
    """A signature whose action limits are asymmetric and differ between dimensions."""
    low = np.linspace(-2, -0.25, A)
    return {"observation": [{"name": f"part_{i}", "size": size} for i, size in enumerate(slices)],
            "action": {"min": low.tolist(), "max": (low + np.linspace(0.5, 8, A)).tolist()},
            "rewards": list(tasks), "control_period_s": 0.025}


def make_package(path, acting, slices=(5, 1, 3), A=3, tasks=("run",), widths=(33, 20), candidates=9, signature=True,
                 normalized=False, observed=None, **more):
    """Writes a package of random weights with this acting rule and returns its signature.

    `observed` is the range of every dimension; `more` becomes metadata.
    """
    rng = np.random.default_rng(7)
    K = len(tasks)
    I = sum(slices) + (K if K > 1 else 0)
    arrays = make(rng, I, A, widths)
    text = {**notes(sum(slices), A, widths), "acting": acting, "tasks": str(K)}
    if acting != "gaussian":
        arrays |= make(rng, I + A, 1, widths, "critic", ["out"])
        text["candidates"] = str(candidates)
    if acting == "perturbed_argmax":
        arrays |= make(rng, I + A, A, widths, "perturb", ["out"])
        text["perturb_scale"] = "0.25"
    if normalized:
        arrays["normalizer/mean"] = rng.normal(0, 2, sum(slices)).astype(np.float32)
        arrays["normalizer/scale"] = rng.uniform(0.1, 4, sum(slices)).astype(np.float32)
        arrays["normalizer/scale"][1] = 0  # a dimension that never changed
    if observed:
        arrays["observed/min"], arrays["observed/max"] = (np.full(sum(slices), end, np.float32) for end in observed)
    text |= more
    made = signature_of(slices, A, tasks)
    if signature:
        text["signature"] = json.dumps(made)
    save(path, arrays, text)
    return made
