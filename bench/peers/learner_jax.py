#!/usr/bin/env python3
"""One ABM+MPO step as one XLA program on the CPU: the JAX side of `bench/peers/run learner`.

    learner_jax.py [--size quick|large] [--precision f32|bf16] [--way WAY]

V is taken once per row (S + B of them, each serving as s and as s'), policy' and the state's part of the critic's first
layer once per row, the prior's forward pass serves its loss and the sampling. The whole step, noise and Adam included,
is one jitted function that reuses the memory of the state it is given. WAY is how Q' is evaluated on M samples a state:

    whole       all samples in one go
    blocksROWS  ROWS states after the other, so that a block's activations stay in the cache
    ..-split    the batch in equal parts, each on a thread of its own; their gradients are added

With bf16 the evaluation that needs no gradients (Q', policy') multiplies bfloat16 matrices and sums in float32.
Threads: as many as the processor affinity that it is started with has cores.
"""

import argparse
import functools
import os
import re

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

import learner_work as work

fixed = jax.lax.stop_gradient


def elu(x):
    # exp(x) - 1 is a third of expm1's time here, and as near as float32 sums need it
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


def product(x, weight, dtype):
    return jnp.dot(x.astype(dtype), weight.astype(dtype), preferred_element_type=jnp.float32)


def norm_tanh(net, z):
    z = z - z.mean(-1, keepdims=True)
    variance = jnp.square(z).mean(-1, keepdims=True)
    return jnp.tanh(z * jax.lax.rsqrt(variance + 1e-5) * net["norm/scale"] + net["norm/offset"])


def hidden(net, z, dtype):
    """From the first layer's sums (..,H) to the last hidden layer's activations."""
    h = norm_tanh(net, z)
    for i in (1, 2):
        h = elu(product(h, net[f"layers/{i}/weight"], dtype) + net[f"layers/{i}/bias"])
    return h


def gaussian(net, s, min_std, init_std, dtype=jnp.float32):
    h = hidden(net, product(s, net["layers/0/weight"], dtype) + net["layers/0/bias"], dtype)
    mean = jnp.tanh(h @ net["mean/weight"] + net["mean/bias"])
    spread = jax.nn.softplus(h @ net["std/weight"] + net["std/bias"])
    return mean, min_std + spread * (init_std / np.log(2.0))


def critic_value(net, s, a):
    z = jnp.concatenate([s, a], -1) @ net["layers/0/weight"] + net["layers/0/bias"]
    return (hidden(net, z, jnp.float32) @ net["out/weight"] + net["out/bias"])[:, 0]


def judge_block(net, state_part, a, dtype):
    """Q' of a(R,M,A) beside state_part(R,H) -> (R,M)."""
    R, M, A = a.shape
    O = net["layers/0/weight"].shape[0] - A
    z = (a.reshape(R * M, A) @ net["layers/0/weight"][O:]).reshape(R, M, -1) + state_part[:, None]
    h = hidden(net, z.reshape(R * M, -1), dtype)
    return (h @ net["out/weight"][:, 0] + net["out/bias"]).reshape(R, M)


def evaluate(net, state_part, a, dtype, way):
    R = a.shape[0]
    block = int(way.removeprefix("blocks")) if way.startswith("blocks") else R
    block = min(block, R)
    if R % block != 0:
        raise SystemExit(f"way {way}: {R} rows are not a multiple of {block}")
    if block == R:
        return judge_block(net, state_part, a, dtype)
    if dtype != jnp.float32:
        net = net | {name: net[name].astype(dtype) for name in ("layers/1/weight", "layers/2/weight")}
    split = lambda x: x.reshape(R // block, block, *x.shape[1:])
    q = jax.lax.map(lambda x: judge_block(net, *x, dtype), (split(state_part), split(a)))
    return q.reshape(R, -1)


def log_density(a, mean, std):
    return -0.5 * jnp.square((a - mean) / std) - jnp.log(std) - 0.5 * np.log(2 * np.pi)


def multiplier(rho):
    return jax.nn.softplus(rho) + 1e-8


def loss(params, targets, rows, valid, z_value, z_improve, n_states, share, settings, dtype, way):
    """Sum of all losses, whose gradients are those of docs/maths.md, section 3; and each of them.

    n_states counts the whole batch, of which these rows are the part `share`: parts add up.
    """
    B, N, O, A, M = len(valid), settings.N, settings.O, settings.A, settings.M
    init_std = settings.init_std
    t = jnp.arange(N + 1)
    used = t[None] < valid[:, None]                                     # (B,N+1): a state that counts
    at_end = t[None] == valid[:, None]
    mean_states = lambda x: jnp.where(used[:, :N].reshape(-1), x, 0).sum() / n_states

    rows = jnp.where((t[None] <= valid[:, None])[:, :, None], rows, 0)
    s = rows[:, :, :O]
    all_s = s.reshape(-1, O)
    states = s[:, :N].reshape(-1, O)
    actions = rows[:, :N, O : O + A].reshape(-1, A)
    reward, discount = rows[:, :N, O + A], rows[:, :N, O + A + 1]

    # Value, once per row
    critic_t = targets["critic"]
    mean_t, std_t = gaussian(targets["policy"], all_s, settings.policy_min_std, init_std, dtype)
    part = all_s @ critic_t["layers/0/weight"][:O] + critic_t["layers/0/bias"]
    clip = lambda a: jnp.clip(a, -1, 1)
    samples = mean_t[:, None] + std_t[:, None] * z_value.reshape(-1, M, A)
    V = evaluate(critic_t, part, clip(samples), dtype, way).mean(1).reshape(B, N + 1)
    states_of = lambda x: x.reshape(B, N + 1, -1)[:, :N].reshape(B * N, -1)
    mean_t, std_t, part = states_of(mean_t), states_of(std_t), states_of(part)

    # Critic
    y = reward + settings.gamma * discount * V[:, 1:]
    q = critic_value(params["critic"], states, clip(actions))
    critic_loss = mean_states(0.5 * jnp.square(q - y.reshape(-1)))

    # Prior, weighted by the step function of the advantage
    def back(R, x):
        r, d, v, counts, ends = x
        R = jnp.where(counts, r + settings.gamma * d * R, jnp.where(ends, v, 0))
        return R, R

    columns = (reward.T, discount.T, V[:, :N].T, used[:, :N].T, at_end[:, :N].T)
    _, returns = jax.lax.scan(back, jnp.where(at_end[:, N], V[:, N], 0), columns, reverse=True, unroll=True)
    accepted = (returns.T - V[:, :N] >= 0).astype(jnp.float32).reshape(-1)
    prior_mean, prior_std = gaussian(params["prior"], states, settings.prior_min_std, init_std)
    prior_loss = -mean_states(accepted * log_density(actions, prior_mean, prior_std).sum(-1))

    # E-step on samples of the prior
    a = fixed(prior_mean[:, None] + prior_std[:, None] * z_improve.reshape(-1, M, A))
    q = evaluate(critic_t, fixed(part), clip(a), dtype, way)
    eta = multiplier(params["dual"]["rho_eta"][0])
    scaled = q / eta
    dual_loss = share * eta * settings.eps + eta * mean_states(jax.nn.logsumexp(scaled, 1) - np.log(M))
    weights = fixed(jax.nn.softmax(scaled, 1))[:, :, None]

    # M-step: the weighted samples' first two moments are all that the densities need
    centre = (weights * a).sum(1)
    variance = (weights * jnp.square(a - centre[:, None])).sum(1)
    mean, std = gaussian(params["policy"], states, settings.policy_min_std, init_std)
    fit = log_density(centre, mean, std_t) - 0.5 * variance / jnp.square(std_t)
    fit += log_density(centre, mean_t, std) - 0.5 * variance / jnp.square(std)
    policy_loss = -mean_states(fit.sum(-1))

    mean_each = lambda x: jnp.where(used[:, :N].reshape(-1, 1), x, 0).sum(0) / n_states
    kl_mean = mean_each(0.5 * jnp.square((mean - mean_t) / std_t))
    kl_std = mean_each(jnp.log(std / std_t) + 0.5 * jnp.square(std_t / std) - 0.5)
    alpha_mean, alpha_std = multiplier(params["dual"]["rho_mean"]), multiplier(params["dual"]["rho_std"])
    trust_loss = (fixed(alpha_mean) * kl_mean + fixed(alpha_std) * kl_std).sum()
    alpha_loss = (alpha_mean * (share * settings.eps_mean - fixed(kl_mean))).sum()
    alpha_loss += (alpha_std * (share * settings.eps_std - fixed(kl_std))).sum()

    losses = dict(zip(work.LOSSES, (critic_loss, prior_loss, policy_loss, trust_loss, dual_loss, alpha_loss)))
    return sum(losses.values()), losses


def adam(params, gradients, first, second, step, settings):
    first = jax.tree.map(lambda m, g: settings.beta1 * m + (1 - settings.beta1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: settings.beta2 * v + (1 - settings.beta2) * g * g, second, gradients)
    t = step.astype(jnp.float32)
    scale1, scale2 = 1 / (1 - settings.beta1**t), 1 / (1 - settings.beta2**t)

    def move(name):
        rate = settings.dual_lr if name == "dual" else settings.lr
        go = lambda p, m, v: p - rate * m * scale1 / (jnp.sqrt(v * scale2) + settings.adam_eps)
        return jax.tree.map(go, params[name], first[name], second[name])

    params = {name: move(name) for name in params}
    params["dual"] = jax.tree.map(lambda rho: jnp.maximum(rho, settings.rho_floor), params["dual"])
    return params, first, second


def clipped(gradients, clip_norm):
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))
    scale = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, 1e-30))
    return jax.tree.map(lambda g: g * scale, gradients)


def gradients_and_losses(params, targets, *inputs, total, share, **how):
    n_states = total(inputs[1].sum()).astype(jnp.float32)
    return total(jax.grad(loss, has_aux=True)(params, targets, *inputs, n_states, share, **how))


def update(state, *inputs, settings, dtype, way):
    """One step on rows, valid, z_value, z_improve."""
    way, _, split = way.partition("-")
    take = functools.partial(gradients_and_losses, settings=settings, dtype=dtype, way=way)
    if split:
        mesh = devices()
        whole, part = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("part")
        take = functools.partial(take, total=lambda x: jax.lax.psum(x, "part"), share=1 / mesh.size)
        take = jax.shard_map(
            take, mesh=mesh, in_specs=(whole, whole) + (part,) * 4, out_specs=(whole, whole), check_vma=False
        )
    else:
        take = functools.partial(take, total=lambda x: x, share=1.0)
    gradients, losses = take(state["params"], state["targets"], *inputs)
    gradients = {name: g if name == "dual" else clipped(g, settings.clip_norm) for name, g in gradients.items()}
    step = state["step"] + 1
    params, first, second = adam(state["params"], gradients, state["first"], state["second"], step, settings)
    targets = jax.lax.cond(
        step % settings.target_period == 0,
        lambda: {name: params[name] for name in work.TARGETS},
        lambda: state["targets"],
    )
    return {"params": params, "targets": targets, "first": first, "second": second, "step": step}, losses


def step_with_noise(state, key, rows, valid, *, settings, **how):
    key, of_value, of_improve = jax.random.split(key, 3)
    B, N, M, A = settings.B, settings.N, settings.M, settings.A
    z_value = jax.random.normal(of_value, (B, N + 1, M, A))
    z_improve = jax.random.normal(of_improve, (B, N, M, A))
    state, losses = update(state, rows, valid, z_value, z_improve, settings=settings, **how)
    return state, key, losses


# ---- Between numpy's (out, in) and the (in, out) of the products here ----


def to_device(networks):
    return jax.tree.map(lambda x: jnp.array(x.T if x.ndim == 2 else x), networks)


def to_numpy(networks):
    return jax.tree.map(lambda x: np.asarray(x).T, networks)


def new_state(params, targets):
    params = to_device(params)
    zeros = lambda: jax.tree.map(jnp.zeros_like, params)
    return {
        "params": params, "targets": to_device(targets), "first": zeros(), "second": zeros(),
        "step": jnp.array(0, jnp.int32),
    }


def devices():
    """One for every core that we may use, where the batch is split."""
    return jax.sharding.Mesh(np.array(jax.devices()), ("part",))


def on_devices(arrays):
    """`arrays` on each of them."""
    return jax.device_put(arrays, jax.sharding.NamedSharding(devices(), jax.sharding.PartitionSpec()))


class Referee:
    """The step on the reference case, for work.check."""

    def __init__(self, dtype, way):
        self.how = {"dtype": dtype, "way": way}

    def start(self, settings, params, targets):
        self.state = on_devices(new_state(params, targets))
        self.update = jax.jit(functools.partial(update, settings=settings, **self.how), donate_argnums=0)

    def take(self, *inputs):
        # A batch that is split in parts may need a snippet more, of which nothing counts.
        missing = -len(inputs[0]) % len(jax.devices())
        inputs = [np.concatenate([x, np.zeros_like(x[:missing])]) for x in inputs]
        self.state, losses = self.update(self.state, *inputs)
        return {name: float(x) for name, x in losses.items()}

    def networks(self):
        return to_numpy(self.state["params"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=work.SIZES, default="quick")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--way", default="whole")
    args = parser.parse_args()
    if args.way.endswith("-split"):
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    dtype = jnp.bfloat16 if args.precision == "bf16" else jnp.float32

    case_way = re.sub(r"\d+", "1", args.way)  # blocks of 1 row: the case's 18 and 15 rows have few divisors
    referee = Referee(dtype, case_way)
    error = work.check(referee.start, referee.take, referee.networks, 1e-3 if args.precision == "f32" else 3e-2)

    B, N = work.SIZES[args.size]
    settings = work.Settings(B=B, N=N)
    rng = np.random.default_rng(1)
    params = work.initial(settings, rng)
    state = new_state(params, {name: params[name] for name in work.TARGETS})
    state, key, (rows, valid) = on_devices((state, jax.random.key(1), work.batch(settings, rng)))
    take = functools.partial(step_with_noise, settings=settings, dtype=dtype, way=args.way)
    take = jax.jit(take, donate_argnums=(0, 1)).lower(state, key, rows, valid).compile()
    losses = None

    def step():
        nonlocal state, key, losses
        state, key, losses = take(state, key, rows, valid)

    work.serve(step, lambda: jax.block_until_ready(losses), version=jax.__version__, error=error)


main()
