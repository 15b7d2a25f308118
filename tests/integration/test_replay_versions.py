"""Stores and clients of other versions: what works goes on working, the rest is refused in words."""

import gzip
import re
from concurrent import futures

import grpc
import numpy as np
import pytest

from processes import ROOT
from replay_client import Client, cheetah_signature, numbered_rows
from test_replay import code_of, make_server, server  # noqa: F401
from test_replay_operator import replay

GOLDEN = ROOT / "tests" / "golden" / "store"
TODAY = 2  # the format of the stores that the server writes


def put_store(workspace, name):
    """A golden store in the place of the server's."""
    folder = workspace.run_dir / "replay"
    folder.mkdir(parents=True)
    (folder / "data.mdb").write_bytes(gzip.decompress((GOLDEN / name).read_bytes()))
    workspace.configure(replay_server={"map_bytes": 16 << 20})
    return folder / "data.mdb"


def formats(path):
    """(place, format) of all records of the store as a whole in its file: the newest and what LMDB has left of others."""
    data = path.read_bytes()
    return [(m.start(), int.from_bytes(data[m.start() + 4:m.start() + 8], "little"))
            for m in re.finditer(b"HCRS", data)]


def set_format(path, number):
    """The rest of the record is another version's business: who does not know the number reads no further."""
    data = bytearray(path.read_bytes())
    for place, _ in formats(path):
        data[place + 4:place + 8] = number.to_bytes(4, "little")
    path.write_bytes(data)


def client_of(workspace, wire, table="default"):
    return Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire), table=table)


def check_contents(workspace, wire):
    client = client_of(workspace, wire)
    info = client.info()
    assert (info.episodes, info.transitions, info.sealed) == (4, 24, False)
    assert [(c.client, c.number, c.episodes) for c in info.clients] == [("", 0, 4)]
    # Every row, and draws by the priorities 1, 5, 1, 1.
    sampler = client.sampler(credit=1, batch_snippets=512, snippet_transitions=6, seed=1)
    answer = sampler.next()
    sampler.close()
    rows = np.frombuffer(answer.rows, "<f4").reshape(512, 7, 25)
    for n_valid, first, episode, probability in zip(answer.n_valid, answer.first_row, rows, answer.probability):
        number = int(episode[0, 0])
        assert np.array_equal(episode[:n_valid + 1], numbered_rows(number, 6)[first:first + n_valid + 1])
        assert abs(probability - (5 if number == 1 else 1) / 48) < 1e-12
    sealed = client_of(workspace, wire, "sealed").info()
    assert (sealed.episodes, sealed.sealed) == (3, True)
    assert [(w.writer, w.last_sequence, w.done) for w in sealed.writers] == [("writer", 3, True)]
    return client


def test_a_store_of_format_1_becomes_one_of_today(workspace, wire):
    data = put_store(workspace, "format-1.mdb.gz")
    assert {number for _, number in formats(data)} == {1}
    server = workspace.serve("replay_server")
    client = check_contents(workspace, wire)
    client.insert("writer", [(5, 5, numbered_rows(5, 6))])
    assert sorted((c.client, c.episodes) for c in client.info().clients) == [("", 4), ("unix", 1)]
    client.close()
    server.stop()
    assert "the store was of format 1 and is of format 2 now" in server.tail()
    assert TODAY in {number for _, number in formats(data)}
    server = workspace.serve("replay_server")
    assert client_of(workspace, wire).info().episodes == 5
    server.stop()
    assert server.tail().count("the store was of format") == 1


def test_a_newer_store_is_refused_and_not_touched(workspace):
    data = put_store(workspace, "format-1.mdb.gz")
    set_format(data, TODAY + 1)
    before = data.read_bytes()
    server = workspace.start("replay_server")
    assert server.wait(20) == 2
    assert f"store format {TODAY + 1}, this program (0.1.0) reads 1 to {TODAY}: run the version of Hindcast that wrote " \
        "it, or move the folder away" in server.tail()
    assert data.read_bytes() == before


# ---- the wire ----

def speaking(server, said):  # noqa: F811
    client = Client(server.wire, server.address, cheetah_signature(server.wire), headers=[("hindcast-wire", said)])
    server.clients.append(client)
    return client


def test_a_client_of_another_wire_version_is_told_both(server):  # noqa: F811
    for said in ("1-1 mine 3", "1-9 mine 3", "1-1 x"):
        assert speaking(server, said).info() is None
    info = server.client().stub.Info(server.wire.replay.InfoRequest())
    assert (info.version, info.wire_version, info.wire_version_oldest, info.store_format) == ("0.1.0", 1, 1, TODAY)
    words = "the client (mine 3) speaks version 2 to 4 of hindcast-wire, this server (hindcast 0.1.0) version 1: "
    client = speaking(server, "2-4 mine 3")
    for call in (client.info, lambda: client.open_insert("w"),
                 lambda: client.draw(1, batch_snippets=1, snippet_transitions=1)):
        code, text = code_of(call)
        assert code == grpc.StatusCode.FAILED_PRECONDITION and words in text
    assert words in server.process.tail()


@pytest.mark.parametrize("said", ["", "1", "-1-1 x", "1--1 x", "1-1", "2-1 x", "0-1 x", "1-99999999999 x", "1-1 " + "x" * 200])
def test_a_version_that_is_none_is_refused(server, said):  # noqa: F811
    code, text = code_of(speaking(server, said).info)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "hindcast-wire: expected OLDEST-NEWEST PROGRAM" in text


class Newer(grpc.GenericRpcHandler):
    """A server of a later version, which has nothing in common with our clients."""

    def __init__(self, address):
        self.heard = []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((self,))
        self.server.add_insecure_port(address)
        self.server.start()

    def service(self, call):
        self.heard.append(dict(call.invocation_metadata).get("hindcast-wire"))
        return grpc.unary_unary_rpc_method_handler(self.refuse)

    @staticmethod
    def refuse(request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the client speaks version 1 of hindcast-wire, this server 2")


def test_our_clients_say_their_version_and_pass_on_what_a_newer_server_says(tmp_path):
    newer = Newer(f"unix:{tmp_path}/newer.sock")
    text = replay("info", f"unix:{tmp_path}/newer.sock", status=1)
    newer.server.stop(None)
    assert newer.heard == ["1-1 hindcast 0.1.0"]
    assert "the client speaks version 1 of hindcast-wire, this server 2" in text
