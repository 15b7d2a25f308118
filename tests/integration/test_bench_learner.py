"""bench_learner: its lines are what others parse, and a wrong OPENBLAS_CORETYPE does not reach its yardstick."""

import os
import re
import subprocess

import pytest

from processes import BUILD, SLOW

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}


def bench(*arguments, **environment):
    return subprocess.run([BUILD / "bench" / "bench_learner", *arguments], env=ENVIRONMENT | environment, text=True,
                          capture_output=True, timeout=120 * SLOW)


def lines(result):
    """Each line's fields."""
    assert result.returncode == 0, result.stderr
    parsed = []
    for line in result.stdout.splitlines():
        name, *fields = line.split()
        assert name == "bench_learner"
        parsed.append(dict(field.split("=") for field in fields))
    return parsed


def test_a_line_for_each_precision_and_number_of_threads():
    found = lines(bench("--size=quick", "--threads=2", "--seconds=0.1", "--rounds=1"))
    assert [(line["size"], line["precision"], line["threads"]) for line in found] == [
        ("quick", precision, threads) for precision in ("f32", "bf16-evaluation", "bf16") for threads in ("1", "2")]
    for line in found:
        steps, gflops = float(line["steps_per_s"]), float(line["gflops"])
        assert steps > 0 and gflops / steps == pytest.approx(7.219, rel=1e-3)
        assert float(line["share_of_sgemm"]) > 0 and float(line["scaling"]) > 0 and float(line["over_f32"]) > 0
        assert 0 < float(line["share_of_peak"]) < 1.5  # the peak is measured in short tries, beside other work
        assert float(line["peak_mib"]) > float(line["update_mib"]) > 1


def test_the_bytes_of_each_link_between_ranks():
    """Over gRPC rank 0 moves R-1 times the sums each way; over MPI each rank moves less than twice, whatever R is."""
    for ranks in (2, 3):
        found = lines(bench("--size=quick", f"--ranks={ranks}", "--rounds=1", "--seconds=0.1"))
        moved = {line["transport"]: (int(line["rank_0_bytes"]), int(line["other_bytes"]))
                 for line in found if "transport" in line}
        assert moved.keys() == {"grpc-tcp", "grpc-unix", "mpi", "mpi-tcp"}
        sums = moved["grpc-tcp"][1] // 2
        assert sums > 1_000_000
        for transport in ("grpc-tcp", "grpc-unix"):
            assert moved[transport] == (2 * (ranks - 1) * sums, 2 * sums)
        for transport in ("mpi", "mpi-tcp"):
            for both_ways in moved[transport]:  # a word of 64 bytes, and up to a line for each slice, besides
                assert 0 <= both_ways - 2 * 2 * (ranks - 1) / ranks * sums < 4 * ranks * 192


def test_a_wrong_core_is_said_and_undone():
    result = bench("--size=quick", "--precision=f32", "--threads=1", "--seconds=0.1", "--rounds=1",
                   OPENBLAS_CORETYPE="Prescott")
    assert len(lines(result)) == 1
    assert "WARNING: OPENBLAS_CORETYPE=Prescott makes OpenBLAS run its Prescott kernels" in result.stderr
    first = re.search(r"OpenBLAS (\w+); a core's multiply-adds in GFLOP/s: floats (\d+), pairs of bf16 \d+, tiles "
                      r"of bf16 \d+$", result.stderr, re.MULTILINE)
    assert first and first.group(1) != "Prescott" and int(first.group(2)) > 0


DETECTION_FAILS = """
#include <stddef.h>
#include <unistd.h>

static const char *value(const char *entry, const char *name)
{
    while (*name && *entry == *name) {
        entry++, name++;
    }
    return !*name && *entry == '=' ? entry + 1 : NULL;
}

/* The library's first question for its core is answered as if it had detected an old processor; the program, which
 * asks later, sees the real environment. Calls nothing: a sanitizer may not be ready yet. */
char *getenv(const char *name)
{
    static int asked;
    for (char **entry = environ; *entry; entry++) {
        if (value(*entry, name)) {
            return (char *)value(*entry, name);
        }
    }
    return value("OPENBLAS_CORETYPE=", name) && !asked++ ? (char *)"Prescott" : NULL;
}
"""


def test_a_processor_that_openblas_does_not_know(tmp_path):
    (tmp_path / "fails.c").write_text(DETECTION_FAILS)
    library = tmp_path / "fails.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library,
                    tmp_path / "fails.c"], check=True)
    result = bench("--size=quick", "--precision=f32", "--threads=1", "--seconds=0.1", "--rounds=1",
                   LD_PRELOAD=str(library), ASAN_OPTIONS="verify_asan_link_order=0")
    assert len(lines(result)) == 1
    chosen = re.search(r"WARNING: OpenBLAS chose its Prescott kernels, which do not fit this processor: "
                       r"starting again with OPENBLAS_CORETYPE=(SkylakeX|Haswell)$", result.stderr, re.MULTILINE)
    assert chosen and f"OpenBLAS {chosen.group(1)}; a core's multiply-adds" in result.stderr


def test_what_is_not_known_is_refused():
    for argument in ("--size=huge", "--precision=f16", "--threads=0", "--rounds=0", "--seconds=-1", "--speed=1"):
        result = bench(argument)
        assert result.returncode == 2 and argument.split("=")[0].lstrip("-") in result.stderr, result.stderr
