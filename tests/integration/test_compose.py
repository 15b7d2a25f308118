"""The files for containers, without a container: Compose, Prometheus and Grafana take them, and they name what there is.
tests/all/compose builds the images and runs them."""

import json
import re
import subprocess

import yaml

from processes import BINARIES, ROOT, SLOW

DOCKER = ROOT / "deploy" / "docker"
COMPOSE = ROOT / "compose.yaml"


def checked(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * SLOW, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_compose_takes_the_file():
    checked("docker-compose", "-f", COMPOSE, "config", "-q", cwd=ROOT)


def test_with_tls_all_have_a_certificate():
    options = ("docker-compose", "-f", COMPOSE, "--env-file", DOCKER / "tls.env", "config")
    said = checked(*options, cwd=ROOT)
    certificate = re.search(r"--tls_cert=(\S+)/hindcast.pem", said)[1]
    assert said.count(f"--tls_cert={certificate}/hindcast.pem") == said.count("--config=/etc/hindcast/experiment.yaml") == 6
    assert said.count(f"--admin_tokens_file={certificate}/readers") == 6 and "--allow_insecure" not in said
    assert f'["secrets", "{certificate}", "hindcast,replay,learner-0' in COMPOSE.read_text()
    for name in ("replay", "learner-0"):
        asked = yaml.safe_load(said)["services"][name]["healthcheck"]["test"]
        assert asked[1:] == ["hindcast", "status", "--admin=https://127.0.0.1:9464", f"--experiment.tls_ca={certificate}/ca.pem"]
    assert "--config.file=/etc/prometheus/prometheus_tls.yml" in said


def test_secrets_are_made_once(tmp_path):
    def make():
        checked(DOCKER / "secrets", tmp_path, "hindcast,replay,127.0.0.1",
                env={"PATH": f"{BINARIES['hindcast'].parent}:/usr/bin:/bin"})
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    made = make()
    assert {"ca.pem", "hindcast.pem", "hindcast.key", "reader", "readers"} <= made.keys()
    token = made["reader"].decode().strip()
    assert re.fullmatch(r"[0-9a-f]{48}", token) and made["readers"].decode() == f"{token} read prometheus\n"
    assert (tmp_path / "reader").stat().st_mode & 0o777 == (tmp_path / "readers").stat().st_mode & 0o777 == 0o640
    assert make() == made
    # A program takes them, beyond loopback without more.
    files = {"admin_tokens_file": "readers", "tls_cert": "hindcast.pem", "tls_key": "hindcast.key"}
    checked(BINARIES["replay_server"], f"--run_dir={tmp_path}/run", "--check", "--admin=0.0.0.0:0",
            *(f"--{option}={tmp_path}/{name}" for option, name in files.items()))


def services():
    return yaml.safe_load(COMPOSE.read_text())["services"]


def test_containers_may_do_little():
    for name, service in services().items():
        if service["image"].startswith("hindcast:"):
            assert service["user"] == "10001:10001" and service["read_only"] is True and service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"]
        assert "mem_limit" in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if not service["image"].startswith("hindcast:"):
            assert re.fullmatch(r"docker\.io/[a-z/]+:v?[\d.]+", service["image"]), "a pinned version"


def test_every_command_is_one(tmp_path):
    """The programs read their flags and the experiment file as they are in the file."""
    seen = set()
    for service in services().values():
        if not service["image"].startswith("hindcast:"):
            continue
        if not isinstance(service["command"], str):
            continue  # certificates: tests/all/compose
        words = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", service["command"]).split()
        if words[0] == "slot":
            words = [word for word in words if word != "--once"]
            words = [*words[3:], "--index=1", f"--count={max(2, int(words[2]))}"]
        role = words[0].removeprefix("hindcast-").replace("-", "_")
        flags = [word.replace("/etc/hindcast/experiment.yaml", str(ROOT / "experiments" / "cheetah-run.yaml")).replace(
            "/data", str(ROOT / "data" / "cheetah-run")).replace("/var/lib/hindcast", str(tmp_path)) for word in words[1:]]
        checked(BINARIES[role], *flags, "--check=true")
        seen.add(role)
    assert seen == {"replay_server", "restorer", "learner", "evaluator", "collector"}


def test_prometheus_takes_its_files(tmp_path):
    promtool = ROOT / "third_party" / "promtool" / "promtool"
    assert "rules found" in checked(promtool, "check", "config", DOCKER / "prometheus" / "prometheus.yml")
    # The other one names files of a volume.
    plain, tls = ((DOCKER / "prometheus" / name).read_text() for name in ("prometheus.yml", "prometheus_tls.yml"))
    for name in ("ca.pem", "reader", "rules.yml"):
        (tmp_path / name).write_bytes((DOCKER / "prometheus" / "rules.yml").read_bytes() if name == "rules.yml" else b"")
    (tmp_path / "prometheus.yml").write_text(tls.replace("/run/tls", str(tmp_path)))
    assert "rules found" in checked(promtool, "check", "config", tmp_path / "prometheus.yml")
    jobs = [yaml.safe_load(text)["scrape_configs"][0] for text in (plain, tls)]
    assert jobs[0]["dns_sd_configs"] == jobs[1]["dns_sd_configs"]


def test_rules_and_dashboard_name_metrics_that_exist():
    documented = set(re.findall(r"hindcast_\w+", (ROOT / "docs" / "metrics.md").read_text()))
    board = json.loads((DOCKER / "grafana" / "dashboards" / "hindcast.json").read_text())
    texts = [(DOCKER / "prometheus" / "rules.yml").read_text(), *(target["expr"] for panel in board["panels"]
                                                                    for target in panel["targets"])]
    named = set(re.findall(r"hindcast_\w+", "\n".join(texts)))
    assert named and named <= documented, named - documented
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]["uid"]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source}


def test_slots_give_each_container_its_number(tmp_path):
    slot = DOCKER / "slot"
    command = [slot, tmp_path, "2", "sh", "-c", 'echo "$@"; exec sleep 60', "x"]
    keep = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert sorted(process.stdout.readline().strip() for process in keep) == ["--index=0 --count=2", "--index=1 --count=2"]
        more = subprocess.run([slot, tmp_path, "2", "true"], capture_output=True, text=True, timeout=20, check=False)
        assert more.returncode == 2 and "all 2 numbers" in more.stderr
    finally:
        for process in keep:
            process.kill()
            process.wait()
            process.stdout.close()
    # A number is free again when its container has ended.
    assert "--index=0" in checked(slot, tmp_path, "2", "echo")


def test_work_that_is_done_is_not_done_again(tmp_path):
    slot = [DOCKER / "slot", "--once", tmp_path, "2"]
    assert "--index=0" in checked(*slot, "echo")
    # One that fails leaves its number to the next.
    failed = subprocess.run([*slot, "sh", "-c", "exit 3"], capture_output=True, text=True, timeout=20, check=False)
    assert failed.returncode == 3
    assert "--index=1" in checked(*slot, "echo")
    done = subprocess.run([*slot, "echo", "never"], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "" and "all 2 are done" in done.stderr


def test_a_signal_reaches_the_command(tmp_path):
    process = subprocess.Popen([DOCKER / "slot", "--once", tmp_path, "1", "sh", "-c",
                                'trap "echo ended; exit 0" TERM; echo ready; while :; do sleep 0.05; done', "x"],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.stdout.readline() == "ended\n" and process.wait(20) == 0
    process.stdout.close()
    # It was not done: the next container goes on with its work.
    assert "--index=0" in checked(DOCKER / "slot", "--once", tmp_path, "1", "echo")
