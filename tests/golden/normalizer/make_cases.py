"""Writes the cases of normalization: inputs in float32, expectations computed in float64 by numpy alone.

    make_cases.py                        measured.safetensors, beside this file
    make_cases.py --step REFERENCE OUT   OUT/abm_mpo_normalized.safetensors: a learner step with a normalizer

REFERENCE is a folder with the independent program that made tests/golden/algorithms (abm_reference.py, make_cases.py):
the step is computed by that program from observations that were normalized here, in float64.
"""

import importlib
import pathlib
import sys

import numpy as np
import safetensors.numpy

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 10.0            # of a normalized value
CONSTANT_SHARE = 1e-6   # of |mean| + std: a std that is not above it is that of a constant


def normalized(x, mean, scale):
    return np.clip((x.astype(np.float64) - mean.astype(np.float64)) * scale.astype(np.float64), -LIMIT, LIMIT)


def measured():
    """Rows of six dimensions: ordinary, encoder ticks, strain, constant, almost constant, and one with rare spikes."""
    random = np.random.default_rng(20)
    rows = random.standard_normal((3000, 6)) * [1, 1e4, 1e-4, 0, 0, 0.02] + [0.5, 3e4, 1e-3, 7.25, 1e6, 0]
    rows[:, 4] += random.integers(0, 2, len(rows))  # half a millionth of its size: constant as far as a float can tell
    rows[::500, 5] = 40
    rows = rows.astype(np.float32)
    exact = rows.astype(np.float64)
    mean, std = exact.mean(0), exact.std(0)
    constant = ~(std > CONSTANT_SHARE * (np.abs(mean) + std))
    scale = np.where(constant, 0, 1 / np.where(constant, 1, std))
    # What acts and learns has mean and scale as floats.
    far = (mean + np.outer([-1e3, -9.99, 0, 10.01, 1e3], np.where(constant, 1, std))).astype(np.float32)
    probes = np.concatenate([rows[:20], rows[::500][:3], far])
    expected = normalized(probes, mean.astype(np.float32), scale.astype(np.float32))
    assert (np.abs(expected) == LIMIT).any() and (expected[:, 3:5] == 0).all()
    return {"rows": rows, "probes": probes, "expect/mean": mean, "expect/scale": scale, "expect/normalized": expected}


def step(reference, out):
    sys.path.insert(0, reference)
    cases = importlib.import_module("make_cases")
    spec = cases.json.loads((pathlib.Path(reference) / "cases.json").read_text())
    case = {**spec["defaults"], **spec["cases"]["abm_mpo_step"]}
    cfg = cases.config(case)
    mean = np.resize(np.float32([3e4, 1e-3, 7.25, -2, 0.5]), cfg.O)
    scale = np.resize(np.float32([1e-4, 1e4, 0, 0.25, 3]), cfg.O)

    def physical(y, random):
        """Observations that are normalized to y, but for the constant dimension; one in seven is far beyond."""
        y = y * np.where(random.uniform(size=y.shape) < 0.15, 30, 1)
        return (mean + y / np.where(scale == 0, 1, scale)).astype(np.float32)

    for attempt in range(200):
        seed = [7, attempt]
        inputs, random = cases.make_inputs(cfg, case, seed), np.random.default_rng(seed)
        seen, clipped = dict(inputs), 0
        for name in [one for one in inputs if one.endswith("batch/rows")] + ["act/input"]:
            at = (Ellipsis, slice(0, cfg.O))
            inputs[name] = inputs[name].copy()
            # Rows that must not be read hold 99 as before.
            unread = inputs[name][at] == 99
            x = np.where(unread, np.float32(99), physical(inputs[name][at].astype(np.float64), random))
            inputs[name][at] = x
            seen[name] = inputs[name].astype(np.float64)
            seen[name][at] = np.where(unread, 99, normalized(x, mean, scale))
            clipped += (np.abs(seen[name][at][~unread]) == LIMIT).sum()
        if clipped < 4 or cases.smallest_margin(cfg, seen) < cases.MARGIN:
            continue
        expected = cases.expectations(cfg, seen, np.float64, case.get("brief", False))
        if 0 < expected["step1/expect/accepted"] < 1:
            break
    else:
        raise SystemExit("no seed gives a well-conditioned case")
    inputs["init/normalizer/mean"], inputs["init/normalizer/scale"] = mean, scale
    sizes = {"B": case["B"], "N": case["N"], "T": case.get("T", cfg.K), "steps": case.get("steps", 3)}
    metadata = {k: cases.text(v) for k, v in {**cases.dataclasses.asdict(cfg), **sizes}.items()}
    cases.save(pathlib.Path(out) / "abm_mpo_normalized.safetensors", {**inputs, **expected},
               {"format": "abm-reference-case-2", "normalize": "standard", **metadata})
    print("attempt", attempt)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(*sys.argv[2:])
    else:
        safetensors.numpy.save_file(measured(), HERE / "measured.safetensors")
