"""A replay server's runs under tests/power/power_trace.c, and what each disk that a power cut may leave must still hold."""

import collections
import contextlib
import fcntl
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import zlib

import grpc

import power_cut
from processes import BINARIES, BUILD, wait_until
from replay_client import Client, cheetah_signature, numbered_rows

MAP_BYTES = 16 << 20
EPISODES_MAX = 24  # in the table: from then on each insert takes the oldest out, and its pages are used again
SYNC_MS = 40
BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().encode()
NEXT_BOOT = b"00000000-1111-2222-3333-444444444444"
LOOK_AT_ONCE = 40

# end: "kill" or "stop"; compact: somebody compacts the store all the time
Run = collections.namedtuple("Run", "durability episodes end compact", defaults=(False,))
Acknowledged = collections.namedtuple("Acknowledged", "position sequence durability")


@functools.lru_cache(maxsize=1024)
def rows_of(sequence):
    """Mostly short; one in six takes several chunks."""
    number = zlib.crc32(b"%d" % sequence)
    return numbered_rows(sequence, 700 + number % 900 if number % 6 == 0 else 1 + number % 60)


class Scenario:
    """Takes the trace, run by run, then makes disks of it."""

    def __init__(self, workspace, wire):
        self.workspace, self.wire = workspace, wire
        self.folder = workspace.run_dir / "replay"
        self.trace = workspace.folder / "trace"
        self.base = []  # (name, inode, content) of what was there when the trace began
        self.acknowledged = []
        self.sent = 0
        self.compactions = 0

    # ---- The runs ----

    def configure(self, durability):
        self.workspace.configure(replay_server={
            "map_bytes": MAP_BYTES, "max_episodes": EPISODES_MAX, "durability": durability, "sync_ms": SYNC_MS})

    def client(self):
        return Client(self.wire, f"unix:{self.workspace.run_dir}/replay.sock", cheetah_signature(self.wire),
                      options=[("grpc.use_local_subchannel_pool", 1)])

    def run_server(self, run):
        self.configure(run.durability)
        server = self.workspace.start_command(
            "replay_server", "env", f"LD_PRELOAD={BUILD}/tests/libpower_trace.so", f"POWER_FOLDER={self.folder}",
            f"POWER_TRACE={self.trace}", BINARIES["replay_server"], f"--config={self.workspace.config}")
        self.workspace.wait_running("replay_server", server)
        client = self.client()
        opened = client.open_insert("writer")
        told = self.acknowledged[-1].sequence if self.acknowledged else 0
        assert told <= opened.last_sequence <= self.sent, f"{told} promised, {opened.last_sequence} there, {self.sent} sent"
        # What a server opens is synced before it serves.
        self.acknowledged.append(Acknowledged(self.trace.stat().st_size, opened.last_sequence, "each"))
        first = opened.last_sequence + 1
        stop = threading.Event()
        compacting = threading.Thread(target=self.compact_until, args=(stop,))
        if run.compact:
            compacting.start()
        for answer in client.stub.Insert(client.chunks("writer", opened, self.paced(first, run.episodes)), timeout=60):
            self.acknowledged.append(Acknowledged(self.trace.stat().st_size, answer.sequence, run.durability))
        assert self.acknowledged[-1].sequence == first + run.episodes - 1
        client.close()
        stop.set()
        if run.end == "stop":
            server.stop()
        else:
            with open(self.trace) as trace:
                fcntl.flock(trace, fcntl.LOCK_EX)  # not between a call and its record
                server.kill()
        if run.compact:
            compacting.join(30)

    def compact_until(self, stop):
        """The end of the server may come in the middle of one."""
        client = self.client()
        while not stop.is_set():
            with contextlib.suppress(grpc.RpcError):
                client.stub.Compact(self.wire.replay.CompactRequest(), timeout=30)
                self.compactions += 1
        client.close()

    def paced(self, first, n):
        for sequence in range(first, first + n):
            time.sleep(0.004)
            self.sent = sequence
            yield sequence, sequence, rows_of(sequence)

    def play(self, runs):
        for run in runs:
            self.run_server(run)
        self.records = power_cut.read_trace(self.trace.read_bytes())
        self.finished = list(self.find_syncs())
        self.check_trace()

    def cut(self, seed):
        """The power is cut: the next runs begin with this seed's disk, and make a trace of their own."""
        [(_, position, files)] = power_cut.disks(self.records, [seed], self.base)
        shutil.rmtree(self.folder)
        self.put(self.folder, files)
        self.base = [(str(path.relative_to(self.folder)), path.stat().st_ino, path.read_bytes())
                     for path in self.folder.rglob("*") if path.is_file()]
        # What the disk has, it keeps.
        self.acknowledged = [Acknowledged(0, self.promised(position), "each")]
        self.trace.unlink()

    def check_trace(self):
        """Nothing escaped the trace: with all of it arrived, it is the folder byte for byte."""
        folder = power_cut.Folder(self.base)
        for record in self.records:
            folder.take(record)
        arrived = folder.all_arrived()
        there = {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*")
                 if path.is_file() and not path.name.startswith("lock")}
        assert arrived.keys() == there.keys()
        for name, content in there.items():
            assert arrived[name] == content, f"{name} is not what the trace says"

    def find_syncs(self):
        """(position when it began, when it had finished) of each sync of durability `interval`: data.mdb is synced, then
        `unclean` is replaced or removed, and the folder synced."""
        data = next((inode for name, inode, _ in self.base if name == "data.mdb"), None)
        began = changed = None
        for record in self.records:
            if record.kind == power_cut.NAME and record.data == b"data.mdb":
                data = record.file
            elif record.kind == power_cut.SYNC and record.file == data:
                began = record.at
            elif record.kind == power_cut.NAME and record.data == b"unclean" and began is not None:
                changed = record.begin
            elif record.kind == power_cut.FOLDER and changed is not None and record.at > changed:
                yield began, record.end
                began = changed = None

    # ---- The disks ----

    def promised(self, cut):
        """The last episode that a power cut at this position may not take."""
        synced = max((began for began, end in self.finished if end <= cut), default=-1)
        return max((told.sequence for told in self.acknowledged
                    if told.position <= (cut if told.durability == "each" else synced)), default=0)

    def disks(self, seeds, durability):
        """Makes them, looks into each. Returns how many episodes were found."""
        found = 0
        with tempfile.TemporaryDirectory(prefix="hc-power", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as base:
            made = []
            for seed, cut, files in power_cut.disks(self.records, seeds, self.base):
                folder = pathlib.Path(base) / str(len(made))
                self.put(folder, files)
                made.append((seed, cut, folder))
                if len(made) == LOOK_AT_ONCE:
                    found += self.look(made, durability)
                    made = []
            return found + self.look(made, durability)

    @staticmethod
    def put(folder, files):
        """As the next boot of the machine finds it."""
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content.replace(BOOT, NEXT_BOOT) if name == "unclean" else content)

    def look(self, made, durability):
        if not made:
            return 0
        output = subprocess.run([BUILD / "tests" / "power_look", durability, str(MAP_BYTES), *[folder for _, _, folder in made]],
                                capture_output=True, text=True, timeout=300)
        lines = output.stdout.splitlines()
        found = 0
        for (seed, cut, folder), line in zip(made, lines):
            try:
                found += self.judge(json.loads(line), folder / "rows", cut)
            except Exception as error:
                raise AssertionError(f"disk {seed}, cut at {cut} of the trace: {line[:600]}") from error
            shutil.rmtree(folder)
        assert output.returncode == 0, f"disk {made[len(lines)][0]}: {output.returncode}: {output.stderr[-1000:]}"
        return found

    def judge(self, look, rows, cut):
        assert look["error"] == "" and not look["scan"]
        last = 0
        for name, generation, sequence, cursor in look["writers"]:
            assert (name, cursor) == ("writer", f"at {sequence}" if sequence else "") and generation >= 1
            last = sequence
        assert self.promised(cut) <= last <= self.sent, f"{self.promised(cut)} promised, {last} there"
        self.whole([episode for _, episode, *_ in look["episodes"]], last)
        content = rows.read_bytes()
        at = 0
        for source, episode, n_rows, width, n_bytes in look["episodes"]:
            expected = rows_of(episode)
            assert (source, n_rows, width) == (7, *expected.shape)
            assert content[at:at + n_bytes] == expected.astype("<f4").tobytes(), f"rows of episode {episode}"
            at += n_bytes
        return len(look["episodes"])

    @staticmethod
    def whole(sequences, last):
        """The newest so many up to the last one, none missing, none twice: a state that was once committed."""
        assert sorted(sequences) == list(range(max(1, last - EPISODES_MAX + 1), last + 1)), sequences

    def serve(self, seed, durability):
        """The real server on the disk of this seed: what it serves is right, and it goes on."""
        [(_, cut, files)] = power_cut.disks(self.records, [seed], self.base)
        shutil.rmtree(self.folder)
        self.put(self.folder, files)
        self.configure(durability)
        server = self.workspace.serve("replay_server")
        client = self.client()
        opened = client.open_insert("writer")
        last = opened.last_sequence
        assert self.promised(cut) <= last <= self.sent, f"disk {seed}: {self.promised(cut)} promised, {last} there"
        assert opened.cursor == (b"at %d" % last if last else b"")
        n = min(last, EPISODES_MAX)
        info = client.info()
        assert (info.episodes if info else 0) == n
        if n:
            self.draw_all(client, info.transitions, last)
        assert client.insert("writer", [(last + 1, last + 1, rows_of(last + 1))], opened) == (last + 1, 1, 0)
        wait_until(lambda: client.info().episodes == min(last + 1, EPISODES_MAX), "one more episode", alive=server)
        assert client.info().episodes_corrupt == 0
        client.close()
        server.stop()

    def draw_all(self, client, transitions, last):
        seen = set()
        for batch in range(200):
            [(_, rows)] = client.draw(1, batch_snippets=2048, snippet_transitions=1, seed=1, first_batch=batch)
            for snippet in rows:
                episode, row = snippet[0, :2].astype(int)
                assert snippet.tobytes() == rows_of(int(episode))[row:row + 2].tobytes()
                seen.add((int(episode), int(row)))
            if len(seen) == transitions:
                break
        assert len(seen) == transitions
        self.whole({episode for episode, _ in seen}, last)
