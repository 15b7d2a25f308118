"""experiments/compare-cheetah-run: compares several algorithms in one table, and can be stopped and continued."""

import os
import signal

import pytest

from processes import BUILD, ROOT, SLOW, wait_until
from test_learner import last_step

PAGE = """before
<!-- compare-cheetah-run -->
old
<!-- end -->
between
<!-- compare-cheetah-run --seconds -->
old
<!-- end -->
after
"""


@pytest.fixture
def compare(workspace, monkeypatch):
    """Returns a function that starts the command with its own flags and with flags for every run."""
    monkeypatch.setenv("BUILD", os.path.relpath(BUILD, ROOT))
    (workspace.folder / "page.md").write_text(PAGE)

    def start(flags, *learner):
        return workspace.start_command(
            "compare", ROOT / "experiments" / "compare-cheetah-run", "--algorithms=abm+mpo,bcq", "--seeds=1,2",
            f"--run-dir={workspace.folder / 'runs'}", f"--write={workspace.folder / 'page.md'}", *flags, "--",
            "--learner.widths=16,16", "--learner.report_every=10", "--evaluator.window_episodes=1",
            "--evaluator.episodes=2", *learner)
    return start


def rows(workspace):
    """{algorithm: cells} of each of the two tables."""
    before, first, between, second, after = (
        part for half in (workspace.folder / "page.md").read_text().split("<!-- end -->\n")
        for part in half.split("-->\n"))
    assert between.startswith("between") and after == "after\n" and before.startswith("before")
    cells = [[line.strip("| ").split(" | ") for line in table.splitlines()[2:]] for table in (first, second)]
    return [{name.strip("`"): rest for name, *rest in table} for table in cells]


def test_equal_steps_for_all_with_an_interruption(workspace, compare):
    process = compare(["--jobs=1"], "--learner.steps=0")
    learning = workspace.folder / "runs" / "abm+mpo" / "seed-1" / "learner.jsonl"
    wait_until(lambda: learning.exists() and learning.stat().st_size > 0, "learning", alive=process)
    process.signal(signal.SIGTERM)
    assert process.wait(20) == 1
    wait_until(lambda: workspace.living() == [], "the processes of the command to end")
    assert (workspace.folder / "page.md").read_text() == PAGE

    steps = last_step(learning.parent) + 100
    compare([], f"--learner.steps={steps}").succeed(120)
    first, second = rows(workspace)
    assert list(first) == ["abm+mpo", "bcq"] and second == {}
    assert all(cell.count("/") == 1 and "±" in cell for cells in first.values() for cell in cells[:2])
    assert 0 <= float(first["abm+mpo"][3].split()[0]) <= 1 and first["bcq"][4] == "-"
    compare([], f"--learner.steps={steps}").succeed(10)  # nothing runs again
    assert rows(workspace)[0] == first


def test_equal_time_for_all(workspace, compare):
    compare([f"--seconds={SLOW}"], "--learner.report_every=1000000").succeed(120)  # ends before the first report
    first, second = rows(workspace)
    assert first == {} and list(second) == ["abm+mpo", "bcq"]
    assert all(float(cells[-1]) > 0 for cells in second.values())
