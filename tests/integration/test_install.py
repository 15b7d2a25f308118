"""cmake --install: a tree that runs from where it is put, and the completion script that it holds."""

import json
import os
import re
import shutil
import subprocess

import pytest

import logs
from processes import BINARIES, BUILD, ROOT, SLOW

PROGRAMS = [path.name for path in BINARIES.values()]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Installed in one place and moved to another."""
    folder = tmp_path_factory.mktemp("prefix")
    result = subprocess.run(["cmake", "--install", BUILD, "--prefix", folder / "first"], capture_output=True, text=True,
                            timeout=120 * SLOW)
    assert result.returncode == 0, result.stdout + result.stderr
    return (folder / "first").rename(folder / "moved")


def hidden(*folders):
    """A command that runs the words behind it with these folders empty; skips where namespaces are not allowed."""
    mounts = " && ".join(f"mount -t tmpfs none '{folder}'" for folder in folders)
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c",
               f'{mounts} && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs a mount namespace")
    return command


def run_dir_of(prefix, folder, *, command=()):
    """A short run of the installed programs, in `folder`."""
    episodes = [logs.episode(number, 40) for number in range(6)]
    for episode in episodes:
        episode["observations"][:, 0] %= 7
    logs.write_dataset(folder / "logs", [episodes])
    sections = {
        "experiment": {"run_dir": str(folder / "run"), "environment": "cheetah-run", "seed": 1},
        "replay_server": {"map_bytes": 64 << 20},
        "restorer": {"folder": str(folder / "logs")},
        "learner": {"widths": [16, 16], "batch_snippets": 8, "snippet_transitions": 4, "samples": 2, "steps": 40,
                    "threads": 1, "target_period": 10, "publish_every": 20, "report_every": 20},
        "evaluator": {"window_episodes": 1, "episodes": 1, "threads": 1},
    }
    (folder / "experiment.yaml").write_text(json.dumps(sections))
    result = subprocess.run([*command, prefix / "bin" / "hindcast", "up", folder / "experiment.yaml"], cwd=folder,
                            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}, capture_output=True, text=True,
                            timeout=120 * SLOW)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "run"


def test_an_installed_tree_that_was_moved_runs_alone(prefix, tmp_path):
    # An evaluator rolls out in MuJoCo, so its library and a model were found beside the programs.
    command = hidden(BUILD, os.path.realpath(ROOT / "third_party"))
    run_dir = run_dir_of(prefix, tmp_path, command=command)
    assert json.loads((run_dir / "summary.json").read_text())["learner_steps"] == 40
    assert (run_dir / "policy.safetensors").exists()


def test_the_models_of_the_sawyer_domain_are_installed(prefix, tmp_path):
    collected = subprocess.run([*hidden(BUILD, os.path.realpath(ROOT / "third_party")), prefix / "bin" / "hindcast-collector",
                                "--environment=sawyer-stack", "--act=script", "--episodes=1", f"--run_dir={tmp_path}"],
                               env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=120 * SLOW)
    assert collected.returncode == 0, collected.stdout + collected.stderr
    models = prefix / "share" / "hindcast" / "sawyer"
    assert len(list(models.glob("*/LICENSE"))) == 2  # the models' own
    assert (prefix / "share" / "hindcast" / "experiments" / "sawyer" / "rewards.lua").exists()


def test_what_starts_experiments_elsewhere_is_installed(prefix):
    for script in ("hindcast.sbatch", "part"):
        assert os.access(prefix / "share" / "hindcast" / "slurm" / script, os.X_OK)
    assert (prefix / "share" / "hindcast" / "kubernetes" / "overlays" / "laptop" / "kustomization.yaml").exists()


def test_nothing_of_the_build_is_named_in_the_programs(prefix):
    for name in PROGRAMS:
        dynamic = subprocess.run(["readelf", "-d", prefix / "bin" / name], capture_output=True, text=True, check=True).stdout
        assert str(ROOT) not in dynamic and str(BUILD) not in dynamic, dynamic
        assert "$ORIGIN/../lib/hindcast" in dynamic


def test_every_program_has_a_version(prefix):
    [version] = re.findall(r"^project\(hindcast VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    programs = [prefix / "bin" / name for name in PROGRAMS] + sorted((BUILD / "bench").glob("bench_*"))
    assert len(programs) >= 6
    for program in programs:
        result = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20 * SLOW)
        assert (result.returncode, result.stdout.split()[-1]) == (0, version), (program, result)


def complete(script, words, index=None):
    """What bash offers for the last of `words`, split as bash splits a line at '='."""
    shell = """
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _hindcast_complete
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    result = subprocess.run(["bash", "-c", shell, "bash", script, *words], capture_output=True, text=True, timeout=20,
                            check=True)
    assert result.stderr == ""
    return result.stdout.split()


def test_completion_comes_from_the_option_tables(prefix):
    script = prefix / "share" / "bash-completion" / "completions" / "hindcast"
    subprocess.run(["bash", "-n", script], check=True)
    assert complete(script, ["hindcast", "da"]) == ["dashboard", "dataset"]
    assert complete(script, ["hindcast", "dataset", "sub"]) == ["subsample"]
    assert complete(script, ["hindcast", "up", "x.yaml", "--learner.algo"]) == ["--learner.algorithm="]
    assert complete(script, ["hindcast", "up", "x.yaml", "--up.evalu"]) == ["--up.evaluators="]
    assert complete(script, ["hindcast", "up", "x.yaml", "--experiment.log_level", "=", "w"]) == ["warn"]
    assert complete(script, ["hindcast", "up", "x.yaml", "--learner.algorithm", "="])[0] == "mpo"
    assert complete(script, ["/usr/bin/hindcast-restorer", "--restorer.mod"]) == ["--restorer.mode="]
    assert complete(script, ["hindcast-restorer", "--restorer.mode", "=", "l"]) == ["loop"]
    # Every option of a process is offered, by its own table.
    for name in PROGRAMS[1:]:
        table = subprocess.run([prefix / "bin" / name, "--options"], capture_output=True, text=True, check=True).stdout
        names = [line.split("\t")[0] for line in table.splitlines()]
        offered = complete(script, [name, "--"])
        assert len(names) > 10 and {f"--{option}=" for option in names} <= set(offered)


def test_completion_in_zsh(prefix):
    script = prefix / "share" / "zsh" / "site-functions" / "_hindcast"
    assert script.read_text().startswith("#compdef hindcast hindcast-replay-server")
    if shutil.which("zsh") is None:
        pytest.skip("no zsh here")
    shell = """
        autoload -U +X compinit && compinit -u -D; source "$1"; shift
        emulate sh
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _hindcast_complete
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    for words, expected in ((["hindcast", "up", "x.yaml", "--learner.algo"], "--learner.algorithm="),
                            (["hindcast", "up", "x.yaml", "--experiment.log_level=w"], "--experiment.log_level=warn")):
        result = subprocess.run(["zsh", "-f", "-c", shell, "zsh", script, *words], capture_output=True, text=True, timeout=20)
        assert result.stdout.split() == [expected], result


def test_manual_pages_come_from_the_option_tables(prefix):
    for name in PROGRAMS:
        page = prefix / "share" / "man" / "man1" / f"{name}.1"
        found = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, timeout=20,
                               check=False).stdout.splitlines()
        # A page has the version, and no date: the same sources make the same page.
        assert [line for line in found if "missing date" not in line] == []
        shown = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=300", page], capture_output=True, text=True, timeout=20,
                               check=True).stdout
        shown = " ".join(re.sub(".\b", "", shown).split())
        assert shown.startswith(f"{name.upper()}(1)")
        if name == "hindcast":
            assert all(f"usage: hindcast {command}" in shown for command in ("up", "status", "policy inspect", "man"))
            continue
        table = subprocess.run([prefix / "bin" / name, "--options"], capture_output=True, text=True, check=True).stdout
        options = [line.split("\t") for line in table.splitlines()]
        assert len(options) > 10
        for option, *_, text in options:
            assert f"--{option.split('.', 1)[1]}=" in shown and " ".join(text.split()) in shown, option


def test_no_program_needs_the_checked_features_to_say_so():
    """The check of the processor is itself compiled for any x86-64: no instruction of AVX in it."""
    [found] = BUILD.glob("CMakeFiles/hindcast_cpu_check.dir/**/cpu_check.c.o")
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", found], capture_output=True, text=True, check=True).stdout
    assert "xgetbv" in text
    assert not re.findall(r"\t(v[a-z]\w+|andn|bextr|blsr|tzcnt|lzcnt|mulx|rorx|sarx|shlx|shrx|movbe)\s", text)
    for name in PROGRAMS:
        [binary] = [path for path in BINARIES.values() if path.name == name]
        symbols = subprocess.run(["nm", binary], capture_output=True, text=True, check=True).stdout
        assert re.search(r" T cpu_missing$", symbols, re.MULTILINE), name


