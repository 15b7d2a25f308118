#!/usr/bin/env python3
"""One ABM+MPO step in PyTorch on the CPU: the PyTorch side of `bench/peers/run learner`.

    learner_torch.py [--size quick|large] [--precision f32|bf16] [--way WAY] [--threads N]

V is taken once per row (S + B of them, each serving as s and as s'), policy' and the state's part of the critic's first
layer once per row, the prior's forward pass serves its loss and the sampling. WAY is eager-SPLIT or compiled-SPLIT
(torch.compile), where SPLIT is how Q' is evaluated on M samples a state:

    whole       all samples in one go; compiled, the losses are one graph
    blocksROWS  ROWS states after the other, so that a block's activations stay in the cache; compiled, a block is a graph

With bf16 the evaluation that needs no gradients (Q', policy') runs its products and ELUs in bfloat16.
"""

import argparse
import math
import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import torch
import torch.nn.functional as F

import learner_work as work


def hidden(net, z, dtype):
    """From the first layer's sums (..,H) to the last hidden layer's activations."""
    H = z.shape[-1]
    h = torch.tanh(F.layer_norm(z, (H,), net["norm/scale"], net["norm/offset"], 1e-5)).to(dtype)
    for i in (1, 2):
        h = F.elu(F.linear(h, net[f"layers/{i}/weight"].to(dtype), net[f"layers/{i}/bias"].to(dtype)))
    return h


def gaussian(net, s, min_std, init_std, dtype=torch.float32):
    h = hidden(net, F.linear(s, net["layers/0/weight"], net["layers/0/bias"]), dtype).float()
    mean = torch.tanh(F.linear(h, net["mean/weight"], net["mean/bias"]))
    spread = F.softplus(F.linear(h, net["std/weight"], net["std/bias"]))
    return mean, min_std + spread * (init_std / math.log(2.0))


def critic_value(net, s, a):
    z = F.linear(torch.cat([s, a], -1), net["layers/0/weight"], net["layers/0/bias"])
    return F.linear(hidden(net, z, torch.float32), net["out/weight"], net["out/bias"]).squeeze(-1)


def judge_block(net, state_part, a, dtype):
    """Q' of a(R,M,A) beside state_part(R,H) -> (R,M)."""
    R, M, A = a.shape
    z = F.linear(a.reshape(R * M, A), net["layers/0/weight"][:, -A:]).view(R, M, -1) + state_part[:, None]
    h = hidden(net, z.view(R * M, -1), dtype)
    return F.linear(h, net["out/weight"].to(dtype), net["out/bias"].to(dtype)).float().view(R, M)


def judge_block_in_place(net, state_part, a, dtype):
    """The same with no more memory than needed: for eager mode, where every result would be a new one."""
    R, M, A = a.shape
    z = F.linear(a.reshape(R * M, A), net["layers/0/weight"][:, -A:]).view(R, M, -1)
    z += state_part[:, None]
    H = z.shape[-1]
    h = F.layer_norm(z.view(R * M, H), (H,), net["norm/scale"], net["norm/offset"], 1e-5).tanh_().to(dtype)
    for i in (1, 2):
        h = F.elu_(F.linear(h, net[f"layers/{i}/weight"].to(dtype), net[f"layers/{i}/bias"].to(dtype)))
    return F.linear(h, net["out/weight"].to(dtype), net["out/bias"].to(dtype)).float().view(R, M)


def log_density(a, mean, std):
    return -0.5 * ((a - mean) / std).square() - torch.log(std) - 0.5 * math.log(2 * math.pi)


def multiplier(rho):
    return F.softplus(rho) + 1e-8


class Way:
    """How evaluate() and losses() run."""

    def __init__(self, text, dtype):
        self.mode, _, split = text.partition("-")
        if self.mode not in ("eager", "compiled") or not (split == "whole" or split.startswith("blocks")):
            raise SystemExit(f"--way {text}: expected eager or compiled, -, whole or blocksROWS")
        self.dtype = dtype
        self.rows = int(split.removeprefix("blocks")) if split != "whole" else None
        self.block = judge_block_in_place if self.mode == "eager" else judge_block
        self.losses = losses
        if self.mode == "compiled":
            self.losses = torch.compile(losses, dynamic=False)
            if self.rows is not None:
                self.block = torch.compile(judge_block, dynamic=False)
                self.evaluate = torch._dynamo.disable(self.evaluate, recursive=False)

    def evaluate(self, net, state_part, a):
        if self.rows is None or self.rows >= a.shape[0]:
            return self.block(net, state_part, a, self.dtype)
        net = {name: x.to(self.dtype) if name[0] in "lo" and "/0/" not in name else x for name, x in net.items()}
        q = torch.empty(a.shape[:2])
        for r in range(0, a.shape[0], self.rows):
            block = slice(r, r + self.rows)
            q[block] = self.block(net, state_part[block], a[block], self.dtype)
        return q


def losses(params, targets, rows, valid, z_value, z_improve, settings, way):
    """Each loss; the gradients of their sum are those of docs/maths.md, section 3."""
    B, N, O, A, M = settings.B, settings.N, settings.O, settings.A, settings.M
    with torch.no_grad():
        t = torch.arange(N + 1)
        used = t[None] < valid[:, None]                                 # (B,N+1): a state that counts
        at_end = t[None] == valid[:, None]
        counts = used[:, :N].reshape(-1).float()
        counts = counts / counts.sum()                                  # weights of the mean over states
        rows = torch.where((used | at_end)[:, :, None], rows, 0.0)
        all_s = rows[:, :, :O].reshape(-1, O)
        states = rows[:, :N, :O].reshape(-1, O)
        actions = rows[:, :N, O : O + A].reshape(-1, A)
        reward, discount = rows[:, :N, O + A], rows[:, :N, O + A + 1]

        # Value, once per row
        critic_t = targets["critic"]
        mean_t, std_t = gaussian(targets["policy"], all_s, settings.policy_min_std, settings.init_std, way.dtype)
        part = F.linear(all_s, critic_t["layers/0/weight"][:, :O], critic_t["layers/0/bias"])
        samples = (mean_t[:, None] + std_t[:, None] * z_value.view(-1, M, A)).clamp(-1, 1)
        V = way.evaluate(critic_t, part, samples).mean(1).view(B, N + 1)
        mean_t, std_t, part = (x.view(B, N + 1, -1)[:, :N].reshape(B * N, -1) for x in (mean_t, std_t, part))
        y = reward + settings.gamma * discount * V[:, 1:]

        # The prior's weights: the step function of the advantage
        R = torch.where(at_end[:, N], V[:, N], 0.0)
        returns = []
        for i in reversed(range(N)):
            R = torch.where(used[:, i], reward[:, i] + settings.gamma * discount[:, i] * R,
                            torch.where(at_end[:, i], V[:, i], 0.0))
            returns.append(R)
        accepted = (torch.stack(returns[::-1], 1) - V[:, :N] >= 0).float().view(-1)

    q = critic_value(params["critic"], states, actions.clamp(-1, 1))
    critic_loss = 0.5 * (counts * (q - y.view(-1)).square()).sum()
    prior_mean, prior_std = gaussian(params["prior"], states, settings.prior_min_std, settings.init_std)
    prior_loss = -(counts * accepted * log_density(actions, prior_mean, prior_std).sum(-1)).sum()

    # E-step on samples of the prior; the M-step needs no more of them than two weighted moments
    eta = multiplier(params["dual"]["rho_eta"][0])
    with torch.no_grad():
        a = prior_mean[:, None] + prior_std[:, None] * z_improve.view(-1, M, A)
        q = way.evaluate(critic_t, part, a.clamp(-1, 1))
        weights = torch.softmax(q / eta, 1)[:, :, None]
        centre = (weights * a).sum(1)
        variance = (weights * (a - centre[:, None]).square()).sum(1)
    dual_loss = eta * settings.eps + eta * (counts * (torch.logsumexp(q / eta, 1) - math.log(M))).sum()
    mean, std = gaussian(params["policy"], states, settings.policy_min_std, settings.init_std)
    fit = log_density(centre, mean, std_t) - 0.5 * variance / std_t.square()
    fit = fit + log_density(centre, mean_t, std) - 0.5 * variance / std.square()
    policy_loss = -(counts * fit.sum(-1)).sum()

    kl_mean = (counts[:, None] * 0.5 * ((mean - mean_t) / std_t).square()).sum(0)
    kl_std = (counts[:, None] * (torch.log(std / std_t) + 0.5 * (std_t / std).square() - 0.5)).sum(0)
    alpha_mean, alpha_std = multiplier(params["dual"]["rho_mean"]), multiplier(params["dual"]["rho_std"])
    trust_loss = (alpha_mean.detach() * kl_mean + alpha_std.detach() * kl_std).sum()
    alpha_loss = (alpha_mean * (settings.eps_mean - kl_mean.detach())).sum()
    alpha_loss = alpha_loss + (alpha_std * (settings.eps_std - kl_std.detach())).sum()
    return critic_loss, prior_loss, policy_loss, trust_loss, dual_loss, alpha_loss


class Learner:
    def __init__(self, settings, params, targets, way):
        self.settings = settings
        self.way = way
        tensors = lambda networks, grad: {
            network: {name: torch.tensor(x).requires_grad_(grad) for name, x in tensors.items()}
            for network, tensors in networks.items()
        }
        self.params = tensors(params, True)
        self.targets = tensors(targets, False)
        nets = [list(self.params[name].values()) for name in work.NETWORKS]
        self.nets = nets
        self.duals = list(self.params["dual"].values())
        self.adam = torch.optim.Adam(
            [{"params": sum(nets, []), "lr": settings.lr}, {"params": self.duals, "lr": settings.dual_lr}],
            betas=(settings.beta1, settings.beta2), eps=settings.adam_eps, fused=True,
        )
        self.steps = 0

    def take(self, rows, valid, z_value, z_improve):
        self.adam.zero_grad(set_to_none=True)
        each = self.way.losses(self.params, self.targets, rows, valid, z_value, z_improve, self.settings, self.way)
        torch.stack(each).sum().backward()
        for net in self.nets:
            torch.nn.utils.clip_grad_norm_(net, self.settings.clip_norm, foreach=True)
        self.adam.step()
        self.steps += 1
        with torch.no_grad():
            for rho in self.duals:
                rho.clamp_(min=self.settings.rho_floor)
            if self.steps % self.settings.target_period == 0:
                for network in work.TARGETS:
                    torch._foreach_copy_(list(self.targets[network].values()), list(self.params[network].values()))
        return each

    def step(self, rows, valid):
        B, N, M, A = self.settings.B, self.settings.N, self.settings.M, self.settings.A
        self.take(rows, valid, torch.randn(B, N + 1, M, A), torch.randn(B, N, M, A))


class Referee:
    """The step on the reference case, for work.check."""

    def __init__(self, way):
        self.way = way

    def start(self, settings, params, targets):
        self.learner = Learner(settings, params, targets, self.way)

    def take(self, *inputs):
        each = self.learner.take(*(torch.tensor(x) for x in inputs))
        return {name: float(x.detach()) for name, x in zip(work.LOSSES, each)}

    def networks(self):
        return {
            network: {name: x.detach().numpy() for name, x in tensors.items()}
            for network, tensors in self.learner.params.items()
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=work.SIZES, default="quick")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--way", default="eager-blocks64")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32

    split = args.way.partition("-")[2]
    case_way = Way(args.way if split == "whole" else args.way.partition("-")[0] + "-blocks3", dtype)
    referee = Referee(case_way)
    error = work.check(referee.start, referee.take, referee.networks, 1e-3 if args.precision == "f32" else 3e-2)

    B, N = work.SIZES[args.size]
    settings = work.Settings(B=B, N=N)
    rng = np.random.default_rng(1)
    params = work.initial(settings, rng)
    learner = Learner(settings, params, {name: params[name] for name in work.TARGETS}, Way(args.way, dtype))
    rows, valid = map(torch.tensor, work.batch(settings, rng))
    work.serve(lambda: learner.step(rows, valid), lambda: None, version=torch.__version__, error=error)


main()
