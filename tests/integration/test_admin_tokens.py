"""Admin pages with tokens and TLS: who may read them, and all that reads them."""

import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from processes import BINARIES, SLOW, wait_until
from test_certs import certs
from test_up import experiment  # noqa: F401 (a fixture)
from tokens import write_tokens

READER, OPERATOR, WRITER, STRANGER = "reader-0123456789abc", "operator-0123456789", "writer-0123456789abc", "stranger-012345678"
LINES = f"{READER} read prometheus\n{OPERATOR} admin\n{WRITER} insert,sample\n"


def bearer(token):
    return {"Authorization": f"Bearer {token}"} if token else {}


def ask(url, headers, context=None):
    """(code, headers, text)"""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10, context=context) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def page_url(workspace, role):
    """http://127.0.0.1:PORT or https://.. of a process, wherever it listens."""
    address = (workspace.run_dir / f"{role}.admin").read_text().strip()
    scheme, _, place = address.rpartition("://")
    return f"{scheme or 'http'}://{place.replace('0.0.0.0', '127.0.0.1')}"


def status(*arguments, code=0):
    done = subprocess.run([BINARIES["hindcast"], "status", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def secrets(workspace):
    """Of the page, and of those who read it: flags of the section experiment."""
    tokens, mine = workspace.folder / "tokens", workspace.folder / "mine"
    write_tokens(tokens, LINES)
    write_tokens(mine, READER + "\n")
    return {"admin_tokens_file": str(tokens), "token_file": str(mine)}


def wait_for_page(workspace, role, process):
    wait_until(lambda: (workspace.run_dir / f"{role}.admin").exists(), "the address", alive=process)
    return page_url(workspace, role)


# ---- tokens ----

@pytest.mark.parametrize("role", ["replay_server", "learner"])
def test_a_page_is_read_with_a_token_of_the_right_role(workspace, secrets, role):
    workspace.configure(experiment=secrets, replay_server={"map_bytes": 64 << 20})
    process = workspace.start(role)
    url = wait_for_page(workspace, role, process)
    for path in ("/status", "/metrics", "/metrics.json", "/no-such-page"):
        code, headers, text = ask(url + path, {})
        assert code == 401 and "a token is needed" in text
        assert [value.split()[0] for value in headers.get_all("WWW-Authenticate")] == ["Basic", "Bearer"]
        assert ask(url + path, bearer(STRANGER))[0] == 401
        code, headers, text = ask(url + path, bearer(WRITER))
        assert code == 403 and "expected read or admin" in text and headers["WWW-Authenticate"] is None
        for token in (READER, OPERATOR):
            assert ask(url + path, bearer(token))[0] == (404 if "no-such" in path else 200)
    # As a browser, and curl --user, send it.
    for user in ("", "anybody"):
        word = base64.b64encode(f"{user}:{READER}".encode()).decode()
        assert ask(f"{url}/status", {"Authorization": f"Basic {word}"})[0] == 200
    # Probes have no token; a token in the URL is none; and pages are read, whoever asks.
    assert ask(f"{url}/healthz", {})[::2] == (200, "ok\n")
    assert ask(f"{url}/status?token={READER}", {})[0] == 401
    code, _, text = ask(f"{url}/metrics", bearer(READER))
    assert 'hindcast_admin_refused_total{reason="token"} 9\n' in text
    assert 'hindcast_admin_refused_total{reason="role"} 4\n' in text
    request = urllib.request.Request(f"{url}/status", headers=bearer(OPERATOR), method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 405
    process.stop()
    for token in (READER, OPERATOR, WRITER, STRANGER):
        assert token not in process.output.read_text()


def test_tokens_come_and_go_while_the_process_runs(workspace, secrets):
    workspace.configure(experiment=secrets, replay_server={"map_bytes": 64 << 20})
    server = workspace.start("replay_server")
    url = wait_for_page(workspace, "replay_server", server)
    tokens = workspace.folder / "tokens"

    def code(token):
        return ask(f"{url}/metrics", bearer(token))[0]
    assert code(READER) == 200 and code(STRANGER) == 401
    write_tokens(tokens, f"{STRANGER} read\n{OPERATOR} admin\n")
    assert code(READER) == 401 and code(STRANGER) == 200
    # What cannot be used changes nothing, and says so.
    for n, broken in enumerate([f"{READER} fly\n", "", "rights", None]):
        if broken is None:
            tokens.unlink()
        else:
            write_tokens(tokens, f"{READER} read\n" if broken == "rights" else broken)
            tokens.chmod(0o644 if broken == "rights" else 0o600)
        assert code(READER) == 401 and code(STRANGER) == 200
        assert f"\nhindcast_admin_tokens_unusable_total {n + 1}\n" in ask(f"{url}/metrics", bearer(OPERATOR))[2]
    assert "cannot be used" in server.tail() and "role fly" in server.tail() and "chmod" in server.tail()
    server.stop()


def test_a_file_that_others_may_read_is_refused(workspace, secrets):
    workspace.configure(experiment=secrets, replay_server={"map_bytes": 64 << 20})
    (workspace.folder / "tokens").chmod(0o644)
    for flags in ((), ("--check",)):
        server = workspace.start("replay_server", *flags)
        assert server.wait(20) == 2
        assert f"{workspace.folder}/tokens" in server.tail() and "chmod" in server.tail()
    assert not (workspace.run_dir / "replay_server.admin").exists()


# ---- beyond loopback ----

@pytest.mark.parametrize("role", ["replay_server", "learner", "evaluator", "collector", "restorer", "offline_evaluator",
                                  "robot_sim"])
def test_a_page_beyond_loopback_needs_tokens_and_tls(workspace, secrets, certificates, role):
    """--check says so as the start does."""
    files = {"tls_cert": f"{certificates}/server.pem", "tls_key": f"{certificates}/server.key"}
    tokens = {"admin_tokens_file": secrets["admin_tokens_file"]}

    def refused(words, **more):
        workspace.configure(experiment={"environment": "cheetah-run", "admin": "0.0.0.0:0", **more})
        for flags in (("--check",), ()):
            process = workspace.start(role, *flags)
            assert process.wait(30) == 2, process.tail()
            assert f"admin address 0.0.0.0:0: is not loopback, and needs {words} (or allow_insecure" in process.tail()
            process.output.unlink()
    refused("admin_tokens_file and tls_cert with tls_key")
    refused("tls_cert with tls_key", **tokens)
    refused("admin_tokens_file", **files)
    # With both it needs nothing else; other faults of these bare configurations are not of interest here.
    for more in ({**tokens, **files}, {"allow_insecure": True}, {"admin": "127.0.0.1:0"}):
        workspace.configure(experiment={"environment": "cheetah-run", "admin": "0.0.0.0:0", **more})
        process = workspace.start(role, "--check")
        process.wait(30)
        assert "loopback" not in process.tail()


@pytest.fixture
def secured(workspace, secrets, certificates):
    """A replay server whose page is beyond loopback; (process, url, a context that trusts its authority)."""
    folder = workspace.folder / "tls"
    certs(f"--to={folder}", "server,localhost")  # not made out for an address
    secrets |= {"tls_cert": f"{folder}/server.pem", "tls_key": f"{folder}/server.key", "tls_ca": f"{folder}/ca.pem"}
    workspace.configure(experiment={**secrets, "admin": "0.0.0.0:0"}, replay_server={"map_bytes": 64 << 20})
    server = workspace.start("replay_server")
    url = wait_for_page(workspace, "replay_server", server)
    assert url.startswith("https://")
    return server, url.replace("127.0.0.1", "localhost"), ssl.create_default_context(cafile=f"{folder}/ca.pem")


def test_a_page_beyond_loopback_has_tls(workspace, secrets, secured, certificates):
    server, url, context = secured
    assert ask(f"{url}/metrics", bearer(READER), context)[0] == 200
    assert ask(f"{url}/metrics", {}, context)[0] == 401
    with pytest.raises(OSError):
        ask(url.replace("https", "http") + "/metrics", bearer(READER))
    for version, taken in (("tls1_1", False), ("tls1_2", True), ("tls1_3", True)):
        done = subprocess.run(["openssl", "s_client", "-connect", url.removeprefix("https://"), f"-{version}", "-cipher",
                               "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        assert (done.returncode == 0) is taken, version

    # As docs/security.md says: the token is in no argument.
    command = ["curl", "--silent", "--config", "-", "--cacert", secrets["tls_ca"], f"{url}/status"]
    header = f'header = "Authorization: Bearer {READER}"\n'
    done = subprocess.run(command, input=header, capture_output=True, text=True, timeout=20,
                          check=True)
    assert json.loads(done.stdout)["role"] == "replay_server"

    # Those who read it: by the run's folder, or by its address.
    port = url.rpartition(":")[2]
    access = [f"--experiment.tls_ca={secrets['tls_ca']}", f"--experiment.token_file={secrets['token_file']}"]
    for where in (workspace.run_dir, f"--admin=https://127.0.0.1:{port}"):
        assert re.search("^replay_server +running ", status(where, *access)), status(where, *access)
        assert re.search("^[a-z].* denied +.*a token is needed", status(where, access[0]))
        assert "certificate issuer is unknown" in status(where, access[1])
        other = f"--experiment.tls_ca={certificates}/ca.pem"
        assert "certificate issuer is unknown" in status(where, other, access[1])
        assert "no-such-file" in status(where, access[0], "--experiment.token_file=no-such-file")
    assert f"is it https://127.0.0.1:{port}" in status(f"--admin=127.0.0.1:{port}", *access, code=1)
    assert "expected --experiment.NAME=VALUE" in status(workspace.run_dir, "--tls_ca=x", code=2)
    server.stop()


# Beside nothing else: a network of its own with one address that is not loopback.
IN_ITS_OWN_NETWORK = """
ip link set lo up && ip address add 10.9.8.7/32 dev lo || exit 9
"$1" --config="$2" &
server=$!
while [ ! -e "$3/replay_server.admin" ]; do kill -0 $server || exit 8; sleep 0.05; done
shift 3
"$@"
kill $server
"""


@pytest.mark.parametrize("names, said", [
    ("server,10.9.8.7", "replay_server +running "),
    ("server,10.9.8.8,localhost", "denied +TLS: .*name in the certificate does not match"),
])
def test_a_certificate_is_for_its_address(workspace, secrets, names, said):
    certs(f"--to={workspace.folder}/tls", names)
    files = {"tls_cert": f"{workspace.folder}/tls/server.pem", "tls_key": f"{workspace.folder}/tls/server.key"}
    workspace.configure(experiment={**secrets, **files, "admin": "10.9.8.7:9464"}, replay_server={"map_bytes": 64 << 20})
    shell = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", IN_ITS_OWN_NETWORK, "sh"]
    done = subprocess.run(
        [*shell, BINARIES["replay_server"], workspace.config, workspace.run_dir, BINARIES["hindcast"], "status",
         workspace.run_dir, f"--experiment.tls_ca={workspace.folder}/tls/ca.pem",
         f"--experiment.token_file={secrets['token_file']}"], capture_output=True, text=True, timeout=60 * SLOW, check=False)
    assert re.search(said, done.stdout), done.stdout + done.stderr


def test_a_certificate_is_renewed_while_the_page_is_served(workspace, secured):
    server, url, context = secured
    place = ("127.0.0.1", int(url.rpartition(":")[2]))
    folder = workspace.folder / "tls"
    before = ssl.get_server_certificate(place)
    (folder / "server.key").rename(folder / "kept.key")
    (folder / "server.key").write_text((folder / "ca.key").read_text())  # of another certificate
    (folder / "server.key").chmod(0o600)
    assert ssl.get_server_certificate(place) == before and "cannot be used" in server.tail()
    certs(f"--to={folder}", "server,localhost")
    assert ssl.get_server_certificate(place) not in (before, "")
    assert ssl.get_server_certificate(place).strip() == (folder / "server.pem").read_text().strip()
    assert ask(f"{url}/metrics", bearer(READER), context)[0] == 200
    # How long it holds is told, also of the next one.
    for days in (7, 3):
        certs(f"--to={folder}", f"--days={days}", "server,localhost")
        ssl.get_server_certificate(place)
        text = ask(f"{url}/metrics", bearer(READER), context)[2]
        left_s = float(re.search("\nhindcast_admin_certificate_expiry_timestamp_seconds (.*)", text)[1]) - time.time()
        assert abs(left_s - days * 86400) < 3600
    server.stop()


def test_clients_that_do_not_shake_hands_lose_their_connection(secured):
    server, url, context = secured
    place = ("127.0.0.1", int(url.rpartition(":")[2]))
    held = [socket.create_connection(place) for _ in range(64)]
    try:
        for n, one in enumerate(held):
            one.send([b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"][n % 3])

        def answered():
            try:
                return ask(f"{url}/healthz", {}, context)[0] == 200
            except OSError:
                return False
        wait_until(answered, "an answer", 40, alive=server)
    finally:
        for one in held:
            one.close()
    server.stop()


# ---- a whole run ----

def targets(workspace):
    path = workspace.run_dir / "metrics_targets.json"
    return json.loads(path.read_text()) if path.exists() else []


def test_a_run_shows_what_it_does(experiment, certificates):  # noqa: F811
    """`up`, the evaluator's dashboard and `hindcast dashboard` show the token, over TLS."""
    tokens, mine = experiment.folder / "tokens", experiment.folder / "mine"
    write_tokens(tokens, LINES)
    write_tokens(mine, READER + "\n")
    tls = {"tls_ca": f"{certificates}/ca.pem", "tls_cert": f"{certificates}/server.pem", "tls_key": f"{certificates}/server.key"}
    experiment.sections(experiment={"admin": "0.0.0.0:0", "admin_tokens_file": str(tokens), "token_file": str(mine), **tls},
                        learner={"steps": 1000000, "publish_every": 20, "report_every": 10})
    # Without a token that may read them, `up` would be blind.
    for word, token in ((f"{WRITER}\n", None), ("", "--experiment.token_file=")):
        write_tokens(mine, word or READER + "\n")
        blind = experiment.up(*([token] if token else []))
        assert blind.wait(30) == 2 and "role read" in blind.tail()
    write_tokens(mine, READER + "\n")
    up = experiment.up()
    wait_until(lambda: {"learner", "evaluator", "replay_server"} <= {one["labels"]["process"] for one in targets(experiment)},
               "the targets", alive=up)
    for one in targets(experiment):
        assert one["labels"]["__scheme__"] == "https" and "://" not in one["targets"][0]
    wait_until(lambda: "steps/s" in up.tail(), "the learner's progress", 90, alive=up)

    context = ssl.create_default_context(cafile=tls["tls_ca"])
    flags = [f"--experiment.{name}={value}" for name, value in tls.items()]
    dashboard = experiment.start_command("dashboard", BINARIES["hindcast"], "dashboard", experiment.folder, "--address=0.0.0.0:0",
                                         *flags, f"--experiment.token_file={mine}", f"--experiment.admin_tokens_file={tokens}")
    printed = wait_until(lambda: re.search(r"https://[\d.]+(:\d+)/", dashboard.tail()), "the dashboard", alive=dashboard)
    for url in (f"https://127.0.0.1{printed[1]}", page_url(experiment, "evaluator")):
        assert ask(f"{url}/runs.json", {}, context)[0] == ask(f"{url}/", {}, context)[0] == 401

        def states(url=url):
            runs = json.loads(ask(f"{url}/runs.json", bearer(READER), context)[2])["runs"]
            return {process["name"]: process["state"] for run in runs for process in run["processes"]}
        wait_until(lambda: states().get("learner") == states().get("replay_server") == "running", "the processes", 30, alive=up)
    # A token that is withdrawn is said to be, and the run goes on.
    write_tokens(tokens, f"{OPERATOR} admin\n")

    def alerts():
        answer = json.loads(ask(f"https://127.0.0.1{printed[1]}/runs.json", bearer(OPERATOR), context)[2])
        return [text for run in answer["runs"] for text in run["alerts"]]
    wait_until(lambda: any("learner does not tell its state" in text for text in alerts()), "the alert", 30, alive=up)
    write_tokens(mine, OPERATOR + "\n")
    wait_until(lambda: not any("does not tell its state" in text for text in alerts()), "its end", 30, alive=up)
    dashboard.stop()
    up.signal(signal.SIGINT)
    assert up.wait(60) == 130
