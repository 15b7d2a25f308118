"""What `hindcast` shows: its screen on terminals of any width, its pages of help, and what it says at the end of a run."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile

import pytest

from processes import BINARIES, ROOT, SLOW
from terminal import draws
from test_up import experiment  # noqa: F401 (a fixture)


def on_a_terminal(columns, command, cwd):
    """Runs the command on a terminal of that width; (all that it drew there, what it wrote to stdout)."""
    with tempfile.TemporaryFile() as output:
        drawn = "".join(draws(columns, command, cwd, stdin=subprocess.DEVNULL, stdout=output))
        output.seek(0)
        return drawn, output.read().decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_screen_fits_the_terminal(experiment, columns):  # noqa: F811
    experiment.sections(learner={"steps": 1000000, "max_seconds": 6, "publish_every": 1000, "report_every": 100})
    drawn, result = on_a_terminal(columns, [BINARIES["hindcast"], "up", str(experiment.config)], experiment.folder)
    lines = [re.sub(r"\x1b\[[0-9]*[A-Z]", "", line).strip("\r") for line in drawn.split("\n")]
    rows = [line for line in lines if line.startswith(("learner", "evaluator", "replay_server", "restorer"))]
    assert rows and max(map(len, rows)) < columns
    # The figures that the quick start tells its users to watch are there at any width, and none is cut in half.
    learner = [line for line in rows if "step " in line and line.startswith("learner")]
    assert any(re.search(r"\[[=-]+\] step \d+/1000000  [\d.]+ steps/s  accepted [\d.e+-]+", line) for line in learner), rows
    assert all(re.search(r"(?:  \w[^ ]*(?: [^ ]+)+)?$", line) for line in rows)
    # At the end: what was made, and what usually comes next.
    run = str(experiment.run_dir)
    assert any(line.split()[:1] == [f"{run}/policy.safetensors"] for line in lines)
    assert any(line.startswith("next: ") and f"hindcast policy export --onnx {run}" in line for line in lines)
    assert "policy_return_mean" in result
    # The same command again does not show the old result as if it were a new one.
    drawn, _ = on_a_terminal(columns, [BINARIES["hindcast"], "up", str(experiment.config)], experiment.folder)
    assert f"{run} has ended before" in drawn


def test_pictures_of_the_screen(experiment, tmp_path):  # noqa: F811
    """As tests/tools/terminal puts them into a page."""
    experiment.sections(experiment={"run_dir": "runs/small", "name": "small"},
                        learner={"steps": 1000000, "max_seconds": 8, "publish_every": 1000, "report_every": 100})
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- terminal {columns} -->\nold\n<!-- end -->\n" for columns in (80, 120)))
    subprocess.run([ROOT / "tests" / "tools" / "terminal", experiment.config, "--write", page], timeout=120 * SLOW, check=True)
    narrow, wide = re.findall(r"<!-- terminal \d+ -->\n(.*?)<!-- end -->\n", page.read_text(), re.DOTALL)
    for text, columns in ((narrow, 80), (wide, 120)):
        assert max(map(len, text.splitlines())) < columns and "old" not in text
        assert re.search(r"^learner +\[=+-*\] step \d+/1000000 ", text, re.MULTILINE)
        assert re.search(r"^\$ hindcast status runs/small\n(.+\n)*learner +running +step \d+", text, re.MULTILINE)
    assert max(map(len, wide.splitlines())) > 80


def shown(*arguments, cwd=None, status=0):
    done = subprocess.run([BINARIES["hindcast"], *arguments], capture_output=True, text=True, timeout=30 * SLOW, cwd=cwd,
                          check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", [[], ["up"], ["status"], ["dataset"], ["dataset", "start"], ["policy"],
                                     ["policy", "export"], ["replay"], ["replay", "set"], ["doctor"], ["completion"],
                                     ["man"], ["certs"], ["plot"], ["dashboard"], ["up", "no-such.yaml"]])
def test_help_is_everywhere_and_narrow(command):
    page = shown(*command, "--help")
    assert page.startswith("usage: hindcast") and page == shown(*command, "-h")
    assert max(map(len, page.splitlines())) <= 100


def test_the_help_of_up_has_its_options():
    assert "--evaluators=" in shown("up", "-h")


@pytest.mark.parametrize("role", [role for role in BINARIES if role != "hindcast"])
def test_the_help_of_processes_is_narrow(role):
    page = subprocess.run([BINARIES[role], "-h"], capture_output=True, text=True, timeout=60 * SLOW, check=True).stdout
    assert f"\n{role}:\n" in page and max(len(line) for line in page.splitlines() if " " in line.strip()) <= 100


def test_status_without_a_run_lists_all(tmp_path):
    assert "no runs" in shown("status", cwd=tmp_path)
    for name, files in {"done": ["up.lock", "summary.json"], "half": ["up.lock"], "other": []}.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "runs" / name / file).touch()
    (tmp_path / "runs" / "live").mkdir()
    with open(tmp_path / "runs" / "live" / "up.lock", "w", encoding="ascii") as lock:
        lock.write(f"pid {os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = dict(line.split(maxsplit=1) for line in shown("status", cwd=tmp_path).splitlines())
    assert list(rows) == ["runs/done", "runs/half", "runs/live"]
    assert [rows[f"runs/{name}"].split(":")[0] for name in ("done", "half", "live")] == ["ended", "stopped", "running"]


def test_the_doctor_looks_at_this_machine(tmp_path):
    rows = shown("doctor", cwd=tmp_path).splitlines()
    assert [row.split()[1] for row in rows] == ["processor", "bf16", "memory", "disk", "writing", "open", "sockets", "ports",
                                                "clock", "programs", "models"]
    assert not any(row.startswith("BAD") for row in rows)


def test_the_doctor_says_what_is_wrong_and_what_to_do(tmp_path):
    alone = tmp_path / "a" / "hindcast"
    alone.parent.mkdir()
    shutil.copy(BINARIES["hindcast"], alone)
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    done = subprocess.run(["bash", "-c", 'ulimit -n 100; exec "$0" doctor', alone], capture_output=True, text=True, cwd=folder,
                          timeout=60 * SLOW, check=False)
    rows = {row[6:18].strip(): row for row in done.stdout.splitlines()}
    assert done.returncode == 1 and done.stderr == ""
    assert rows["open files"].startswith("BAD") and "ulimit -n" in rows["open files"]
    assert rows["programs"].startswith("BAD") and "hindcast-" in rows["programs"]
    assert rows["sockets"].startswith("note") and rows["models"].startswith("note")
    assert rows["ports"].startswith("ok")
