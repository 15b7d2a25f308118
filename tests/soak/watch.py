"""Observes the processes from outside: through /proc and by scraping every /metrics page."""

import contextlib
import pathlib
import time
import urllib.request

import numpy as np

import prometheus

NEVER = {  # counters of failures, which must stay 0
    "hindcast_replay_episodes_corrupt_total", "hindcast_restorer_bad_episodes_total",
    "hindcast_evaluator_failed_episodes_total", "hindcast_collector_failed_episodes_total",
    "hindcast_learner_checkpoints_failed_total"}
WORK = {  # counters of work, which must keep increasing
    "replay_server": "hindcast_replay_transitions_inserted_total", "restorer": "hindcast_restorer_transitions_total",
    "learner": "hindcast_learner_steps_total", "evaluator": "hindcast_evaluator_evaluations_total",
    "collector": "hindcast_collector_steps_total"}


def memory_of(pid):
    """Returns the resident bytes outside the store's map and those of the map."""
    store = other = 0
    into_store = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):  # 7f0000000000-7f0000100000 r--s 00000000 fe:00 1234  /tmp/../data.mdb
            into_store = rest[-1].endswith("data.mdb")
        elif first == "Rss:":
            size = int(rest[0]) << 10
            store, other = (store + size, other) if into_store else (store, other + size)
    return other, store


def threads_of(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


def fds_of(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def scrape(run_dir, role):
    """Returns {(name, *labels): (kind, value)}. Raises FormatError if Prometheus would reject the page."""
    address = (run_dir / f"{role}.admin").read_text().strip()
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        families = prometheus.parse(answer.read().decode())
    return {(name, *sorted(labels.items())): (family.kind, value)
            for family in families.values() for name, labels, value in family.samples}


def milliseconds(times, quantile):
    return 1e3 * float(np.quantile(times, quantile)) if times else None


class Watch:
    """Takes samples. `faults` collects what must never happen, one line each."""

    def __init__(self, run_dir, pids, client):
        self.run_dir, self.pids, self.client = run_dir, pids, client
        self.before = {}
        self.faults = []
        self.began = time.monotonic()

    def fault(self, text):
        if text not in self.faults:
            self.faults.append(text)

    def check_counters(self, role, values):
        for key, (kind, value) in values.items():
            _, before = self.before.get((role, key), (kind, value))
            if kind == "counter" and value < before:
                self.fault(f"{role}: {key} fell from {before:g} to {value:g}")
            if key[0] in NEVER and value > 0:
                self.fault(f"{role}: {key[0]} is {value:g}, expected 0")

    def sample(self):
        """Returns a dict of numbers; None where there is no value."""
        line = {"s": time.monotonic() - self.began}
        pages = {}
        for role, pid in self.pids.items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                line[f"{role}.memory"], line[f"{role}.map"] = memory_of(pid)
                line[f"{role}.threads"], line[f"{role}.fds"] = threads_of(pid), fds_of(pid)
            pages[role] = scrape(self.run_dir, role)
            self.check_counters(role, pages[role])
            values = {key[0]: value for key, (_, value) in pages[role].items() if len(key) == 1}
            line[f"{role}.loop_lag"] = values["hindcast_process_loop_lag_seconds"]
            line[f"{role}.work"] = values[WORK[role]]
            if role == "replay_server":
                line["store.file"] = values["hindcast_replay_store_file_bytes"]
                line["store.used"] = values["hindcast_replay_store_used_bytes"]
                line["store.removed"] = values["hindcast_replay_episodes_removed_total"]
                line["call_lag"] = values["hindcast_replay_call_thread_lag_seconds"]
            elif role == "learner":
                line["learner.step"] = values["hindcast_learner_step"]
            elif role == "evaluator":
                line["evaluator.step"] = values["hindcast_evaluator_learner_step"]
            elif role == "restorer":
                line["restorer.pass"] = values["hindcast_restorer_pass"]
            self.before |= {(role, key): value for key, value in pages[role].items()}
        for kind, times in self.client.take().items():
            line[f"{kind}.n"] = len(times)
            for quantile in (10, 50, 99):
                line[f"{kind}.p{quantile}"] = milliseconds(times, quantile / 100)
        return line
