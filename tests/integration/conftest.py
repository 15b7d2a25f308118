"""Fixtures of the integration tests: real processes on loopback, and Python clients generated from the .proto files.

    third_party/venv/bin/python -m pytest tests/integration          tests the binaries of build/
    HINDCAST_BUILD=other/build ... -k replay                         tests those of another build
"""

import subprocess

import pytest

import stubs
from processes import BUILD, Workspace


def pytest_configure(config):
    config.addinivalue_line("markers", "long: left out by tests/run; tests/all/integration runs these")


def pytest_report_header():
    return f"binaries of {BUILD}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the last output of the processes to the report of a failed test."""
    report = yield
    workspace = item.funcargs.get("workspace")
    if report.failed and workspace is not None:
        for name, text in workspace.outputs():
            report.sections.append((name, text))
    return report


@pytest.fixture
def workspace():
    made = Workspace()
    yield made
    made.close()


@pytest.fixture(scope="session")
def wire(tmp_path_factory):
    """Messages and stubs of the .proto files: wire.replay, wire.replay_grpc, wire.parameters, .."""
    return stubs.make(tmp_path_factory.mktemp("stubs"))


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with ca.pem, and server and client with .pem and .key, for localhost and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *new, "-subj", "/CN=authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(folder, "req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.pem")
    return folder
