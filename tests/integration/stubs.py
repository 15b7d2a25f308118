"""Generates the Python messages and stubs of the .proto files on demand."""

import importlib
import pathlib
import sys
import types

from grpc_tools import protoc

from processes import ROOT

PROTO_FILES = ("proto/replay.proto", "proto/parameters.proto", "proto/exchange.proto", "proto/robot.proto",
               "common/rpc/health.proto")


def make(folder):
    """Generates replay, replay_grpc, parameters, .. into `folder`, which must not be removed, and returns them."""
    for file in map(pathlib.Path, PROTO_FILES):
        command = ["protoc", f"--proto_path={ROOT / file.parent}", f"--python_out={folder}",
                   f"--grpc_python_out={folder}", file.name]
        assert protoc.main(command) == 0, f"protoc rejects {file}"
    sys.path.insert(0, str(folder))
    names = [pathlib.Path(file).stem for file in PROTO_FILES]
    modules = {name: importlib.import_module(f"{name}_pb2") for name in names}
    modules |= {f"{name}_grpc": importlib.import_module(f"{name}_pb2_grpc") for name in names}
    return types.SimpleNamespace(**modules)
