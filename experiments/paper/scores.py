"""Statistics of several runs, as Agarwal et al. define them ("Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS 2021).

Scores are {domain: [run, ..]}, a run being the list of its episodes' returns. A run's score is the mean of its episodes.
"""
import random
import statistics

RESAMPLES = 2000  # of a bootstrap (ours; the authors' default is 50,000, of runs alone)
LEVEL = 0.95


def interquartile_mean(values):
    """The mean of what is left without the lowest and the highest quarter, floor(n / 4) values each."""
    values = sorted(values)
    cut = len(values) // 4
    return statistics.fmean(values[cut : len(values) - cut])


def of_runs(scores):
    """The interquartile mean over all runs of all domains."""
    return interquartile_mean([statistics.fmean(run) for runs in scores.values() for run in runs])


def probability_of_improvement(x, y):
    """How often a run of x is better than one of y, ties being half; the mean over domains that both have."""
    shares = []
    for domain in x.keys() & y.keys():
        pairs = [(statistics.fmean(a), statistics.fmean(b)) for a in x[domain] for b in y[domain]]
        shares.append(statistics.fmean(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs))
    return statistics.fmean(shares)


def resample(scores, rng):
    """Runs drawn again with replacement within each domain (stratified), and the episodes within each run (ours)."""
    return {domain: [rng.choices(run, k=len(run)) for run in rng.choices(runs, k=len(runs))]
            for domain, runs in scores.items()}


def interval(figure, *scores, seed=1):
    """(low, high) of figure(*scores): percentiles of a bootstrap, whose random numbers follow from the seed."""
    rng = random.Random(seed)
    figures = sorted(figure(*(resample(one, rng) for one in scores)) for _ in range(RESAMPLES))
    tail = (1 - LEVEL) / 2
    return figures[int(tail * RESAMPLES)], figures[RESAMPLES - 1 - int(tail * RESAMPLES)]
