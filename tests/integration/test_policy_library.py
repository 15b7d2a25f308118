"""libhindcast_policy as its users have it: installed, found by pkg-config, linked by C and C++, loaded by Python.

Its actions are compared bit for bit with those of `hindcast policy act`, and within 1e-5 on another kind of processor,
which QEMU emulates.
"""

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import policies
from processes import BINARIES, BUILD, ROOT, SLOW

EXAMPLES = ROOT / "deploy" / "policy" / "examples"
ARM_COMPILER, ARM_EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"


def run(*words, status=0, **options):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120 * SLOW, **options)
    assert done.returncode == status, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr if status == 0 else done.stderr


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """The project, installed and then moved."""
    folder = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", folder / "first")
    return (folder / "first").rename(folder / "moved")


@pytest.fixture(scope="module")
def flags(prefix):
    """What pkg-config says, by the words that it is asked with."""
    folder = next(prefix.glob("lib*/**/pkgconfig"))

    def ask(*words):
        return run("pkg-config", *words, "hindcast_policy",
                   env={**os.environ, "PKG_CONFIG_PATH": str(folder)}).split()
    return ask


@pytest.fixture(scope="module")
def library(prefix):
    return next(prefix.glob("lib*/**/libhindcast_policy.so.0"))


@pytest.fixture(scope="module")
def binding(library):
    """The example for Python, as a module."""
    os.environ["HINDCAST_POLICY_LIBRARY"] = str(library)
    spec = importlib.util.spec_from_file_location("hindcast_policy", EXAMPLES / "hindcast_policy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def act(path, folder, observation, *flags, **more):
    """action_physical of `hindcast policy act`."""
    safetensors.numpy.save_file({"observation": observation, **more}, folder / "in.safetensors")
    run(BINARIES["hindcast"], "policy", "act", path, f"--inputs={folder}/in.safetensors",
        f"--to={folder}/out.safetensors", *flags)
    return safetensors.numpy.load_file(folder / "out.safetensors")["action_physical"]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("tasks", [("run",), ("reach", "lift", "stack")])
@pytest.mark.parametrize("acting", ["gaussian", "argmax", "perturbed_argmax"])
def test_python_gets_the_bits_of_policy_act(binding, tmp_path, acting, tasks, normalized):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, acting, tasks=tasks, normalized=normalized)
    policy = binding.Policy(path, "mean")
    assert policy.slices == {"part_0": slice(0, 5), "part_1": slice(5, 6), "part_2": slice(6, 9)}
    assert policy.tasks == list(tasks) and policy.control_period_s == 0.025
    observation = np.random.default_rng(3).normal(0, 2, (70, 9)).astype(np.float32)
    for number, task in enumerate(tasks):
        more = {"task": np.full(len(observation), number, np.int64)} if len(tasks) > 1 else {}
        expected = act(path, tmp_path, observation, "--acting=mean", **more)
        policy.start(task=task)
        actions = np.array([policy.act(row) for row in observation])
        assert np.array_equal(actions, expected)
        assert (actions >= policy.action_min).all() and (actions <= policy.action_max).all()


def test_what_is_drawn_is_a_function_of_seed_and_episode(binding, tmp_path):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "gaussian")
    policy = binding.Policy(path, "sample")

    def actions(seed, episode):
        policy.start(seed, episode)
        return np.array([policy.act(np.zeros(9)) for _ in range(20)])
    first = actions(5, 1)
    assert first.std(0).min() > 0
    assert np.array_equal(actions(5, 1), first)
    assert not np.array_equal(actions(5, 2), first) and not np.array_equal(actions(6, 1), first)


def test_bad_input_is_a_sentence(binding, tmp_path):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "gaussian")
    policy = binding.Policy(path)
    observation = np.zeros(9, np.float32)
    observation[4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        policy.act(observation)
    with pytest.raises(ValueError, match=r"shape \(8,\): expected \(9,\)"):
        policy.act(np.zeros(8))
    with pytest.raises(ValueError, match="expected mean or sample"):
        binding.Policy(path, "argmax")
    with pytest.raises(ValueError, match="absent.safetensors"):
        binding.Policy(tmp_path / "absent.safetensors")
    # One flipped bit of the header, anywhere, is refused or changes nothing that matters.
    good = path.read_bytes()
    refused = 0
    for at in range(8, 400, 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1:])
        try:
            action = binding.Policy(path).act(np.zeros(binding.Policy(path).observation_size))
            assert np.isfinite(action).all()
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 50


def test_it_needs_libm_alone_and_shows_its_own_names_alone(library):
    needed = re.findall(r"NEEDED.*\[(.*?)\]", run("readelf", "-d", library))
    assert set(needed) <= {"libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"}
    for file, options in ((library, ["-D"]), (library.parent / "libhindcast_policy.a", [])):
        names = [line.split()[-1] for line in run("nm", *options, "--defined-only", "--extern-only", file).splitlines()
                 if len(line.split()) == 3]
        assert len(names) > 15
        assert all(name.startswith(("hindcast_policy_", "hindcast_actor_")) for name in names), names


@pytest.mark.parametrize("static", [False, True])
def test_examples_are_built_by_pkg_config_and_run(prefix, flags, library, tmp_path, static):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "argmax")
    if static:
        libraries = [library.parent / "libhindcast_policy.a", "-lm"]
    else:
        libraries = [*flags("--libs"), f"-Wl,-rpath,{library.parent}", "-lm"]
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    run("gcc", "-std=c11", "-D_GNU_SOURCE", *strict, EXAMPLES / "control_loop.c", *flags("--cflags"), *libraries, "-o",
        tmp_path / "control_loop")
    run("g++", "-std=c++17", *strict, EXAMPLES / "act.cpp", *flags("--cflags"), *libraries, "-o", tmp_path / "act")
    assert re.match(r"200 steps at 500 Hz; the longest action took [\d.]+ us; last action( \S+){3}\n",
                    run(tmp_path / "control_loop", path, 500, 200))
    assert "absent" in run(tmp_path / "control_loop", tmp_path / "absent", status=1)
    policies.make_package(tmp_path / "narrow", "argmax", observed=(-1e-6, 1e-6))
    assert re.search(r"\noutside: part_\d\[\d\] was \S+, seen -1e-06..1e-06\n",
                     run(tmp_path / "control_loop", tmp_path / "narrow", 500, 200))
    actions = np.array(run(tmp_path / "act", path).split(), np.float32)
    # The same draws as a fresh actor's in the other kind of library: the file and nothing else decides.
    assert actions.shape == (3,) and np.isfinite(actions).all()
    assert "act: " in run(tmp_path / "act", tmp_path / "absent", status=1)


def test_observations_that_are_outside_are_told_and_held(binding, tmp_path):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "gaussian", observed=(-1, 3), offline_value="1.5", offline_value_low="1",
                          offline_value_high="2e0")
    policy, free = binding.Policy(path), binding.Policy(path)
    assert policy.observed.tolist() == [[-1] * 9, [3] * 9] and policy.offline_value == (1.5, 1.0, 2.0)
    inside, outside = np.ones(9, np.float32), np.ones(9, np.float32)
    outside[7] = 7
    middle = (policy.action_min + policy.action_max) / 2
    assert np.array_equal(policy.act(outside), free.act(outside)) and policy.outside is None
    policy.hold("last", 0.5, middle)
    acted = policy.act(inside)
    assert np.array_equal(acted, free.act(inside)) and policy.outside is None
    assert np.array_equal(policy.act(outside), acted)
    found = policy.outside
    assert (found.count, found.slice, found.element, found.value, found.min, found.max, found.excess) == (
        1, b"part_2", 1, 7, -1, 3, 1)
    policy.hold("action", 0, middle)
    assert np.array_equal(policy.act(outside), middle)
    policy.hold("stop")
    assert policy.act(outside) is None and policy.outside.dimension == 7
    policy.hold("action", 1, middle)
    assert np.array_equal(policy.act(outside), free.act(outside))
    said = run(BINARIES["hindcast"], "policy", "inspect", path)
    assert "value           1.5, interval 1..2, by an offline evaluation" in said
    assert "observed        ranges of 9 dimensions, 0 of them constant" in said
    # One of an earlier release acts, and has nothing to compare with.
    policies.make_package(path, "gaussian")
    old = binding.Policy(path)
    assert old.observed is None and old.offline_value is None and np.isfinite(old.act(outside)).all()
    with pytest.raises(ValueError, match="does not fit"):
        old.hold("stop")
    assert "observed        no ranges" in run(BINARIES["hindcast"], "policy", "inspect", path)


def test_bad_ranges_name_the_tensor(binding, tmp_path):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "gaussian", observed=(2, 1))
    words = "observed/min: element 0 is 2, expected at most that of observed/max, 1"
    with pytest.raises(ValueError, match=words):
        binding.Policy(path)
    assert words in run(BINARIES["hindcast"], "policy", "inspect", path, status=1)
    policies.make_package(path, "gaussian", offline_value="high")
    with pytest.raises(ValueError, match="offline_value: 'high', expected a number"):
        binding.Policy(path)


def test_a_locale_with_decimal_commas_changes_nothing(binding, library, tmp_path):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "perturbed_argmax", normalized=True)
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], check=True)
    script = ("import locale, sys; locale.setlocale(locale.LC_ALL, ''); assert locale.str(0.5) == '0,5'; "
              f"sys.path.insert(0, {str(EXAMPLES)!r}); import hindcast_policy, numpy; "
              "p = hindcast_policy.Policy(sys.argv[1], 'mean'); "
              "print(locale.str(0.5), p.act(numpy.zeros(9)).tobytes().hex())")
    out = run(sys.executable, "-c", script, path,
              env={**os.environ, "LC_ALL": "de_DE.UTF-8", "LOCPATH": str(tmp_path)})
    assert out.split()[0] == "0,5"
    assert out.split()[1] == binding.Policy(path, "mean").act(np.zeros(9)).tobytes().hex()


def test_another_processor_acts_within_1e_5(tmp_path):
    """The library alone, cross-compiled for 64-bit ARM, where its kernels are plain C."""
    build = tmp_path / "build"
    run("cmake", "-S", ROOT / "deploy" / "policy", "-B", build, "-G", "Ninja", "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_C_COMPILER={ARM_COMPILER}", "-DJSMN_INCLUDE=/usr/include",
        "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", build)
    program = tmp_path / "act.c"
    program.write_text("""
#include <hindcast_policy.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    char error[HINDCAST_POLICY_ERROR_SIZE];
    hindcast_policy *policy;
    hindcast_actor *actor;
    float observation[9], action[3];
    if (argc != 2 || hindcast_policy_load(&policy, argv[1], error) != 0 ||
        hindcast_actor_new(&actor, policy, "mean", error) != 0) {
        return 1;
    }
    while (fread(observation, sizeof observation, 1, stdin) == 1) {
        if (hindcast_actor_act(actor, observation, action) != 0) {
            return 1;
        }
        printf("%.9g %.9g %.9g\\n", (double)action[0], (double)action[1], (double)action[2]);
    }
    return 0;
}
""")
    run(ARM_COMPILER, "-static", program, "-I", ROOT / "deploy" / "policy", build / "libhindcast_policy.a", "-lm", "-o",
        tmp_path / "act")
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "perturbed_argmax", normalized=True)
    observation = np.random.default_rng(3).normal(0, 2, (40, 9)).astype(np.float32)
    done = subprocess.run([ARM_EMULATOR, tmp_path / "act", path], input=observation.tobytes(), capture_output=True,
                          timeout=120 * SLOW)
    assert done.returncode == 0, done.stderr
    actions = np.array(done.stdout.split(), np.float32).reshape(-1, 3)
    expected = act(path, tmp_path, observation, "--acting=mean")
    assert np.abs(actions - expected).max() < 1e-5 * 8  # of limits that are up to 8 wide


def test_bench_prints_quantiles(tmp_path):
    path = tmp_path / "policy.safetensors"
    policies.make_package(path, "gaussian")
    out = run(BINARIES["hindcast"], "policy", "bench", path, "--rate=200", "--seconds=0.5")
    assert re.search(r"actions     (9\d|100) at 200 Hz", out)
    times = [float(t) for t in re.findall(r"p[\d.]+ ([\d.]+)|max ([\d.]+)", out)[0] if t]
    assert times and 0 < times[0] < 1e5
    assert "in a row" in run(BINARIES["hindcast"], "policy", "bench", path, "--rate=0", "--seconds=0.1")
    assert "--seconds=0: expected a number" in run(BINARIES["hindcast"], "policy", "bench", path, "--seconds=0", status=1)
