"""Fixtures of the integration tests: real processes on loopback, and Python clients made from our .proto files.

    third_party/venv/bin/python -m pytest tests/integration          binaries of build/
    HINDCAST_BUILD=other/build ... -k replay                         or of another build
"""

import importlib
import pathlib
import sys
import types

import pytest
from grpc_tools import protoc

from processes import BUILD, ROOT, Workspace

PROTO_FILES = ("proto/replay.proto", "proto/parameters.proto", "common/rpc/health.proto")


def pytest_report_header():
    return f"binaries of {BUILD}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows, for a test that failed, what its processes said last."""
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
    """Messages and stubs of our .proto files: wire.replay, wire.replay_grpc, wire.parameters, .."""
    folder = tmp_path_factory.mktemp("stubs")
    for file in map(pathlib.Path, PROTO_FILES):
        command = ["protoc", f"--proto_path={ROOT / file.parent}", f"--python_out={folder}",
                   f"--grpc_python_out={folder}", file.name]
        assert protoc.main(command) == 0, f"protoc refuses {file}"
    sys.path.insert(0, str(folder))
    names = [pathlib.Path(file).stem for file in PROTO_FILES]
    modules = {name: importlib.import_module(f"{name}_pb2") for name in names}
    modules |= {f"{name}_grpc": importlib.import_module(f"{name}_pb2_grpc") for name in names}
    return types.SimpleNamespace(**modules)
