"""What experiments/paper/run runs: domains, logs, offline runs, and which of them a figure of the paper shows."""
import dataclasses
import itertools
import pathlib

import runs

HERE = pathlib.Path(__file__).resolve().parent

EPISODES = 1000  # of online learning for each seed, at scale 1 (the paper: 10,000)
STEPS = 20000  # of offline learning, at scale 1
BATCH_TRANSITIONS = 256  # of a learner step, whatever a snippet's length is
LOW_SHARE = 5  # low-quality logs are the first 1/LOW_SHARE of each seed's (the paper's 2,000 of 10,000)


@dataclasses.dataclass(frozen=True)
class Domain:
    environment: str
    # Ours, the same for all algorithms of a domain (docs/paper.md):
    prior_eps: float  # nats: eps of algorithms with a prior, their distance to it
    target_period: int  # steps between target copies
    snippet_transitions: int  # N
    noise_correlation: float  # of exploration, online
    paper_best_low: int  # return of the best episode of the paper's low-quality logs (its Fig. 2)


DOMAINS = {
    "cheetah": Domain("cheetah-run", 0.2, 50, 1, 0, 718),
    "hopper": Domain("hopper-hop", 0.4, 25, 1, 0.9, 159),
    "walker": Domain("walker-run", 0.6, 50, 1, 0, 435),
    "quadruped": Domain("quadruped-run", 1.2, 50, 8, 0, 728),
}

PAPER = ["mpo", "svg", "bm+mpo", "abm+mpo", "bm+svg", "abm+svg", "bcq", "bear"]
BASELINES = ["crr", "iql"]  # not in the paper
PRIORS = ["bm", "abm"]


def snippets_of(transitions):
    """Settings of snippets so long, and of as many as make up a step."""
    return [f"snippet_transitions={transitions}", f"batch_snippets={BATCH_TRANSITIONS // transitions}"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One offline run."""

    domain: str
    quality: str  # high or low
    algorithm: str
    variant: str  # "" or what is changed, such as samples=1; several are separated by commas
    seed: int

    def folder(self, root):
        return root / self.domain / self.quality / (self.algorithm + (f",{self.variant}" if self.variant else "")) \
            / f"seed-{self.seed}"

    def flags(self, root, steps):
        domain = DOMAINS[self.domain]
        flags = [f"--experiment.environment={domain.environment}", f"--experiment.seed={self.seed}",
                 f"--restorer.folder={root / self.domain / 'logs' / self.quality}",
                 f"--learner.algorithm={self.algorithm}", f"--learner.steps={steps}",
                 f"--learner.target_period={domain.target_period}",
                 *(f"--learner.{setting}" for setting in snippets_of(domain.snippet_transitions)),
                 f"--learner.publish_every={max(1, steps // 20)}"]
        if self.algorithm in runs.WITH_PRIOR:
            flags.append(f"--learner.eps={domain.prior_eps:g}")
        return flags + [f"--learner.{change}" for change in filter(None, self.variant.split(","))]


def variants_of(domain):
    """What the paper says makes no difference, or does not vary: f, M, eps, and N. Each on its own, with abm+mpo."""
    return ["prior_f=exp", "samples=1", "samples=5", "eps=0.1", "eps=2",
            *(",".join(snippets_of(n)) for n in (1, 5, 8) if n != DOMAINS[domain].snippet_transitions)]


def runs_of(figure, domain, seeds):
    """The offline runs that a figure shows, in the order in which an early look is most telling."""
    if figure in ("1", "2"):
        quality = {"1": "high", "2": "low"}[figure]
        return [Run(domain, quality, algorithm, "", seed)
                for seed, algorithm in itertools.product(seeds, PAPER + BASELINES)]
    if figure == "9":
        return [Run(domain, quality, algorithm, "", seed) for seed, quality, algorithm
                in itertools.product(seeds, ("high", "low"), PRIORS + ["bm+mpo", "abm+mpo"])]
    if figure == "settings":
        return [Run(domain, "high", "abm+mpo", variant, seed)
                for seed, variant in itertools.product(seeds, ["", *variants_of(domain)])]
    return []  # 6: the online runs alone


FIGURES = ["6", "2", "1", "9", "settings"]
