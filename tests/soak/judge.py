"""Checks that nothing grows over the samples of a run. Each check has a fixed bound and reports what it found.

Checks of growth use the second half of the run only, since tables fill and caches warm up in the first. Growth is a
robust slope (Theil-Sen: the median over all pairs of samples) times the duration, so single outliers do not matter.
"""

import numpy as np

from system import MAP_BYTES, ROLES

MIB = 1 << 20
MEMORY_BYTES = 2 * MIB      # memory may grow by this, or by MEMORY_SHARE, whichever is larger
MEMORY_SHARE = 0.03         # as a share of the median
HANDLES = 1.5               # growth of the number of file descriptors or threads
FILE_SHARE = 0.05           # growth of the store's file, as a share of its median
DRIFT_SHARE = 0.5           # growth of a latency's 10th percentile, which other load on the machine affects least
DRIFT_MS = 0.5              # growth of a latency that is always allowed
STALL_S = 30                # longest time that a process may go without doing work
SLOPE_SAMPLES = 400         # samples used for a slope; longer series are subsampled


class Series:
    def __init__(self, samples, name):
        half = samples[-1]["s"] / 2
        found = [(one["s"], one[name]) for one in samples if one["s"] >= half and one.get(name) is not None]
        if len(found) < 4:
            raise AssertionError(f"{name}: {len(found)} samples in the second half, expected 4 or more")
        self.s, self.values = (np.array(column, float) for column in zip(*found))
        self.median = float(np.median(self.values))

    def growth(self):
        """The robust slope times the duration of the series."""
        stride = -(-len(self.s) // SLOPE_SAMPLES)
        s, values = self.s[::stride], self.values[::stride]
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
    """Episodes were removed: a bounded store proves little unless its contents are replaced."""
    removed, passes = (samples[-1][key] - samples[0][key] for key in ("store.removed", "restorer.pass"))
    return removed > 0, f"store: {removed:.0f} episodes removed, logs read {passes:.0f} times"


def latency(samples, kind):
    p10, p50, p99 = (Series(samples, f"{kind}.{quantile}") for quantile in ("p10", "p50", "p99"))
    grown, bound = p10.growth(), max(DRIFT_MS, DRIFT_SHARE * p10.median)
    return grown <= bound, f"client: {kind} p50 {p50.median:.2f} ms, p99 {p99.median:.2f} ms; " \
        f"p10 {p10.median:.2f} ms, drifted by {grown:+.2f}, bound {bound:.2f}"


def progress(samples, role):
    """The longest time in which this role did no work, over all samples."""
    longest, since, before = 0.0, samples[0]["s"], samples[0][f"{role}.work"]
    for one in samples[1:]:
        if one[f"{role}.work"] > before:
            since, before = one["s"], one[f"{role}.work"]
        longest = max(longest, one["s"] - since)
    rate = (samples[-1][f"{role}.work"] - samples[0][f"{role}.work"]) / (samples[-1]["s"] - samples[0]["s"])
    return longest <= STALL_S, f"{role}: {rate:.2f} per second, longest pause {longest:.0f} s, bound {STALL_S}"


def judge(samples):
    """Returns [(passed, what was found)]."""
    found = [memory(samples, role) for role in ROLES]
    found += [handles(samples, role, kind) for role in ROLES for kind in ("fds", "threads")]
    found += [store_file(samples), turnover(samples)]
    found += [latency(samples, kind) for kind in ("insert", "sample", "unary")]
    found += [progress(samples, role) for role in ROLES]
    return found
