"""Programs on a terminal of a given width, and what is on it afterwards."""

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import termios

from processes import SLOW

ESCAPE = re.compile(r"\x1b\[([0-9]*)([A-Za-z])")


class Screen:
    """A terminal's lines. Knows what our programs use: carriage return, newline, going up, erasing what comes after."""

    def __init__(self, data=""):
        self.lines, self.row, self.column = [""], 0, 0
        self.bars = []  # the current line, each time before it is redrawn
        self.rest = ""
        self.feed(data)

    def feed(self, data):
        data, at = self.rest + data, 0
        self.rest = ""
        while at < len(data):
            if data[at] != "\x1b":
                self.put(data[at])
                at += 1
                continue
            escape = ESCAPE.match(data, at)
            if not escape:
                self.rest = data[at:]  # the other half comes later
                return
            self.obey(escape[2], escape[1])
            at = escape.end()

    def obey(self, letter, number):
        if letter == "A":
            self.row -= int(number or 1)
            assert self.row >= 0, "above the first line"
        elif letter == "J":
            assert number == "" and self.column == 0
            self.lines[self.row:] = [""]
        else:
            assert letter == "K" and number in ("", "0", "2"), letter + number
            self.lines[self.row] = "" if number == "2" else self.lines[self.row][:self.column]

    def put(self, character):
        if character == "\n":
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        elif character == "\r":
            self.bars.append(self.lines[self.row])
            self.column = 0
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + character + line[self.column + 1:]
            self.column += 1


def draws(columns, command, cwd, seconds=60, **streams):
    """Runs the command on a terminal of that width, and yields what it draws there, piece by piece, until it has ended with 0.
    `streams`: which of stdin, stdout and stderr are elsewhere. No piece may come later than `seconds` after the last one."""
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen([str(word) for word in command], cwd=cwd,
                               **{"stdin": inner, "stdout": inner, "stderr": inner, **streams})
    os.close(inner)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while select.select([outer], [], [], seconds * SLOW)[0]:
            try:
                yield decoder.decode(os.read(outer, 1 << 16))
            except OSError:  # EIO: nobody has the other side any more
                break
    finally:
        os.close(outer)
    assert process.wait(seconds * SLOW) == 0, command
