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
    """{algorithm: cells} of the table."""
    before, rest = (workspace.folder / "page.md").read_text().split("<!-- compare-cheetah-run -->\n")
    table, after = rest.split("<!-- end -->\n")
    assert before == "before\n" and after == "after\n"
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {name.strip("`"): rest for name, *rest in cells}


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
    table = rows(workspace)
    assert list(table) == ["abm+mpo", "bcq"]
    assert all(cell.count("/") == 1 and "±" in cell for cells in table.values() for cell in cells[:2])
    assert 0 <= float(table["abm+mpo"][3].split()[0]) <= 1 and table["bcq"][4] == "-"
    compare([], f"--learner.steps={steps}").succeed(10)  # nothing runs again
    assert rows(workspace) == table


def test_equal_time_for_all(workspace, compare):
    compare([f"--seconds={SLOW}"], "--learner.report_every=1000000").succeed(120)  # ends before the first report
    table = rows(workspace)
    assert list(table) == ["abm+mpo", "bcq"]
    assert all(float(cells[-1]) > 0 for cells in table.values())
