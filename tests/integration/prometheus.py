"""A strict reader of Prometheus' text format (0.0.4), stricter than Prometheus itself: what it takes is complete and in
order, not only readable."""

import math
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
NUMBER = re.compile(r"NaN|[+-]Inf|[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
KINDS = ("counter", "gauge", "histogram")


class FormatError(ValueError):
    pass


def need(condition, line, what):
    if not condition:
        raise FormatError(f"{what}: {line!r}")


def read_labels(text, line):
    """{name: value} of what stands between the braces."""
    labels = {}
    while text:
        match = LABEL.match(text)
        need(match, line, "bad labels")
        need(match[1] not in labels, line, "a label twice")
        labels[match[1]] = match[2]
        text = text[match.end():]
        need(not text or (text.startswith(",") and len(text) > 1), line, "bad labels")
        text = text[1:]
    return labels


def read_sample(line):
    """(name, labels, value)."""
    match = NAME.match(line)
    need(match, line, "no name")
    name, rest, labels = match[0], line[match.end():], {}
    if rest.startswith("{"):
        inside, brace, rest = rest[1:].rpartition("}")
        need(brace, line, "no closing brace")
        labels = read_labels(inside, line)
    need(rest.startswith(" ") and NUMBER.fullmatch(rest[1:]), line, "no number after one space")
    return name, labels, float(rest[1:])


class Family:
    def __init__(self, name, help_text, kind):
        self.name, self.help, self.kind = name, help_text, kind
        self.samples = []  # (name, labels, value)

    def takes(self, name):
        if self.kind == "histogram":
            return name in {self.name + suffix for suffix in ("_bucket", "_sum", "_count")}
        return name == self.name

    def check(self):
        need(self.help, self.name, "an empty HELP")
        need(self.samples, self.name, "no samples")
        need((self.kind == "counter") == self.name.endswith("_total"), self.name, "_total is for counters, and all of them")
        seen = set()
        for name, labels, value in self.samples:
            need(self.kind != "counter" or value >= 0, name, "a negative counter")
            key = (name, tuple(sorted(labels.items())))
            need(key not in seen, key, "a sample twice")
            seen.add(key)
        if self.kind == "histogram":
            self.check_histograms()

    def check_histograms(self):
        series = {}
        for name, labels, value in self.samples:
            bound = labels.pop("le", None)
            need((bound is not None) == name.endswith("_bucket"), name, "le belongs to buckets")
            one = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
            if bound is None:
                one[name.removeprefix(self.name)] = value
            else:
                one["buckets"].append((float(bound), value))
        for one in series.values():
            bounds, counts = zip(*one["buckets"])
            need(list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf, self.name, "bounds do not rise to +Inf")
            need(list(counts) == sorted(counts), self.name, "buckets are not cumulative")
            need("_sum" in one and one.get("_count") == counts[-1], self.name, "_count is not the last bucket, or no _sum")


def parse(text):
    """{name: Family}; FormatError says what is wrong."""
    need(text.endswith("\n"), text[-40:], "no newline at the end")
    families, family = {}, None
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("#"):
            words = line.split(" ", 3)
            need(len(words) == 4 and words[:2] == ["#", "HELP"] and NAME.fullmatch(words[2]), line, "HELP expected")
            kind = next(lines, "")
            match = re.fullmatch(rf"# TYPE {re.escape(words[2])} (\w+)", kind)
            need(match and match[1] in KINDS, kind, "TYPE expected after HELP")
            need(words[2] not in families, line, "a family twice")
            family = families[words[2]] = Family(words[2], words[3], match[1])
        else:
            name, labels, value = read_sample(line)
            need(family is not None and family.takes(name), line, "a sample outside of its family")
            family.samples.append((name, labels, value))
    for family in families.values():
        family.check()
    return families
