"""Fixtures of the integration tests: real processes on loopback, and Python clients generated from the .proto files.

    third_party/venv/bin/python -m pytest tests/integration          tests the binaries of build/
    HINDCAST_BUILD=other/build ... -k replay                         tests those of another build
"""

import pytest

import certificates as authority
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


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with ca.pem, and server and client with .pem and .key, for localhost and 127.0.0.1."""
    both = "DNS:localhost,IP:127.0.0.1"
    return authority.make(tmp_path_factory.mktemp("tls"), {"server": both, "client": both})
