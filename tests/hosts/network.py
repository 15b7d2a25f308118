"""Hosts on one machine: a network namespace for each, and a switch between them that can be as bad as a real network.

The switch is this process: each namespace has a TAP device, whose frames are read here, delayed, lost, or held back by a
partition. (tc netem would do it in the kernel; not every kernel has it.) Needs root, /dev/net/tun and iproute2.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import signal
import struct
import subprocess
import threading
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
FRAME_BYTES = 2048
libc = ctypes.CDLL(None, use_errno=True)
numbers = itertools.count()


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def open_tap(namespace, found):
    """A TAP device in the namespace, which this thread enters for good."""
    with open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
    found.append(tap)


class Host:
    """A namespace with one device. `address` is its own in 10.77.0.0/24."""

    def __init__(self, name, number):
        self.name, self.address = name, f"10.77.0.{number}"
        self.namespace = f"hindcast-{os.getpid()}-{next(numbers)}-{name}"
        self.hardware = bytes([2, 0, 0, 0, 0, number])
        ip("netns", "add", self.namespace)
        found = []
        thread = threading.Thread(target=open_tap, args=(self.namespace, found))
        thread.start()
        thread.join()
        self.tap, = found
        ip("-n", self.namespace, "link", "set", "eth0", "address", self.hardware.hex(":"))
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        self.link("up")

    def link(self, state):
        ip("-n", self.namespace, "link", "set", "eth0", state)

    def inside(self, *command):
        """The command line that runs a command on this host."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def pids(self):
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], check=True, capture_output=True, text=True)
        return [int(word) for word in listed.stdout.split()]

    def kill(self):
        """Every process of the host at once, as when its power fails."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self):
        self.kill()
        os.close(self.tap)
        ip("netns", "delete", self.namespace)


class Network:
    """Hosts and the switch. What the network does to frames may be changed at any time: `delay_s` and up to `jitter_s` more for
    each, by which frames overtake each other; `loss`, a share; `cut`, pairs (from, to) of names that nothing passes."""

    def __init__(self, names, seed):
        self.random = random.Random(seed)
        self.delay_s = self.jitter_s = self.loss = 0.0
        self.cut = frozenset()
        self.frames = self.lost = 0
        self.hosts = {}
        self.ending = threading.Event()
        try:
            for number, name in enumerate(names, 1):
                self.hosts[name] = Host(name, number)
        except BaseException:
            self.close()
            raise
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()

    def partition(self, some, others):
        """Nothing passes between the two groups of names, in either direction."""
        self.cut = frozenset((a, b) for a in some for b in others) | frozenset((b, a) for a in some for b in others)

    def heal(self):
        self.cut = frozenset()

    # ---- the switch ----

    def receivers(self, sender, frame):
        """The hosts that a frame is for: one, or all others for what is broadcast."""
        if frame[0] & 1:
            return [host for host in self.hosts.values() if host is not sender]
        return [host for host in self.hosts.values() if host.hardware == frame[:6] and host is not sender]

    def take(self, sender, waiting, now):
        """Reads what a host has sent; puts what is not lost into the heap `waiting`, by the time at which it arrives."""
        for _ in range(64):
            try:
                frame = os.read(sender.tap, FRAME_BYTES)
            except OSError:  # nothing left, or the link is down
                return
            for receiver in self.receivers(sender, frame):
                self.frames += 1
                if (sender.name, receiver.name) in self.cut or self.random.random() < self.loss:
                    self.lost += 1
                    continue
                due = now + self.delay_s + self.random.random() * self.jitter_s
                heapq.heappush(waiting, (due, self.frames, receiver.tap, frame))

    def carry(self):
        poll, waiting = select.epoll(), []
        senders = {host.tap: host for host in self.hosts.values()}
        for tap in senders:
            poll.register(tap, select.EPOLLIN)
        while not self.ending.is_set():
            timeout = 0.1 if not waiting else min(0.1, max(0, waiting[0][0] - time.monotonic()))
            ready = poll.poll(timeout)
            now = time.monotonic()
            for tap, _ in ready:
                self.take(senders[tap], waiting, now)
            while waiting and waiting[0][0] <= now:
                _, _, tap, frame = heapq.heappop(waiting)
                with contextlib.suppress(OSError):  # the receiver is full or down: lost, as in any switch
                    os.write(tap, frame)
        poll.close()

    def close(self):
        self.ending.set()
        if hasattr(self, "thread"):
            self.thread.join(5)
        for host in self.hosts.values():
            host.close()
