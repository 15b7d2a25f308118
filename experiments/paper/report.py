"""What the runs came to: rows for CSV files, tables, curves."""
import csv
import io
import json
import statistics
import subprocess

import runs
import scores
from plan import DOMAINS

COLUMNS = ["domain", "quality", "algorithm", "variant", "seed", "steps", "policy", "episodes", "mean", "std"]


def returns_of(folder):
    """{"best": returns of its episodes, "last": ..} of a run that is over, else None."""
    if runs.summary_of(folder) is None:
        return None
    report = json.loads((folder / "evaluation.json").read_text())
    return {"best": report["tasks"][0]["returns"], "last": report["last"]["tasks"][0]["returns"]}


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=runs.ROOT, capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "unknown"


def write_csv(path, command, columns, rows):
    """With the command and the commit that it comes from in a comment above the header."""
    text = io.StringIO()
    text.write(f"# {command}\n# commit {commit()}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.replace(path, text.getvalue())


def rows_of(root, chosen):
    for run in chosen:
        returns = returns_of(run.folder(root))
        for policy, values in (returns or {}).items():
            yield [run.domain, run.quality, run.algorithm, run.variant, run.seed,
                   runs.summary_of(run.folder(root))["learner_steps"], policy, len(values),
                   f"{statistics.fmean(values):.3f}", f"{statistics.pstdev(values):.3f}"]


def by_method(root, chosen, policy):
    """{(quality, algorithm, variant): scores} of the runs that are over."""
    methods = {}
    for run in chosen:
        returns = returns_of(run.folder(root))
        if returns:
            method = methods.setdefault((run.quality, run.algorithm, run.variant), {})
            method.setdefault(run.domain, []).append(returns[policy])
    return methods


def with_interval(figure, *of):
    low, high = scores.interval(figure, *of)
    return figure(*of), low, high


def logged_table(domain, logged):
    """What the logs hold, beside the paper's best low-quality episode. logged: {quality: returns}."""
    lines = [f"| {domain} logs | episodes | mean | 90th percentile | best | the paper's best |", "|---|---|---|---|---|---|"]
    for quality, returns in logged.items():
        ordered = sorted(returns)
        paper = DOMAINS[domain].paper_best_low if quality == "low" else "-"
        lines.append(f"| {quality} | {len(ordered)} | {statistics.fmean(ordered):.0f} "
                     f"| {ordered[int(0.9 * (len(ordered) - 1))]:.0f} | {ordered[-1]:.0f} | {paper} |")
    return "\n".join(lines) + "\n"


def table(root, chosen, reference="abm+mpo"):
    """A line for each method: interquartile means of the best and the last policy, and how often the reference's last
    policy is better than this method's."""
    best, last = by_method(root, chosen, "best"), by_method(root, chosen, "last")
    lines = [f"| logs | algorithm | seeds | best policy | last policy | {reference} is better |", "|---|---|---|---|---|---|"]
    for method, of in last.items():
        quality, algorithm, variant = method
        cells = []
        for scored in (best[method], of):
            middle, low, high = with_interval(scores.of_runs, scored)
            cells.append(f"{middle:.0f} ({low:.0f} .. {high:.0f})")
        against = last.get((quality, reference, ""))
        if against is None or method == (quality, reference, ""):
            cells.append("-")
        else:
            middle, low, high = with_interval(scores.probability_of_improvement, against, of)
            cells.append(f"{middle:.2f} ({low:.2f} .. {high:.2f})")
        seeds = sum(len(one) for one in of.values())
        lines.append(f"| {quality} | `{algorithm}`{' ' + variant if variant else ''} | {seeds} | "
                     + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def curves(root, chosen, path):
    """Learning curves with their spread over seeds, as SVG, PNG and CSV."""
    folders = list(dict.fromkeys(run.folder(root).parent for run in chosen if returns_of(run.folder(root))))
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".svg", ".png", ".csv") if folders else ():
        subprocess.run([runs.BUILD / "hindcast", "plot", *folders, f"--out={path.with_suffix(suffix)}"], cwd=runs.ROOT,
                       check=True, stdout=subprocess.DEVNULL)
