"""Does a run of samples grow? Each check has a bound that is stated, and says what it found.

All look at the second half alone: the first is for tables that fill and caches that warm up. Growth is a robust slope
(Theil and Sen: the median over all pairs of samples) times the time looked at, so a few odd samples do not matter.
"""

import numpy as np

from system import MAP_BYTES, ROLES

MIB = 1 << 20
MEMORY_BYTES = 2 * MIB      # more than this in the second half ..
MEMORY_SHARE = 0.03         # .. and more than this share of what it holds: growth
HANDLES = 1.5               # file descriptors, threads
FILE_SHARE = 0.05           # of the store's file
DRIFT_SHARE = 0.5           # of a latency; of its 10th percentile, for others on the machine lengthen the longer waits
DRIFT_MS = 0.5              # .. where it moves by more than this
STALL_S = 30                # each process does something in this time
LONGEST_PAIRS = 400         # samples that a slope is taken over; more are thinned


class Series:
    def __init__(self, samples, name):
        half = samples[-1]["s"] / 2
        found = [(one["s"], one[name]) for one in samples if one["s"] >= half and one.get(name) is not None]
        if len(found) < 4:
            raise AssertionError(f"{name}: {len(found)} samples in the second half, expected 4 or more")
        self.s, self.values = (np.array(column, float) for column in zip(*found))
        self.median = float(np.median(self.values))

    def growth(self):
        """What the robust slope makes of the time looked at."""
        thin = -(-len(self.s) // LONGEST_PAIRS)
        s, values = self.s[::thin], self.values[::thin]
        i, j = np.triu_indices(len(s), 1)
        return float(np.median((values[j] - values[i]) / (s[j] - s[i]))) * (self.s[-1] - self.s[0])


def memory(samples, role):
    series = Series(samples, f"{role}.memory")
    bound = max(MEMORY_BYTES, MEMORY_SHARE * series.median)
    grown = series.growth()
    return grown <= bound, f"{role}: memory {series.median / MIB:.1f} MiB, grew by {grown / MIB:+.2f}, " \
        f"bound {bound / MIB:.2f}"


def handles(samples, role, kind):
    series = Series(samples, f"{role}.{kind}")
    grown = series.growth()
    return grown <= HANDLES, f"{role}: {kind} {series.median:.0f}, grew by {grown:+.1f}, bound {HANDLES}"


def store_file(samples):
    series = Series(samples, "store.file")
    grown, bound = series.growth(), FILE_SHARE * series.median
    largest = max(one["store.file"] for one in samples)
    return grown <= bound and largest <= MAP_BYTES, \
        f"store: file {largest / MIB:.1f} MiB at most, bound {MAP_BYTES / MIB:.0f}; grew by {grown / MIB:+.2f}, " \
        f"bound {bound / MIB:.2f}"


def turnover(samples):
    """A bounded store proves little unless what it holds was replaced."""
    removed, passes = (samples[-1][key] - samples[0][key] for key in ("store.removed", "restorer.pass"))
    return removed > 0, f"store: {removed:.0f} episodes pushed out, the logs read {passes:.0f} times over"


def latency(samples, kind):
    p10, p50, p99 = (Series(samples, f"{kind}.{quantile}") for quantile in ("p10", "p50", "p99"))
    grown, bound = p10.growth(), max(DRIFT_MS, DRIFT_SHARE * p10.median)
    return grown <= bound, f"client: {kind} p50 {p50.median:.2f} ms, p99 {p99.median:.2f} ms; " \
        f"p10 {p10.median:.2f} ms, drifted by {grown:+.2f}, bound {bound:.2f}"


def progress(samples, role):
    """The longest time without work of this role, from first to last sample."""
    longest, since, before = 0.0, samples[0]["s"], samples[0][f"{role}.work"]
    for one in samples[1:]:
        if one[f"{role}.work"] > before:
            since, before = one["s"], one[f"{role}.work"]
        longest = max(longest, one["s"] - since)
    rate = (samples[-1][f"{role}.work"] - samples[0][f"{role}.work"]) / (samples[-1]["s"] - samples[0]["s"])
    return longest <= STALL_S, f"{role}: {rate:.2f} a second, {longest:.0f} s without any at most, bound {STALL_S}"


def judge(samples):
    """[(right?, what was found)]."""
    found = [memory(samples, role) for role in ROLES]
    found += [handles(samples, role, kind) for role in ROLES for kind in ("fds", "threads")]
    found += [store_file(samples), turnover(samples)]
    found += [latency(samples, kind) for kind in ("insert", "sample", "unary")]
    found += [progress(samples, role) for role in ROLES]
    return found
