"""The disks that a power cut may leave behind, made from the trace of tests/power/power_trace.c.

What was synced before the cut is there. Of what was not, any part may be: of each sector (or, by turns, each page) any of
the contents that it had since it was last synced; of each file's length and of each name the same, or names in the order
in which they changed. Nothing says that what was written first arrived first.
"""

import collections
import random
import struct

WRITE, DONE, LENGTH, SYNC, NAME, NEW, FOLDER, FAILED = range(1, 9)
HEAD = struct.Struct("<IIQQ")
SECTOR = 512
SECTORS_A_PAGE = 8

Record = collections.namedtuple("Record", "begin end kind file at data")


def read_trace(content):
    """Records in order; `begin` and `end` are positions in the trace."""
    records, begin = [], 0
    while begin < len(content):
        kind, size, file, at = HEAD.unpack_from(content, begin)
        end = begin + HEAD.size + size
        records.append(Record(begin, end, kind, file, at, content[begin + HEAD.size:end]))
        begin = end
    return records


class File:
    """A file as the kernel has it, and what the disk may have of it."""

    def __init__(self, content=b""):
        self.now = bytearray(content + bytes(-len(content) % SECTOR))
        self.synced = bytearray(self.now)
        self.synced_length = len(content)
        self.sectors = collections.defaultdict(list)  # number: [(position, content)] since it was synced
        self.lengths = []  # [(position, length)]

    def write(self, position, offset, data):
        end = offset + len(data)
        if end > len(self.now):
            self.now += bytes(-end % SECTOR + end - len(self.now))  # whole sectors
        self.now[offset:end] = data
        for number in range(offset // SECTOR, -(-end // SECTOR)):
            self.sectors[number].append((position, bytes(self.now[number * SECTOR:(number + 1) * SECTOR])))
        if end > self.length():
            self.lengths.append((position, end))

    def length(self):
        return self.lengths[-1][1] if self.lengths else self.synced_length

    def cut(self, position, length):
        assert length == 0, "files are only cut to nothing"
        self.now = bytearray()
        self.sectors.clear()
        self.lengths.append((position, length))

    def put(self, number, content):
        end = (number + 1) * SECTOR
        if end > len(self.synced):
            self.synced += bytes(end - len(self.synced))
        self.synced[number * SECTOR:end] = content

    def sync(self, position, numbers=None):
        """All, or these sectors, as they were at this position."""
        for number in list(self.sectors if numbers is None else numbers):
            arrived = [content for at, content in self.sectors[number] if at < position]
            if arrived:
                self.put(number, arrived[-1])
            self.sectors[number] = self.sectors[number][len(arrived):]
            if not self.sectors[number]:
                del self.sectors[number]
        while self.lengths and self.lengths[0][0] < position:
            self.synced_length = self.lengths.pop(0)[1]

    def some(self, chance, share, unit):
        """Its content on a disk: of each unit of so many sectors one version, a new one with probability `share`."""
        made, length = bytearray(self.synced), self.synced_length
        if self.lengths and chance.random() < share:
            length = chance.choice(self.lengths)[1]
        drawn = {}
        for number, versions in self.sectors.items():
            arrives, which = drawn.setdefault(number // unit, (chance.random() < share, chance.random()))
            if arrives:
                end = (number + 1) * SECTOR
                if end > len(made):
                    made += bytes(end - len(made))
                made[number * SECTOR:end] = versions[int(which * len(versions))][1] if share < 1 else versions[-1][1]
        return bytes(made[:length]) + bytes(max(0, length - len(made)))


class Folder:
    """Takes records in order; some_disk() is what a power cut now may leave. `base`: [(name, inode, content)] that the disk
    had when the trace began."""

    def __init__(self, base=()):
        self.files = {inode: File(content) for _, inode, content in base}
        self.names = {name: self.files[inode] for name, inode, _ in base}
        self.changed = []  # not synced: [(position, name, File or None)]

    def take(self, record):
        begin, _, kind, inode, at, data = record
        assert kind != FAILED, "a call failed while the trace was taken"
        if kind == NEW:
            self.files[inode] = File()
        elif kind == NAME:
            self.changed.append((begin, data.decode(), self.files[inode] if inode else None))
        elif kind == FOLDER:
            arrived = [change for change in self.changed if change[0] < at and self.folder_of(change[1]) == data.decode()]
            for change in arrived:
                self.rename(self.names, change)
            self.changed = [change for change in self.changed if change not in arrived]
        elif kind == WRITE:
            self.files[inode].write(begin, at, data)
        elif kind == DONE:
            self.done(self.files[inode], at)
        elif kind == LENGTH:
            self.files[inode].cut(begin, at)
        elif kind == SYNC:
            self.files[inode].sync(at)

    @staticmethod
    def folder_of(name):
        return name.rpartition("/")[0]

    @staticmethod
    def done(file, at):
        numbers = [number for number, versions in file.sectors.items() if any(begin == at for begin, _ in versions)]
        lengths, file.lengths = file.lengths, []  # the length of the file is another matter
        file.sync(at + 1, numbers)
        file.lengths = lengths

    @staticmethod
    def rename(names, change):
        _, name, file = change
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    def all_arrived(self):
        """{name: content} with nothing lost: the folder as the kernel has it, names being paths from it."""
        names = dict(self.names)
        for change in self.changed:
            self.rename(names, change)
        return {name: bytes(file.now[:file.length()]) for name, file in names.items()}

    def some_disk(self, chance):
        """{name: content}"""
        names = dict(self.names)
        if chance.random() < 0.5:  # in order, up to some point
            for change in self.changed[:chance.randint(0, len(self.changed))]:
                self.rename(names, change)
        else:  # each name for itself
            for name in sorted({name for _, name, _ in self.changed}):
                own = [change for change in self.changed if change[1] == name]
                for change in own[:chance.randint(0, len(own))]:
                    self.rename(names, change)
        share, unit = chance.choice((0, 0.1, 0.5, 0.9, 1)), chance.choice((1, SECTORS_A_PAGE))
        return {name: file.some(chance, share, unit) for name, file in sorted(names.items())}


def disks(records, seeds, base=()):
    """(seed, position of the cut, {name: content}): for each seed a disk. A seed chooses the record after which the power is
    cut, so that the same trace and seed are the same disk: anywhere; where something else than rows was written; or soon
    after the beginning."""
    rare = [i for i, record in enumerate(records) if record.kind != WRITE or len(record.data) < 4096]
    chosen = collections.defaultdict(list)
    for seed in seeds:
        chance = random.Random(seed)
        among = chance.choice((range(len(records)), rare, range(min(40, len(records)))))
        chosen[chance.choice(among)].append((seed, chance))
    folder = Folder(base)
    for i, record in enumerate(records):
        folder.take(record)
        for seed, chance in chosen.get(i, ()):
            yield seed, record.end, folder.some_disk(chance)
