"""What all comparisons share: a peer's Python (a virtual environment in third_party/, made from its hash-pinned
requirements files), and how results are written."""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

PEERS = pathlib.Path(__file__).resolve().parent
ROOT = PEERS.parents[1]
NEEDS_GB = {"d3rlpy": 8, "jax": 1, "torch": 8, "reverb": 3}
INSTALL_TIMEOUT_S = 1800
# Where one file is not enough. Packages that have no wheel are built last, by what the wheels have brought, so that
# nothing is fetched that is not pinned.
REQUIREMENTS = {"d3rlpy": ("torch", "d3rlpy", "d3rlpy-sources")}


def fail(text):
    raise SystemExit(f"bench/peers/run: {text}")


def line_of(result):
    """name=value of each, floats with four digits."""
    return " ".join(f"{name}={f'{value:.4g}' if isinstance(value, float) else value}" for name, value in result.items())


def write_json(path, report):
    """Written aside and renamed."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(report, indent=1) + "\n")
    aside.replace(path)


def parser_of(part, doc, rounds=None, seconds=None, of="of each turn", python_with=None):
    """What these comparisons take alike; rounds and seconds where they have turns. `python_with`: the package for which
    they need the tests' Python."""
    parser = argparse.ArgumentParser(prog=f"bench/peers/run {part}", description=doc)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds)
        parser.add_argument("--seconds", type=float, default=seconds, help=of)
    parser.add_argument("--json", type=pathlib.Path, help="also write the results to this file")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="where our program is")
    if python_with is not None:
        parser.add_argument("--python", type=pathlib.Path, default=ROOT / "third_party/venv/bin/python",
                            help=f"with {python_with} (deploy/install_dependencies --tests)")
    return parser


def parse(parser, arguments, program, target):
    """The arguments; args.program is `program` of the build, which the CMake target `target` makes."""
    args = parser.parse_args(arguments)
    args.build = args.build.resolve()
    args.program = args.build / program
    if not os.access(args.program, os.X_OK):
        fail(f"{args.program} is not there: cmake --build {args.build} --target {target}")
    if "python" in args and not args.python.exists():
        fail(f"{args.python} is not there: deploy/install_dependencies --tests")
    if "rounds" in args and (args.rounds < 1 or not args.seconds > 0):
        parser.error("--rounds and --seconds: expected more than 0")
    return args


def run(what, log, *command):
    with open(log, "w") as out:
        try:
            code = subprocess.run(command, stdout=out, stderr=out, timeout=INSTALL_TIMEOUT_S).returncode
        except subprocess.TimeoutExpired:
            fail(f"{what}: not done after {INSTALL_TIMEOUT_S} s")
        except OSError as error:
            fail(f"{what}: {error}")
    if code != 0:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        reasons = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no reason given"]
        fail(f"{what}: {reasons[0]} (all of it: {log})")


def python(peer):
    """The interpreter of third_party/peers-venv-<peer>, which is made where it is not there or out of date."""
    requirements = [PEERS / f"requirements-{name}.txt" for name in REQUIREMENTS.get(peer, (peer,))]
    base = os.environ.get("HINDCAST_PYTHON", "python3")
    version = subprocess.run([base, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if not version.startswith("Python 3.11."):
        fail(f"{requirements[0].name} is for Python 3.11, {base} is {version or 'not there'} (HINDCAST_PYTHON names another)")
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in requirements) + version.encode()).hexdigest()
    folder = ROOT / f"third_party/peers-venv-{peer}"
    interpreter = folder / "bin/python"
    if interpreter.exists() and (folder / "stamp").exists() and (folder / "stamp").read_text() == stamp:
        return interpreter

    folder.parent.mkdir(exist_ok=True)
    free_gb = shutil.disk_usage(folder.parent).free / 1e9
    if free_gb < NEEDS_GB[peer]:
        fail(f"{folder.parent} has {free_gb:.1f} GB free, {peer} wants {NEEDS_GB[peer]}")
    print(f"fetching {peer} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    # An environment knows its own path, so it is made in place; the stamp, written last, makes it valid.
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_suffix(".log")
    run("python -m venv", log, base, "-m", "venv", folder)
    for path in requirements:
        kind = ["--no-binary=:all:", "--no-build-isolation"] if "sources" in path.name else ["--only-binary=:all:"]
        run(f"pip install {path.name}", log, interpreter, "-m", "pip", "--disable-pip-version-check", "install",
            "--no-cache-dir", "--no-deps", "--require-hashes", *kind, "--requirement", path)
    (folder / "stamp").write_text(stamp)
    log.unlink()
    return interpreter
