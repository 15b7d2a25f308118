"""The logs: online learning with MPO, every transition kept, and from them two data sets (the paper's section 5.1).

high: all episodes of every seed. low: the first fifth of each seed's, which is its first shard.
"""
import csv
import json
import os
import shutil

import runs
from plan import DOMAINS, HERE, LOW_SHARE

COLUMNS = ["seed", "file", "episodes", "transitions", "bytes", "xxh64"]


def run_of(root, domain, seed):
    """The folder of an online run; its episodes are in logs/."""
    return root / domain / "online" / f"seed-{seed}"


def collect(root, domain, seed, episodes, flags):
    """One online run. Returns a sentence if it failed, else None."""
    return runs.up(HERE / "online.yaml", run_of(root, domain, seed),
                   [f"--experiment.environment={DOMAINS[domain].environment}", f"--experiment.seed={seed}",
                    f"--collector.noise_correlation={DOMAINS[domain].noise_correlation:g}",
                    f"--collector.episodes={episodes}", f"--collector.shard_episodes={episodes // LOW_SHARE}", *flags])


def returns_of(root, domain, seed):
    """Of the episodes of an online run, in order."""
    with open(run_of(root, domain, seed) / "logs" / "returns.csv", newline="") as file:
        return [float(row[-1]) for row in list(csv.reader(file))[1:]]


def shards_of(root, domain, seed):
    """Rows (COLUMNS) that tell the logs of an online run from others."""
    shards = json.loads((run_of(root, domain, seed) / "logs" / "metadata.json").read_text())["shards"]
    return [[seed, *(shard[name] for name in COLUMNS[1:])] for shard in shards]


def link(made, shards, to):
    """A dataset of some shards of another one, without copying them."""
    aside = to.with_name(to.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    metadata = json.loads((made / "metadata.json").read_text())
    metadata["shards"] = metadata["shards"][:shards]
    for shard in metadata["shards"]:
        os.link(made / shard["file"], aside / shard["file"])
    runs.replace(aside / "metadata.json", json.dumps(metadata, indent=1))
    aside.rename(to)


def divide(root, domain, seeds):
    """Makes logs/high and logs/low of a domain out of its online runs."""
    for seed in seeds:
        made = run_of(root, domain, seed) / "logs"
        for quality, shards in (("high", None), ("low", 1)):
            to = root / domain / "logs" / quality / f"seed-{seed}"
            if not to.exists():
                link(made, shards, to)
