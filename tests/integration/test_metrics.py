"""Monitoring of a run: the metrics of all five processes and the health checks of the servers."""

import re
import subprocess
import urllib.request

import grpc
import pytest

import logs
import prometheus
from processes import ROOT, wait_until

# A counter of each role's main work, which must increase during a run.
WORK = {"replay_server": "hindcast_replay_episodes_inserted_total", "restorer": "hindcast_restorer_episodes_total",
        "learner": "hindcast_learner_steps_total", "evaluator": "hindcast_evaluator_evaluations_total",
        "collector": "hindcast_collector_episodes_total"}
# A metric that appears with the first report or evaluation, after all others.
LAST = {"learner": "hindcast_learner_critic_loss", "evaluator": "hindcast_evaluator_return"}
OF_ALL = {"hindcast_build_info", "hindcast_process_cpu_seconds_total", "hindcast_process_resident_bytes",
          "hindcast_process_start_time_seconds", "hindcast_process_open_fds"}

SOUND = """# HELP a_total Count.
# TYPE a_total counter
a_total{x="1",y="q\\"{}"} 3
a_total 4e-3
# HELP h_seconds Times.
# TYPE h_seconds histogram
h_seconds_bucket{le="0.1"} 1
h_seconds_bucket{le="+Inf"} 3
h_seconds_sum 4.5
h_seconds_count 3
"""


@pytest.fixture
def running(workspace):
    """All roles at work: the restorer inserts logs in a loop, a collector adds episodes, and the run does not end."""
    logs.write_dataset(workspace.folder / "logs", [[logs.episode(number, 50) for number in range(8)]])
    workspace.configure(
        experiment={"environment": "cheetah-run", "seed": 2},
        replay_server={"map_bytes": 64 << 20, "durability": "none"},
        restorer={"folder": str(workspace.folder / "logs"), "mode": "loop"},
        learner={"algorithm": "mpo", "require_sealed": False, "batch_snippets": 8, "widths": [16, 16], "samples": 4,
                 "publish_every": 20, "threads": 1},
        collector={"insert": True},
        evaluator={"window_episodes": 1, "threads": 1, "min_interval_s": 1})
    for role in WORK:
        workspace.start(role)
    return workspace


def promtool(text):
    """(exit status, output) of Prometheus' own checker."""
    said = subprocess.run([ROOT / "third_party" / "promtool" / "promtool", "check", "metrics"], input=text,
                          capture_output=True, text=True, timeout=30)
    return said.returncode, said.stdout + said.stderr


def documented():
    """{role: {name: kind}} from the tables in docs/metrics.md. The section gives the role."""
    roles, role = {}, None
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        if match := re.match(r"## (\w+)", line):
            role = roles.setdefault(match[1], {})
        elif match := re.match(r"\| `(hindcast_\w+)` \| (\w+) \|", line):
            assert match[1] not in role, line
            role[match[1]] = match[2]
    return roles


def shown(run_dir, role):
    """{name: kind} of a process' metrics; empty if it does not answer."""
    try:
        address = (run_dir / f"{role}.admin").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return {name: family.kind for name, family in prometheus.parse(answer.read().decode()).items()}
    except OSError:
        return {}


def total(families, name):
    return sum(value for _, _, value in families[name].samples) if name in families else 0


def test_every_process_has_metrics_and_the_servers_are_healthy(running, wire):
    for role, counter in WORK.items():
        def working():
            text = running.page(role, "/metrics")
            families = prometheus.parse(text) if text else {}
            return total(families, counter) > 0 and (text, families)
        text, families = wait_until(working, f"{role} to count {counter}")
        assert OF_ALL <= families.keys(), role
        address = (running.run_dir / f"{role}.admin").read_text().strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert promtool(text) == (0, ""), role

    replay, parameters = f"unix:{running.run_dir}/replay.sock", f"unix:{running.run_dir}/parameters.sock"
    for address, service in ((replay, "hindcast.Replay"), (parameters, "hindcast.Parameters")):
        with grpc.insecure_channel(address) as channel:
            health = wire.health_grpc.HealthStub(channel)
            for name in ("", service):
                answer = health.Check(wire.health.HealthCheckRequest(service=name), timeout=20, wait_for_ready=True)
                assert answer.status == wire.health.HealthCheckResponse.SERVING, (address, name)


def test_promtool_rejects_invalid_metrics():
    assert promtool(SOUND) == (0, "")
    status, words = promtool(SOUND.replace("# HELP a_total Count.\n", ""))
    assert status != 0 and "no help text" in words


def test_the_documented_metrics_are_those_of_the_processes(running):
    """docs/metrics.md lists every metric of every process with its kind, and no others."""
    roles = documented()
    of_all = roles.pop("every")
    assert roles.keys() == WORK.keys()
    seen = {}
    for role, counter in WORK.items():
        wait_until(lambda: running.metrics(role).get(counter, 0) > 0, f"{role} to count {counter}")
        last = LAST.get(role, counter)
        seen[role] = wait_until(lambda: (found := shown(running.run_dir, role)) and last in found and found,
                                f"{role} to show {last}")
    # The metrics of a learner depend on the algorithm. These algorithms together have all of them.
    replay = f"unix:{running.run_dir}/replay.sock"
    for algorithm in ("abm+mpo", "svg", "bm+svg", "bcq", "bear", "iql", "td3+bc"):
        folder = running.folder / algorithm
        more = ["--priorities=td_error"] if algorithm == "iql" else []
        learner = running.start("learner", f"--run_dir={folder}", f"--replay={replay}", f"--algorithm={algorithm}",
                                "--report_every=2", *more, label=algorithm)
        found = wait_until(lambda: (found := shown(folder, "learner")) and LAST["learner"] in found and found,
                           f"a report of {algorithm}", alive=learner)
        seen["learner"] |= found
        learner.stop()
    # Not every environment defines what a success is.
    folder = running.folder / "sawyer"
    collector = running.start("collector", f"--run_dir={folder}", "--environment=sawyer-stack", "--act=script", label="sawyer")
    of_successes = "hindcast_collector_successes_total"
    seen["collector"] |= wait_until(lambda: (found := shown(folder, "collector")) and of_successes in found and found,
                                    f"a collector to show {of_successes}", alive=collector)
    collector.stop()
    for role, found in seen.items():
        assert found == of_all | roles[role], role


def test_the_metrics_parser_reads_valid_text():
    families = prometheus.parse(SOUND)
    assert families["a_total"].samples[0] == ("a_total", {"x": "1", "y": 'q\\"{}'}, 3)
    assert families["h_seconds"].kind == "histogram"


@pytest.mark.parametrize("good, bad", [
    ("3\n", "3"),                                           # no newline at the end
    ("# HELP a_total Count.\n", ""),
    ("# TYPE a_total counter\n", ""),
    ("a_total counter", "a_total gauge"),                   # _total, but no counter
    ("a_total", "a"),                                       # a counter without _total
    ("a_total 4e-3", "a_total  4e-3"),
    ("a_total 4e-3", 'a_total{x="1",y="q\\"{}"} 5'),        # twice
    ("a_total 4e-3", "b_total 4"),                          # outside of its family
    ("a_total 4e-3", "a_total -4"),
    ("a_total 4e-3", "a_total 4x"),
    ('x="1"', "x=1"),
    ('x="1",', 'x="1",,'),
    ('le="+Inf"} 3', 'le="+Inf"} 0'),                       # not cumulative
    ('le="0.1"', 'le="+Inf"'),
    ("h_seconds_count 3", "h_seconds_count 4"),
    ("h_seconds_sum 4.5\n", ""),
    ("Times.\n# TYPE h_seconds histogram", "Times.\n# TYPE h_seconds summary"),
])
def test_the_metrics_parser_rejects_invalid_text(good, bad):
    text = SOUND.replace(good, bad) if good != "3\n" else SOUND[:-1]
    assert text != SOUND
    with pytest.raises(prometheus.FormatError):
        prometheus.parse(text)
