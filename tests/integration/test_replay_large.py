"""A table four times the memory of its server, which a control group limits, page cache included."""

import os
import pathlib

import numpy as np
import pytest

from processes import BINARIES, wait_until
from replay_client import Client, cheetah_signature, numbered_rows

MEMORY = 48 << 20
T = 1000


class MemoryGroup:
    """A control group below this process's own, in version 1 or 2."""

    def __init__(self, limit_bytes):
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
        for root, mark, file in (("/sys/fs/cgroup/memory", ":memory:", "memory.limit_in_bytes"),
                                 ("/sys/fs/cgroup", "0::", "memory.max")):
            own = next((line.partition(mark)[2] for line in lines if mark in line), None)
            if own is None:
                continue
            self.folder = pathlib.Path(root + own) / f"hindcast-test-{os.getpid()}"
            try:
                self.folder.mkdir()
            except OSError as error:
                self.why = str(error)
                continue
            try:
                (self.folder / file).write_text(str(limit_bytes))
                return
            except OSError as error:
                self.why = str(error)
                self.folder.rmdir()
        pytest.skip(f"no control group for memory can be made here: {getattr(self, 'why', 'there are none')}")

    def close(self):
        wait_until(lambda: not (self.folder / "cgroup.procs").read_text(), "the group to be empty")
        self.folder.rmdir()


@pytest.fixture
def group():
    made = MemoryGroup(MEMORY)
    yield made
    made.close()


def serve_limited(workspace, group):
    process = workspace.start_command("replay_server", "bash", "-c",
                                      f"echo $$ > {group.folder}/cgroup.procs; "
                                      f"exec {BINARIES['replay_server']} --config={workspace.config}")
    workspace.wait_running("replay_server", process)
    return process


def check(client, present, **ask):
    """Draws, and compares every row with what was inserted. Returns the episodes that were drawn."""
    drawn = set()
    for n_valid, rows in client.draw(20, batch_snippets=256, snippet_transitions=4, **ask):
        for n, snippet in zip(n_valid, rows):
            number, start = snippet[0, :2].astype(int)
            assert number in present
            drawn.add(number)
            if len(drawn) % 16 == 0:
                assert snippet[:n + 1].tobytes() == numbered_rows(number, T)[start:start + n + 1].tobytes()
            assert (snippet[:n + 1, 1] == np.arange(start, start + n + 1)).all()
    return drawn


@pytest.mark.long
def test_a_table_four_times_its_memory(group, workspace, wire):
    workspace.configure(replay_server={
        "map_bytes": 1 << 30, "max_bytes": 4 * MEMORY, "insert_buffer_bytes": 8 << 20, "sample_buffer_bytes": 8 << 20,
        "scrub_bytes_per_s": 0, "gather_threads": 2})
    process = serve_limited(workspace, group)
    client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire))
    opened = client.open_insert("writer")
    sequence = 0
    # Half as much again as fits: old episodes go while new ones come, and samples are drawn in between.
    while client.info() is None or client.info().episodes_removed < 600:
        episodes = [(sequence + i + 1, sequence + i, numbered_rows(sequence + i, T)) for i in range(400)]
        assert client.insert("writer", episodes, opened)[1] == 400
        sequence += 400
        check(client, range(sequence), seed=sequence)
    table = client.info()
    assert table.bytes > 3.9 * MEMORY and table.episodes_corrupt == 0
    present = range(sequence - table.episodes, sequence)
    assert check(client, present, seed=1)

    # Opened again, with nothing of it in this process's memory.
    process.stop()
    process = serve_limited(workspace, group)
    assert client.info().episodes == table.episodes
    assert len(check(client, present, seed=2)) > 1000
    wait_until(lambda: workspace.metrics("replay_server")["hindcast_replay_resident_ratio"] < 0.9,
               "the server to notice that not all of it is in memory")
    process.stop()
    client.close()
