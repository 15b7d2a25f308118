"""`hindcast certs`: what OpenSSL thinks of its certificates, and servers that use them, also while they are renewed."""

import socket
import subprocess

from processes import BINARIES, SLOW, wait_until


def certs(*arguments, status=0):
    done = subprocess.run([BINARIES["hindcast"], "certs", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True).stdout


def test_openssl_takes_them(tmp_path):
    folder = tmp_path / "tls"
    said = certs(f"--to={folder}", "--days=7", "replay,localhost,127.0.0.1,::1", "learner.example")
    assert f"{folder}/replay.pem  DNS:replay,DNS:localhost,IP:127.0.0.1,IP:::1\n" in said
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-x509_strict", "-CAfile", folder / "ca.pem", "-purpose", purpose, folder / "replay.pem")
    text = openssl("x509", "-noout", "-text", "-in", folder / "replay.pem")
    assert "DNS:replay, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text
    for name in ("ca", "replay"):
        assert (folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
    subprocess.run(["openssl", "x509", "-checkend", str(6 * 86400), "-in", folder / "replay.pem"], check=True,
                   capture_output=True)
    # The authority stays, the rest is new.
    before = {name: (folder / name).read_bytes() for name in ("ca.pem", "ca.key", "replay.pem", "replay.key")}
    certs(f"--to={folder}", "replay,localhost")
    same = [name for name, content in before.items() if (folder / name).read_bytes() == content]
    assert same == ["ca.pem", "ca.key"]
    openssl("verify", "-CAfile", folder / "ca.pem", folder / "replay.pem")


def test_what_makes_no_sense_is_refused(tmp_path):
    for arguments in (["a"], ["--to=x"], [f"--to={tmp_path}", "--days=0", "a"], [f"--to={tmp_path}", "a b"],
                      [f"--to={tmp_path}", "../a"], [f"--to={tmp_path}", "a,,b"], [f"--to={tmp_path}", "ca"],
                      [f"--to={tmp_path}", "--bogus", "a"]):
        assert "hindcast certs" in certs(*arguments, status=2)
    certs(f"--to={tmp_path}", "a")
    (tmp_path / "ca.key").write_bytes((tmp_path / "a.key").read_bytes())
    assert "expected a certificate and its key" in certs(f"--to={tmp_path}", "b", status=2)
    (tmp_path / "ca.key").unlink()
    assert "ca.key" in certs(f"--to={tmp_path}", "b", status=1)


def test_a_server_and_its_clients_use_them(workspace):
    folder = workspace.folder / "tls"
    certs(f"--to={folder}", "server,127.0.0.1", "client")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def tls(who):
        return {"tls_ca": f"{folder}/ca.pem", "tls_cert": f"{folder}/{who}.pem", "tls_key": f"{folder}/{who}.key"}

    def info(who):
        flags = [f"--experiment.{name}={path}" for name, path in tls(who).items()] if who else []
        return subprocess.run([BINARIES["hindcast"], "replay", "info", address, *flags], capture_output=True, text=True,
                              timeout=90 * SLOW, check=False)

    workspace.configure(experiment={"replay": [address], **tls("server")})
    server = workspace.serve("replay_server")
    assert info("client").returncode == 0 and info(None).returncode == 1
    certs(f"--to={folder}", "server,127.0.0.1", "client")  # renewed, while the server runs
    wait_until(lambda: info("client").returncode == 0, "the new certificates", 30)
    assert server.ended() is None
