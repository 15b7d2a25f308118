#!/usr/bin/env python3
"""How far two runs of the learner are apart: each number of their learner.jsonl, at the steps that both report.

    bench/compare_reports.py runs/FIRST/learner.jsonl runs/SECOND/learner.jsonl

For runs of the same seed on the same sealed table, which see the same batches and the same noise (docs/performance.md).
Prints, for each number: its mean size in the first run, the mean difference, and the largest, both as shares of that
size.
"""

import json
import sys

CLOCKS = {"step", "time", "learning_seconds", "steps_per_second", "wait_share", "version"}


def read(path):
    """{step: {name: number}}, elements of lists apart."""
    steps = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            report = json.loads(line)
            numbers = {}
            for name, value in report.items():
                if name in CLOCKS or isinstance(value, (str, dict, bool)):
                    continue
                values = value if isinstance(value, list) else [value]
                for i, element in enumerate(values):
                    numbers[f"{name}[{i}]" if isinstance(value, list) else name] = element
            steps[report["step"]] = numbers
    return steps


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    first, second = read(sys.argv[1]), read(sys.argv[2])
    common = sorted(first.keys() & second.keys())
    if not common:
        raise SystemExit("no step is in both")
    print(f"{len(common)} reports, steps {common[0]} to {common[-1]}")
    print(f"{'':24}{'size':>12}{'mean diff':>12}{'largest':>12}")
    for name in first[common[0]]:
        pairs = [(first[step][name], second[step][name]) for step in common
                 if isinstance(first[step].get(name), (int, float)) and isinstance(second[step].get(name), (int, float))]
        if not pairs:
            continue
        size = sum(abs(a) for a, _ in pairs) / len(pairs)
        differences = [abs(a - b) / size if size > 0 else abs(a - b) for a, b in pairs]
        print(f"{name:24}{size:12.4g}{sum(differences) / len(pairs):12.2e}{max(differences):12.2e}")


if __name__ == "__main__":
    main()
