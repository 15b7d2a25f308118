"""Makes a small store as the server in build/ writes it: the golden files of this folder.

    third_party/venv/bin/python tests/golden/store/make.py format-N.mdb.gz

What an older version has written is kept and never made again. Two tables: "default", not sealed, with the episodes of
numbered_rows(n, 6) for n = 0 .. 3, of which the second has priority 5; and "sealed", with the first three of them.
"""

import gzip
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))

import stubs  # noqa: E402
from processes import Workspace  # noqa: E402
from replay_client import Client, cheetah_signature, numbered_rows  # noqa: E402

EPISODES = [(n + 1, n, numbered_rows(n, 6)) for n in range(4)]


def fill(address, wire):
    client = Client(wire, address, cheetah_signature(wire))
    client.insert("writer", EPISODES)
    sampler = client.sampler(credit=1, batch_snippets=64, snippet_transitions=1, seed=1, origins=True)
    ids = sorted(set(sampler.next().episode_id))
    sampler.close()
    client.stub.UpdatePriorities(wire.replay.UpdatePrioritiesRequest(episode_id=[ids[1]], priority=[5]))
    sealed = Client(wire, address, cheetah_signature(wire), table="sealed")
    sealed.insert("writer", EPISODES[:3])
    sealed.seal("writer")


def main(path):
    workspace = Workspace()
    workspace.configure(replay_server={"map_bytes": 16 << 20})
    server = workspace.serve("replay_server")
    fill(f"unix:{workspace.run_dir}/replay.sock", stubs.make(workspace.folder))
    server.stop()
    data = (workspace.run_dir / "replay" / "data.mdb").read_bytes()
    pathlib.Path(path).write_bytes(gzip.compress(data, 9, mtime=0))
    workspace.close()


main(sys.argv[1])
