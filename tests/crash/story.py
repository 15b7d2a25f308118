"""What every story of kills works with: random moments, limits of time, counted kills, workspaces that are cleared away.

A story is a function of a Story; it raises AssertionError when something was lost, doubled or left hanging.
"""

import collections
import contextlib
import os
import random
import signal
import time

from processes import Workspace, wait_until


class Story:
    def __init__(self, name, seed, seconds, wire, say):
        self.name = name
        self.wire = wire
        self.say = say
        self.random = random.Random(f"{seed}/{name}")
        self.ends_at = time.monotonic() + seconds
        self.kills = collections.Counter()  # by what was killed
        self.checks = collections.Counter()  # by what was found to be right
        self.stack = contextlib.ExitStack()
        self.workspaces = []

    def workspace(self):
        """A fresh one, cleared away when the story ends."""
        made = Workspace()
        self.workspaces.append(made)
        self.stack.callback(self.drop, made)
        return made

    def drop(self, workspace):
        """Clears it away now; a second time does nothing."""
        if workspace in self.workspaces:
            self.workspaces.remove(workspace)
            workspace.close()

    def goes_on(self, kills, least):
        """Is there time, or are there fewer kills than wanted?"""
        return time.monotonic() < self.ends_at or kills < least

    def some_time(self, longest_s):
        time.sleep(self.random.uniform(0, longest_s))

    def kill(self, process, what):
        """kill -9 by pid; counts only where it did end the process. True: it did."""
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


__all__ = ["Story", "same", "wait_until"]
