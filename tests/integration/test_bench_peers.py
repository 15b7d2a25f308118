"""bench/peers: comparisons run to their end in a short form, and print what their head promises.

Reverb and d3rlpy are gigabytes with their libraries: they take part where bench/peers/run has fetched them before."""

import json
import os
import subprocess
import sys

import pytest

import policies
from processes import BUILD, ROOT, SLOW

PYTHON = ROOT / "third_party/venv/bin/python"
REVERB = ROOT / "third_party/peers-venv-reverb/stamp"
D3RLPY = ROOT / "third_party/peers-venv-d3rlpy/stamp"


def run(*arguments):
    return subprocess.run([sys.executable, ROOT / "bench/peers/run", *arguments, f"--build={BUILD}"], text=True,
                          capture_output=True, timeout=300 * SLOW, check=False)


def report(tmp_path, *arguments):
    """What it wrote to --json; its lines say the same."""
    done = run(*arguments, f"--json={tmp_path / 'report.json'}")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "report.json").read_text())
    first, *lines = done.stdout.splitlines()
    assert first.startswith("machine processor=") and written["machine"]["processor"] in first
    assert len(lines) == len(written["results"])
    for line, result in zip(lines, written["results"], strict=True):
        assert [field.partition("=")[0] for field in line.split()] == list(result)
    return written["results"]


def test_environment(tmp_path):
    tasks = ("cheetah-run", "walker-walk")
    results = report(tmp_path, "environment", f"--tasks={','.join(tasks)}", "--rounds=1", "--seconds=0.1")
    assert [result["task"] for result in results] == list(tasks)
    for result in results:
        ours, rollout = result["ours_steps_per_s"], result["rollout_steps_per_s"]
        assert result["over_rollout"] == pytest.approx(ours / rollout)
        # Both count control steps of the same model: a factor of four is a count of something else.
        assert 0.25 < result["over_rollout"] < 4
        assert result["over_dm_control"] > 1 or SLOW > 1


def test_policy(tmp_path):
    policies.make_package(tmp_path / "policy.safetensors", "gaussian")
    results = report(tmp_path, "policy", str(tmp_path / "policy.safetensors"), "--rates=500,0", "--rounds=1",
                     "--seconds=0.2")
    assert [(result["rate_hz"], result["way"]) for result in results] == [
        (rate, way) for rate in (500, 0) for way in ("ours", "onnxruntime")]
    for result in results:
        assert 0 < result["p50_us"] <= result["p99_us"] <= result["p999_us"]
        assert result["way"] != "ours" or result["ratio"] == 1


def test_algorithms(tmp_path):
    peers = ("d3rlpy", "ours") if D3RLPY.exists() else ("ours",)
    flags = ("algorithms", "--algorithms=iql", f"--peers={','.join(peers)}", "--seeds=1", "--steps=20", "--episodes=2",
             f"--run-dir={tmp_path}")
    results = report(tmp_path, *flags)
    assert [(result["algorithm"], result["peer"]) for result in results] == [("iql", peer) for peer in peers]
    assert all(0 <= result["low"] == result["return"] == result["high"] < 20 for result in results)
    # What has ended is not run again.
    assert report(tmp_path, *flags) == results


@pytest.mark.skipif(not REVERB.exists(), reason="bench/peers/run replay has not fetched Reverb")
def test_replay(tmp_path):
    results = report(tmp_path, "replay", "--rounds=1", "--seconds=0.2", "--fill=1000")
    ways = {(result["part"], result.get("way")): result for result in results}
    for part, figure in (("insert", "steps_per_s"), ("sample", "snippets_per_s"), ("latency", "p50_us")):
        ours = ways[part, "ours"][figure]
        theirs = [result for (of, way), result in ways.items() if of == part and not way.startswith("ours")]
        assert ours > 0 and len(theirs) >= 4
        for result in theirs:
            ratio = result[figure] / ours if part == "latency" else ours / result[figure]
            assert result["ratio"] == pytest.approx(ratio)
    summary = ways["summary", None]
    assert summary["insert_over_arrays"] == min(
        result["ratio"] for (part, way), result in ways.items() if part == "insert" and way.startswith("arrays"))
    assert summary["sample_over_best"] == min(
        result["ratio"] for (part, way), result in ways.items() if part == "sample" and "ratio" in result)


def replay_lines(*arguments):
    done = subprocess.run([BUILD / "bench/bench_replay", "--json", *arguments], text=True, capture_output=True,
                          timeout=120 * SLOW, check=False)
    assert done.returncode == 0, done.stderr
    return {name: value["value"] for name, value in json.loads(done.stdout).items()}


def test_ratios_of_bench_replay():
    found = replay_lines("--rounds=1", "--seconds=0.1")
    snippet, step = 11 * 32 * 4, 32 * 4
    assert found["ratio_sample_to_rpc_stream"] == pytest.approx(
        found["sample_snippets"] * snippet / found["limit_rpc_stream"] / 1e6, rel=1e-4)
    assert found["ratio_insert_to_disk_sync"] == pytest.approx(
        found["insert_steps"] * step / found["limit_disk_sync"] / 1e6, rel=1e-4)
    assert found["ratio_insert_to_rpc_upload"] == pytest.approx(
        found["insert_steps"] * step / found["limit_rpc_upload"] / 1e6, rel=1e-4)
    assert found["sample_one_p50"] <= found["sample_one_p99"]
    assert found["sample_cpu"] > 0 and found["insert_cpu"] > 0 and found["limit_store_write"] > 0


def test_what_is_not_known_is_refused():
    for arguments, said in ((("weather",), "weather"), (("algorithms", "--algorithms=sarsa"), "sarsa"),
                            (("environment", "--rounds=0"), "--rounds"), (("replay", "--seconds=0"), "--seconds")):
        done = run(*arguments)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    # A build without the benchmark is named.
    done = subprocess.run([sys.executable, ROOT / "bench/peers/run", "environment", "--build=/nonexistent"],
                          text=True, capture_output=True, env=os.environ, check=False)
    assert done.returncode == 1 and "/nonexistent/bench/bench_environment is not there" in done.stderr
