"""Our tasks of the control suite against dm_control itself, run on this machine: every task, to the last bit."""

import os
import subprocess
import sys

from processes import BUILD, ROOT, SLOW

# numpy's own vector code for exp, log1p and arctan2 differs from the C library's in the last bit. Without it the two
# programs have the same functions to call, and OPENBLAS_CORETYPE must not choose other sums than those of this
# processor.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"} | {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
VERIFY = BUILD / "tests" / "verify_tasks"
GOLDEN = ROOT / "tests" / "golden" / "control_suite"
SCRIPT = GOLDEN / "make_recordings.py"


def run(*command):
    return subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, timeout=600 * SLOW)


def tasks():
    names = run(VERIFY, "--list").stdout.split()
    assert len(names) >= 32 and len(set(names)) == len(names)
    return names


def test_every_task_equals_dm_control(tmp_path):
    names = tasks()
    made = run(sys.executable, SCRIPT, tmp_path, "--every", "--seed", "11", "--tasks", ",".join(names))
    assert made.returncode == 0, made.stderr[-2000:]
    verified = run(VERIFY, "--same-machine", tmp_path, *names)
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.splitlines()[-1] == f"{4 * len(names)} passed, 0 failed"


def test_every_task_has_recordings():
    recorded = {path.name.rsplit("_", 1)[0] for path in GOLDEN.glob("*.bin")}
    assert recorded == set(tasks())
