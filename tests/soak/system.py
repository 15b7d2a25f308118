"""The system of the soak test: everything that `hindcast up` starts, with endless work and a table that is always full.

The restorer inserts the logs in a loop and the collector inserts new episodes. Both displace the oldest episodes of a
bounded table, at the rate at which the learner and the client sample. The networks are small, so that the processes
spend their time on communication rather than on arithmetic.
"""

import signal

from processes import ROOT, Workspace, wait_until

ROLES = ("replay_server", "restorer", "learner", "evaluator", "collector")
MAP_BYTES = 128 << 20
MAX_TRANSITIONS = 100_000
MIN_TRANSITIONS = 5000
SAMPLES_PER_INSERT = 20


class System:
    def __init__(self, seed):
        self.workspace = Workspace()
        self.workspace.configure(
            experiment={"name": "soak", "environment": "cheetah-run", "seed": seed},
            up={"collectors": 1, "max_crashes": 0},
            replay_server={"map_bytes": MAP_BYTES, "durability": "interval", "max_transitions": MAX_TRANSITIONS,
                           "min_transitions": MIN_TRANSITIONS, "samples_per_insert": SAMPLES_PER_INSERT,
                           "samples_per_insert_tolerance": 50_000, "samples_per_eviction": SAMPLES_PER_INSERT},
            restorer={"folder": str(ROOT / "data" / "cheetah-run"), "mode": "loop"},
            learner={"require_sealed": False, "batch_snippets": 32, "snippet_transitions": 8, "samples": 8,
                     "widths": [64, 64], "threads": 1, "publish_every": 500, "report_every": 500,
                     "checkpoint_every_seconds": 20, "keep_checkpoints": 2},
            evaluator={"window_episodes": 4, "threads": 1, "min_interval_s": 5},
            collector={"insert": True, "refresh_steps": 250, "shard_episodes": 50})
        self.run_dir = self.workspace.run_dir
        self.address = f"unix:{self.run_dir}/replay.sock"

    def start(self):
        self.up = self.workspace.up()

    def wait_working(self, seconds=120):
        """Waits until all roles run, the learner takes steps and an evaluation is finished. Returns {role: pid}."""
        def working():
            status = {role: self.workspace.status(role) for role in ROLES}
            return all(one and one["state"] == "running" for one in status.values()) and \
                self.workspace.metrics("learner").get("hindcast_learner_steps_total", 0) > 0 and \
                self.workspace.metrics("evaluator").get("hindcast_evaluator_evaluations_total", 0) > 0 and \
                {role: one["pid"] for role, one in status.items()}
        return wait_until(working, "all processes to work", seconds, alive=self.up)

    def end(self):
        """Stops the system with SIGINT.

        Returns the exit status of up, the pids that remain, {role: its log ends with exit code 0}, and all ERROR lines.
        """
        self.up.signal(signal.SIGINT)
        status = self.up.wait(60)
        logs = {role: (self.run_dir / f"{role}.log").read_text() for role in ROLES}
        errors = [line for text in logs.values() for line in text.splitlines() if " ERROR " in line]
        return status, self.workspace.living(), {role: "exit_code=0" in logs[role][-400:] for role in ROLES}, errors

    def close(self):
        self.workspace.close()
