"""Writes cases of crr, iql, td3+bc and weighted losses: inputs in float32, expectations computed in float64 by numpy.

    make_baselines.py [FOLDER]        crr*, iql*, td3_bc* and abm_mpo_weighted.safetensors; by default beside this file

Nothing here is taken from our C code: it is docs/maths.md, sections 3, 4 and 9, written down a second time. No gradient
is derived by hand, either. A loss is an analytic function of the parameters, so its derivative by one of them is the
imaginary part of the loss at that parameter plus i 1e-30, divided by 1e-30, to the last digits of a double. What a loss
holds fixed is computed before.
"""

import pathlib
import sys

import numpy as np
import safetensors.numpy
import scipy.special

HERE = pathlib.Path(__file__).resolve().parent
STEP = 1e-30      # of a complex derivative
MARGIN = 2e-4     # how far an advantage must be from the step function's jump

COMMON = {"O": 5, "A": 2, "K": 1, "T": 1, "B": 3, "N": 4, "M": 5, "widths": (16, 16, 16), "gamma": 0.99,
          "init_std": 0.5, "policy_min_std": 0.01, "prior_likelihood": "gaussian", "prior_f": "step",
          "temperature": 1.0, "max_weight": 20.0, "expectile": 0.7, "beta": 3.0, "iql_max_weight": 100.0,
          "bc_alpha": 2.5, "smoothing_std": 0.2, "smoothing_clip": 0.5, "lr": 1e-3, "beta1": 0.9, "beta2": 0.999,
          "adam_eps": 1e-5, "clip_norm": 40.0, "target_period": 2, "steps": 3}
MPO = {"algorithm": "abm+mpo", "prior_min_std": 0.05, "eps": 0.1, "eps_mean": 2.5e-3, "eps_std": 1e-5, "dual_lr": 1e-2,
       "rho_floor": -18.0}
CASES = {
    "crr_step": {"algorithm": "crr", "N": 5, "clip_norm": 1.5},
    "crr_exp": {"algorithm": "crr", "prior_f": "exp", "temperature": 0.5, "max_weight": 3.0, "B": 4,
                "widths": (16, 12, 8)},
    "crr_tasks_censored": {"algorithm": "crr", "K": 3, "T": 2, "N": 3, "prior_likelihood": "censored",
                           "policy_min_std": 0.1},
    "iql": {"algorithm": "iql"},
    "iql_tasks": {"algorithm": "iql", "K": 2, "T": 2, "beta": 4.0, "iql_max_weight": 2.0, "expectile": 0.9,
                  "prior_likelihood": "censored", "B": 2},
    "td3_bc": {"algorithm": "td3+bc", "init_std": 0.1, "scale_q": 0.7},
    "td3_bc_tasks": {"algorithm": "td3+bc", "init_std": 0.1, "scale_q": 0.0, "K": 3, "T": 1, "smoothing_std": 0.6,
                     "bc_alpha": 1.5, "B": 4},
    "crr_weighted": {"algorithm": "crr", "prior_f": "exp", "weights": (0.25, 3.0, 0.5), "clip_norm": 0.7},
    "iql_weighted": {"algorithm": "iql", "K": 2, "T": 2, "weights": (1.5, 0.125), "B": 2},
    "td3_bc_weighted": {"algorithm": "td3+bc", "init_std": 0.1, "scale_q": 0.7, "weights": (1e-3, 0.5, 2.0)},
    "abm_mpo_weighted": MPO | {"weights": (0.25, 3.0, 0.5), "clip_norm": 6.0},
}
NETWORKS = {"crr": ("policy", "critic"), "iql": ("policy", "critic", "critic2", "value"),
            "td3+bc": ("policy", "critic", "critic2"), "abm+mpo": ("policy", "prior", "critic")}


# ---- Networks: dictionaries of matrices (out, in) and vectors ----

def inputs_of(c):
    return c["O"] + (c["K"] if c["K"] > 1 else 0)


def shapes(c, network):
    heads = {"mean": c["A"], "std": c["A"]} if network in ("policy", "prior") else {"out": 1}
    width = inputs_of(c) + (c["A"] if network.startswith("critic") else 0)
    made = {}
    for layer, units in enumerate(c["widths"]):
        made |= {f"layers/{layer}/weight": (units, width), f"layers/{layer}/bias": (units,)}
        if layer == 0:
            made |= {"norm/scale": (units,), "norm/offset": (units,)}
        width = units
    for head, units in heads.items():
        made |= {f"{head}/weight": (units, width), f"{head}/bias": (units,)}
    return made


def linear(p, name, x):
    return x @ p[name + "/weight"].T + p[name + "/bias"]


def trunk(p, x):
    h = linear(p, "layers/0", x)
    h = h - h.mean(-1, keepdims=True)
    h = h / np.sqrt((h * h).mean(-1, keepdims=True) + 1e-5)
    h = np.tanh(h * p["norm/scale"] + p["norm/offset"])
    layer = 1
    while f"layers/{layer}/weight" in p:
        h = linear(p, f"layers/{layer}", h)
        h = np.where(h.real > 0, h, np.expm1(np.where(h.real > 0, 0, h)))
        layer += 1
    return h


def clip(a):
    return np.where(np.abs(a.real) <= 1, a, np.sign(a.real))


def critic(p, x, a):
    return linear(p, "out", trunk(p, np.concatenate([x, clip(a)], -1)))[..., 0]


def value(p, x):
    return linear(p, "out", trunk(p, x))[..., 0]


def gaussian(c, p, x, network="policy"):
    h = trunk(p, x)
    return np.tanh(linear(p, "mean", h)), c[network + "_min_std"] + np.log1p(np.exp(linear(p, "std", h))) * (
        c["init_std"] / np.log(2))


def samples(mean, std, z):
    """mean, std (S, A), z (S, M, A)."""
    return mean[:, None] + std[:, None] * z


def critic_of_samples(p, x, a):
    return critic(p, np.broadcast_to(x[:, None], (*a.shape[:2], x.shape[-1])), a)


def log_likelihood(c, mean, std, a):
    density = -0.5 * ((a - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    if c["prior_likelihood"] == "censored":
        beyond = scipy.special.log_ndtr((np.sign(a) * mean - 1) / std)
        density = np.where(np.abs(a) >= 1, beyond, density)
    return density.sum(-1)


# ---- A step ----

def gather(c, batch, noise):
    """The states of a batch, task by task: s, a, r, d, and s' = next; all rows 0..n; their noise."""
    rows, valid, tasks = batch["rows"].astype(float), batch["valid"], batch["tasks"]
    O, A = c["O"], c["A"]
    states, everywhere = [], []
    for b, n in enumerate(valid):
        for tau, task in enumerate(tasks[b]):
            one_hot = np.eye(c["K"])[task] if c["K"] > 1 else np.zeros(0)
            x = [np.concatenate([rows[b, t, :O], one_hot]) for t in range(n + 1)]
            at = len(everywhere)
            everywhere += [(x[t], noise["value"][b, t, tau] if "value" in noise else 0) for t in range(n + 1)]
            weight = batch["weights"][b] / batch["weights"].max() if "weights" in batch else 1.0
            for t in range(n):
                states.append((x[t], rows[b, t, O:O + A], rows[b, t, O + A + task], rows[b, t, -1], weight, at + t,
                               at + t + 1, *[noise[k][b, t, tau] if k in noise else 0 for k in ("improve", "backup")]))
    names = ("x", "a", "r", "d", "w", "row", "next_row", "improve", "backup")
    made = dict(zip(names, map(np.array, zip(*states))))
    made["rows_x"], made["rows_z"] = map(np.array, zip(*everywhere))
    return made


def derivative(loss, p):
    """The gradient of loss(p) by complex steps."""
    made = {}
    for name in p:
        made[name] = np.zeros_like(p[name])
        moved = {k: v.astype(complex) for k, v in p.items()}
        for i in np.ndindex(p[name].shape):
            moved[name][i] += 1j * STEP
            made[name][i] = loss(moved).imag / STEP
            moved[name][i] = p[name][i]
    return made


def weight_of(c, advantage):
    if c["algorithm"] in ("crr", "abm+mpo") and c["prior_f"] == "step":
        return (advantage >= 0).astype(float)
    if c["algorithm"] == "iql":
        return np.minimum(np.exp(c["beta"] * advantage), c["iql_max_weight"])
    return np.minimum(np.exp(advantage / c["temperature"]), c["max_weight"])


def returns(c, s, v):
    """R of Eq. 4: rewards up to the end of the snippet, then V."""
    made = np.zeros(len(s["r"]))
    for i in reversed(range(len(made))):
        goes_on = i + 1 < len(made) and s["row"][i + 1] == s["next_row"][i]
        made[i] = s["r"][i] + c["gamma"] * s["d"][i] * (made[i + 1] if goes_on else v[s["next_row"][i]])
    return made


def multiplier(rho):
    return np.log1p(np.exp(rho)) + 1e-8


def e_step(c, p, q):
    """(log of the weights of the samples, mean over states of the dual's second term)"""
    eta = multiplier(p["dual"]["rho_eta"])[0]
    total = scipy.special.logsumexp(q / eta, axis=-1, keepdims=True)
    return q / eta - total, (eta * (total - np.log(c["M"]))).mean()


def m_step(c, w, s):
    """(likelihood loss, KL of the means, KL of the stds); KLs for each dimension of the action."""
    mean, std = gaussian(c, w, s["x"])
    mean_t, std_t = s["mean_t"], s["std_t"]
    density = lambda m, d: (-0.5 * ((s["samples"] - m[:, None]) / d[:, None]) ** 2 - np.log(d[:, None])
                            - 0.5 * np.log(2 * np.pi)).sum(-1)
    loss = -(s["weights"] * (density(mean, std_t) + density(mean_t, std))).sum(-1).mean()
    return (loss, ((mean - mean_t) ** 2 / (2 * std_t ** 2)).mean(0),
            (np.log(std / std_t) + std_t ** 2 / (2 * std ** 2) - 0.5).mean(0))


def evaluate(c, p, targets, s):
    """V at s', what it reports, and the advantage of the logged actions: what the losses hold fixed."""
    report = {}
    if c["algorithm"] == "crr":
        v = critic_of_samples(targets["critic"], s["rows_x"],
                              samples(*gaussian(c, targets["policy"], s["rows_x"]), s["rows_z"])).mean(-1)
        q = critic_of_samples(p["critic"], s["x"], samples(*gaussian(c, p["policy"], s["x"]), s["improve"])).mean(-1)
        advantage = critic(p["critic"], s["x"], s["a"]) - q
    elif c["algorithm"] == "abm+mpo":
        mean, std = gaussian(c, targets["policy"], s["rows_x"])
        s["mean_t"], s["std_t"] = mean[s["row"]], std[s["row"]]
        v = critic_of_samples(targets["critic"], s["rows_x"], samples(mean, std, s["rows_z"])).mean(-1)
        advantage = returns(c, s, v) - v[s["row"]]
        s["samples"] = samples(*gaussian(c, p["prior"], s["x"], "prior"), s["improve"])
        q = critic_of_samples(targets["critic"], s["x"], s["samples"])
        s["weights"] = np.exp(e_step(c, p, q)[0])
    elif c["algorithm"] == "iql":
        v = value(p["value"], s["rows_x"])
        q = np.minimum(*(critic(targets[n], s["x"], s["a"]) for n in ("critic", "critic2")))
        advantage = q - v[s["row"]]
    else:
        x = s["rows_x"][s["next_row"]]
        noise = np.clip(c["smoothing_std"] * s["backup"][:, 0], -c["smoothing_clip"], c["smoothing_clip"])
        a = gaussian(c, targets["policy"], x)[0] + noise
        best = np.minimum(*(critic(targets[n], x, a) for n in ("critic", "critic2")))
        v = np.full(len(s["rows_x"]), np.nan)
        v[s["next_row"]] = best
        q, advantage = critic(p["critic"], s["x"], gaussian(c, p["policy"], s["x"])[0]), None
    y = s["r"] + c["gamma"] * s["d"] * v[s["next_row"]]
    report = {"value_mean": np.nanmean(v), "target_mean": y.mean(), "q_mean": q.mean()}
    if advantage is not None:
        report |= {"advantage_mean": advantage.mean(), "accepted": weight_of(c, advantage).mean()}
    return y, q, advantage, report


def fit_loss(c, w, network, advantage, s):
    """Of a Gaussian network that is fitted to logged actions, weighted by their advantage."""
    return (-s["w"] * weight_of(c, advantage) * log_likelihood(c, *gaussian(c, w, s["x"], network), s["a"])).mean()


def losses_of(c, p, y, q, advantage, s):
    """{network: (its loss as a function of its parameters, the report's name)}"""
    made = {n: ((lambda w: (s["w"] * 0.5 * (critic(w, s["x"], s["a"]) - y) ** 2).mean()), n + "_loss")
            for n in NETWORKS[c["algorithm"]] if n.startswith("critic")}
    if c["algorithm"] == "td3+bc":
        size = p["scale"]["q"][0]
        weight = c["bc_alpha"] / size if size else 0.0

        def policy_loss(w):
            mean = gaussian(c, w, s["x"])[0]
            return (s["w"] * (-weight * critic(p["critic"], s["x"], mean) + ((mean - s["a"]) ** 2).mean(-1))).mean()
    elif c["algorithm"] == "abm+mpo":
        def policy_loss(w):
            loss, kl_mean, kl_std = m_step(c, w, s)
            return loss + (multiplier(p["dual"]["rho_mean"]) * kl_mean + multiplier(p["dual"]["rho_std"]) * kl_std).sum()
    else:
        def policy_loss(w):
            return fit_loss(c, w, "policy", advantage, s)
    if c["algorithm"] == "abm+mpo":
        made["prior"] = (lambda w: fit_loss(c, w, "prior", advantage, s)), "prior_loss"
    made["policy"] = policy_loss, "policy_loss"
    if c["algorithm"] == "iql":
        def value_loss(w):
            u = q - value(w, s["x"])
            return (s["w"] * np.where(u.real < 0, 1 - c["expectile"], c["expectile"]) * u * u).mean()
        made["value"] = value_loss, "value_loss"
    return made


def duals(c, p, q, s):
    """(gradients by rho, report)"""
    log_weights, second = e_step(c, p, q)
    loss, kl_mean, kl_std = m_step(c, p["policy"], s)
    eta, alpha_mean, alpha_std = (multiplier(p["dual"][name]) for name in ("rho_eta", "rho_mean", "rho_std"))
    kl = (np.exp(log_weights) * (log_weights + np.log(c["M"]))).sum(-1).mean()
    slope = {name: 1 / (1 + np.exp(-rho)) for name, rho in p["dual"].items()}
    slack_mean, slack_std = c["eps_mean"] - kl_mean, c["eps_std"] - kl_std
    gradients = {"rho_eta": (c["eps"] - kl) * slope["rho_eta"], "rho_mean": slack_mean * slope["rho_mean"],
                 "rho_std": slack_std * slope["rho_std"]}
    return gradients, {
        "policy_loss": loss, "trust_loss": (alpha_mean * kl_mean + alpha_std * kl_std).sum(), "kl_mean": kl_mean,
        "kl_std": kl_std, "kl_improved": kl, "dual_loss": eta[0] * c["eps"] + second, "eta": eta,
        "alpha_mean": alpha_mean, "alpha_std": alpha_std,
        "alpha_loss": (alpha_mean * slack_mean + alpha_std * slack_std).sum()}


def step(c, state, batch, noise):
    """(the state after it, report, gradients)"""
    p, s = state["params"], gather(c, batch, noise)
    y, q, advantage, report = evaluate(c, p, state["targets"], s)
    gradients = {}
    for network, (loss, name) in losses_of(c, p, y, q, advantage, s).items():
        report[name] = loss(p[network])
        gradients[network] = derivative(loss, p[network])
        report["grad_norm_" + network] = np.sqrt(sum((g * g).sum() for g in gradients[network].values()))
    if c["algorithm"] == "td3+bc":
        size = p["scale"]["q"][0]
        report["q_weight"] = c["bc_alpha"] / size if size else 0.0
        report["bc_loss"] = (s["w"][:, None] * (gaussian(c, p["policy"], s["x"])[0] - s["a"]) ** 2).mean()
        report["policy_loss"] = -report["q_weight"] * (s["w"] * q).mean()
    if c["algorithm"] == "abm+mpo":
        gradients["dual"], more = duals(c, p, q, s)
        report |= more
    if "weights" in batch:
        report["importance_weight"] = s["w"].mean()
        report["td_error"] = np.abs(critic(p["critic"], s["x"], s["a"]) - y).mean()

    # Adam, each network's gradient clipped first; that of the duals is not, and has a rate of its own.
    number = state["number"] + 1
    new = {"params": {}, "m": {}, "v": {}, "targets": dict(state["targets"]), "number": number}
    for network, group in gradients.items():
        factor = min(1.0, c["clip_norm"] / report["grad_norm_" + network]) if network != "dual" else 1.0
        rate = c["lr"] if network != "dual" else c["dual_lr"]
        parts = {k: {} for k in ("params", "m", "v")}
        for name, g in group.items():
            m = c["beta1"] * state["m"][network][name] + (1 - c["beta1"]) * factor * g
            v = c["beta2"] * state["v"][network][name] + (1 - c["beta2"]) * (factor * g) ** 2
            corrected = np.sqrt(v / (1 - c["beta2"] ** number)) + c["adam_eps"]
            parts["params"][name] = p[network][name] - rate * m / (1 - c["beta1"] ** number) / corrected
            parts["m"][name], parts["v"][name] = m, v
        for k in parts:
            new[k][network] = parts[k]
    if number % c["target_period"] == 0:
        new["targets"] = {n: new["params"][n] for n in state["targets"]}
    if "scale" in p:
        new["params"]["scale"] = {"q": np.array([np.abs(q).mean()])}
        new["m"]["scale"] = new["v"]["scale"] = {"q": np.zeros(1)}
    return new, report, gradients, advantage


# ---- A case ----

def flat(prefix, tree):
    return {f"{prefix}/{group}/{name}": a for group, one in tree.items() for name, a in one.items()}


def make_batch(c, random):
    """Lengths 1, N and between; ends by termination and by a time limit; actions at the ends; 99 where nothing is read."""
    B, N, O, A = c["B"], c["N"], c["O"], c["A"]
    rows = np.zeros((B, N + 1, O + A + c["K"] + 1))
    rows[..., :O] = random.standard_normal((B, N + 1, O))
    a = random.uniform(-1, 1, (B, N + 1, A))
    rows[..., O:O + A] = np.where(random.uniform(size=a.shape) < 0.25, np.sign(a), a)
    rows[..., O + A:-1] = 0.5 * random.standard_normal((B, N + 1, c["K"]))
    rows[..., -1] = random.uniform(size=(B, N + 1)) < 0.8
    valid = np.array([1, N, *random.integers(2, N, B)][:B], np.int32)
    for b, n in enumerate(valid):
        rows[b, n - 1, -1] = b % 2
        rows[b, n, O:] = 99
        rows[b, n + 1:] = 99
    tasks = [random.permutation(c["K"])[:c["T"]] if c["T"] < c["K"] else np.arange(c["K"]) for _ in range(B)]
    made = {"rows": rows.astype(np.float32), "valid": valid, "tasks": np.array(tasks, np.int32)}
    return made | ({"weights": np.array(c["weights"])} if "weights" in c else {})


def make_noise(c, random):
    B, N, T, M, A = (c[k] for k in "BNTMA")
    sampled = {"value": (B, N + 1, T, M, A), "improve": (B, N, T, M, A)}
    sizes = {"crr": sampled, "abm+mpo": sampled, "iql": {},
             "td3+bc": {"backup": (B, N, T, 1, A)}}[c["algorithm"]]
    return {k: random.standard_normal(size).astype(np.float32) for k, size in sizes.items()}


def make(name, c, random):
    """The tensors of a case, or None where an advantage is too near to the step function's jump."""
    draw = lambda shape, scale: scale * random.standard_normal(shape)
    start = {n: {k: (draw(shape, shape[-1] ** -0.5 if len(shape) == 2 else 0.2) + (k == "norm/scale")).astype(np.float32)
                 for k, shape in shapes(c, n).items()} for n in NETWORKS[c["algorithm"]]}
    targets = {n: {k: (a + draw(a.shape, 0.05 * a.std())).astype(np.float32) for k, a in start[n].items()}
               for n in start if n not in ("value", "prior")}
    if "scale_q" in c:
        start["scale"] = {"q": np.array([c["scale_q"]], np.float32)}
    if "rho_floor" in c:
        start["dual"] = {name: np.full(n, rho, np.float32) for name, n, rho in (
            ("rho_eta", c["K"], -1.8), ("rho_mean", c["A"], 2.2), ("rho_std", c["A"], 5.5))}
    tensors = flat("init", start) | flat("init_target", targets)
    double = lambda tree: {n: {k: a.astype(float) for k, a in one.items()} for n, one in tree.items()}
    zeros = {n: {k: np.zeros(a.shape) for k, a in one.items()} for n, one in start.items()}
    state = {"params": double(start), "targets": double(targets), "m": zeros, "v": zeros, "number": 0}

    x = random.standard_normal((4, inputs_of(c)))
    x[:, c["O"]:] = np.eye(c["K"])[np.arange(4) % c["K"]] if c["K"] > 1 else 0
    z = random.standard_normal((4, 1, c["A"]))
    tensors["act/input"], tensors["act/noise"] = x.astype(np.float32), z.astype(np.float32)
    acts = samples(*gaussian(c, state["params"]["policy"], tensors["act/input"].astype(float)),
                   tensors["act/noise"].astype(float))[:, 0]
    tensors["act/expect/action"] = np.clip(acts, -1, 1)

    for number in range(1, c["steps"] + 1):
        batch, noise = make_batch(c, random), make_noise(c, random)
        tensors |= {f"step{number}/batch/{k}": v for k, v in batch.items()}
        tensors |= {f"step{number}/noise/{k}": v for k, v in noise.items()}
        state, report, gradients, advantage = step(c, state, batch, {k: v.astype(float) for k, v in noise.items()})
        if c["algorithm"] in ("crr", "abm+mpo") and c["prior_f"] == "step":
            if np.abs(advantage).min() < MARGIN or not 0 < report["accepted"] < 1:
                return None
        tensors |= {f"step{number}/expect/{k}": np.atleast_1d(v) for k, v in report.items()}
        if number == 1:
            tensors |= flat("step1/grad", gradients)
        if number in (1, 3):
            tensors |= flat(f"after{number}", state["params"])
        if number == 3:
            tensors |= flat("after3_target", state["targets"]) | flat("after3_m", state["m"]) | flat("after3_v", state["v"])
    return tensors


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    text = lambda value: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    for index, (name, case) in enumerate(CASES.items()):
        c = COMMON | case
        tensors = next(t for t in (make(name, c, np.random.default_rng([4, index, i])) for i in range(100)) if t)
        metadata = {"format": "abm-reference-case-2"} | {k: text(v) for k, v in c.items() if k not in ("scale_q", "weights")}
        path = folder / f"{name}.safetensors"
        safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata)
        print(f"{name:20s} {path.stat().st_size / 1024:6.1f} KiB", flush=True)


if __name__ == "__main__":
    main()
