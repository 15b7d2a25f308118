"""What all crash scenarios share: random moments, time limits, counters of kills and checks, and temporary workspaces.

A scenario is a function of a Scenario. It raises AssertionError if data is lost or duplicated, or if a process hangs.
"""

import collections
import contextlib
import os
import random
import signal
import time

from processes import Workspace, wait_until


class Scenario:
    def __init__(self, name, seed, seconds, wire, say):
        self.name = name
        self.wire = wire
        self.say = say
        self.random = random.Random(f"{seed}/{name}")
        self.ends_at = time.monotonic() + seconds
        self.kills = collections.Counter()  # by the kind of process
        self.checks = collections.Counter()  # passed checks, by kind
        self.stack = contextlib.ExitStack()
        self.workspaces = []

    def workspace(self):
        """Returns a new workspace, which is removed when the scenario ends."""
        made = Workspace()
        self.workspaces.append(made)
        self.stack.callback(self.drop, made)
        return made

    def drop(self, workspace):
        """Removes a workspace now. Does nothing if it is already removed."""
        if workspace in self.workspaces:
            self.workspaces.remove(workspace)
            workspace.close()

    def goes_on(self, kills, least):
        """True while there is time left or fewer kills than required."""
        return time.monotonic() < self.ends_at or kills < least

    def some_time(self, longest_s):
        time.sleep(self.random.uniform(0, longest_s))

    def kill(self, process, what):
        """Sends SIGKILL. Returns whether the signal ended the process; only such kills are counted."""
        process.kill()
        killed = process.ended() == -signal.SIGKILL
        self.kills[what] += killed
        return killed

    def kill_pid(self, pid, what):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills[what] += 1

    def outputs(self):
        return [output for workspace in self.workspaces for output in workspace.outputs()]

    def counts(self):
        kills = ", ".join(f"{n} of {what}" for what, n in sorted(self.kills.items()))
        checks = ", ".join(f"{n} {what}" for what, n in sorted(self.checks.items()))
        return f"kills: {kills or 'none'}; checked: {checks or 'nothing'}"

    def close(self):
        self.stack.close()


def same(found, expected, what):
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


__all__ = ["Scenario", "same", "wait_until"]
