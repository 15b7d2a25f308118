"""Makes case.safetensors: one step of fitted Q evaluation in numpy, in float64.

Written from the equations at the head of offline_evaluator/fitted_q.h, not from its code. Gradients are central
differences of the loss. Run it again: python3 make.py
"""

import json
import pathlib
import struct

import numpy as np

O, A, K, C, M, B = 3, 2, 2, 3, 2, 7
WIDTHS = [6, 5]
# column, reward, gamma, offset, scale, low, high
HEADS = np.array([[0, 0, 0.9, 0.5, 2.0, -1e300, 1e300], [1, 1, 0.99, -1.0, 0.5, -1e300, 1e300],
                  [2, 0, 1.0, 0.2, 1.5, 0.0, 0.4], [0, 1, 0.5, 0.0, 1.0, -1e300, 1e300]])
H = len(HEADS)
rng = np.random.default_rng(5)


def parameters():
    fan_in, parts = O + A, {}
    for i, width in enumerate(WIDTHS):
        parts[f"layers/{i}/weight"] = rng.normal(size=(width, fan_in)) * 0.5
        parts[f"layers/{i}/bias"] = rng.normal(size=width) * 0.2
        fan_in = width
    parts["norm/scale"] = 1 + rng.normal(size=WIDTHS[0]) * 0.2
    parts["norm/offset"] = rng.normal(size=WIDTHS[0]) * 0.2
    parts["out/weight"] = rng.normal(size=(H, WIDTHS[-1])) * 0.5
    parts["out/bias"] = rng.normal(size=H) * 0.2
    return {name: value.astype(np.float32).astype(np.float64) for name, value in parts.items()}


def network(p, inputs):
    h = inputs @ p["layers/0/weight"].T + p["layers/0/bias"]
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    h = np.tanh(h * p["norm/scale"] + p["norm/offset"])
    h = h @ p["layers/1/weight"].T + p["layers/1/bias"]
    h = np.where(h > 0, h, np.expm1(np.minimum(h, 0)))
    return h @ p["out/weight"].T + p["out/bias"]


def values(p, x, a):
    """(B,H): head h of its own column's actions, mean over M."""
    out = np.zeros((len(x), H))
    for h, (c, _, _, offset, scale, _, _) in enumerate(HEADS):
        for j in range(M):
            out[:, h] += network(p, np.concatenate([x, a[:, int(c), j]], 1))[:, h] / M
        out[:, h] = offset + scale * out[:, h]
    return out


def loss(p, y):
    q = network(p, np.concatenate([x, np.clip(a, -1, 1)], 1))
    return np.mean(w * 0.5 * (q - (y - HEADS[:, 3]) / HEADS[:, 4]) ** 2)


def single(array):
    return np.asarray(array, np.float32).astype(np.float64)


params, target = parameters(), parameters()
x, next_x = single(rng.normal(size=(B, O))), single(rng.normal(size=(B, O)))
a = single(rng.normal(size=(B, A)))  # some beyond the limits
next_a = single(np.clip(rng.normal(size=(B, C, M, A)), -1, 1))
r, d = single(rng.normal(size=(B, K))), single(rng.random(B) > 0.3)
w = single(rng.random((B, H)) > 0.2)

v = values(target, next_x, next_a)
y = np.stack([np.clip(r[:, int(k)] + g * d * v[:, h], low, high)
              for h, (_, k, g, _, _, low, high) in enumerate(HEADS)], 1)
gradients = {}
for name, value in params.items():
    gradients[name] = np.zeros_like(value)
    for i in np.ndindex(value.shape):
        ends = []
        for sign in (1, -1):
            moved = {**params, name: value.copy()}
            moved[name][i] += sign * 1e-6
            ends.append(loss(moved, y))
        gradients[name][i] = (ends[0] - ends[1]) / 2e-6

arrays = {"x": x, "next_x": next_x, "a": a, "next_a": next_a, "r": r, "d": d, "weights": w,
          **{f"params/{n}": v for n, v in params.items()}, **{f"target/{n}": v for n, v in target.items()}}
results = {"heads": HEADS, "values": v, "loss": np.array([loss(params, y)]),
           **{f"gradients/{n}": v for n, v in gradients.items()}}
header, data = {"__metadata__": {"made_by": "tests/golden/fitted_q/make.py"}}, b""
for name, (array, kind) in {**{n: (v, "F64") for n, v in sorted(results.items())},
                            **{n: (v, "F32") for n, v in sorted(arrays.items())}}.items():
    part = np.ascontiguousarray(array, "<f8" if kind == "F64" else "<f4").tobytes()
    header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(part)]}
    data += part
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
(pathlib.Path(__file__).parent / "case.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
