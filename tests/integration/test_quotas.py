"""What one client may take of a replay server: bytes, episodes, their rate, and calls."""

import time

import grpc
import pytest

from processes import wait_until
from replay_client import Client, cheetah_signature, numbered_rows
from test_replay import code_of, make_server  # noqa: F401
from test_replay_operator import replay
from tokens import write_tokens

ALICE, BOB, OPERATOR = "alice-0123456789", "bob-0123456789ab", "operator-0123456"
TOKENS = f"{ALICE} insert,sample alice\n{BOB} insert,sample bob\n{OPERATOR} admin\n"
T = 10


def episodes(first, n, transitions=T):
    return [(first + i, first + i, numbered_rows(first + i, transitions)) for i in range(n)]


class Guarded:
    """A server with a file of tokens."""

    def __init__(self, make, folder, **options):
        self.tokens = folder / "tokens"
        write_tokens(self.tokens, TOKENS)
        self.server = make(tokens_file=str(self.tokens), **options)

    def client(self, token, address=None):
        wire = self.server.wire
        made = Client(wire, address or self.server.address, cheetah_signature(wire), token=token)
        self.server.clients.append(made)
        return made

    def metric(self, name):
        return self.server.workspace.metrics("replay_server")[f"hindcast_replay_{name}"]


@pytest.fixture
def guarded(make_server, tmp_path):  # noqa: F811
    return lambda **options: Guarded(make_server, tmp_path, **options)


def answers(client):
    try:
        return bool(client.stub.Info(client.wire.replay.InfoRequest(), timeout=5))
    except grpc.RpcError:
        return False


def held(client):
    return {c.client: (c.episodes, c.bytes > 0) for c in client.info().clients}


# ---- what a client holds ----

def test_a_client_holds_no_more_than_its_quota(guarded):
    guarded = guarded(max_client_episodes=3)
    alice, bob = guarded.client(ALICE), guarded.client(BOB)
    assert alice.insert("a", episodes(1, 3)) == (3, 3, 0)
    code, text = code_of(lambda: alice.insert("a", episodes(4, 1)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "client alice" in text and "holds 3 episodes" in text and "max_client_episodes 3" in text
    # Another writer of the same client makes no difference, another client does.
    assert code_of(lambda: alice.insert("a2", episodes(4, 1)))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bob.insert("b", episodes(11, 3)) == (13, 3, 0)
    assert held(alice) == {"alice": (3, True), "bob": (3, True)}
    wait_until(lambda: guarded.metric("inserts_over_quota_total") == 2, "the metric")
    # What it has is still acknowledged when it comes again.
    assert alice.insert("a", [(4, 1, numbered_rows(1, T))])[2] == 1


def test_quotas_hold_after_a_crash_and_change_while_serving(guarded):
    guarded = guarded(max_client_episodes=3)
    guarded.client(ALICE).insert("a", episodes(1, 3))
    guarded.server.crash_and_restart()
    alice, operator = guarded.client(ALICE), f"--experiment.token_file={guarded.tokens.with_name('own')}"
    guarded.tokens.with_name("own").write_text(OPERATOR)
    guarded.tokens.with_name("own").chmod(0o600)
    assert code_of(lambda: alice.insert("a", episodes(4, 1)))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    replay("set", "max_client_episodes=5", operator, guarded.server.address)
    assert alice.insert("a", episodes(4, 2)) == (5, 2, 0)
    # Deleted episodes are no longer held.
    replay("delete", "--oldest=2", operator, guarded.server.address)
    assert alice.insert("a", episodes(6, 2)) == (7, 2, 0)
    assert "alice, 5 episodes" in replay("info", operator, guarded.server.address)
    replay("set", "max_client_bytes=1", operator, guarded.server.address)
    assert "max_client_bytes 1" in code_of(lambda: alice.insert("a", episodes(8, 1)))[1]


def test_what_its_insert_removes_is_not_held_against_a_client(guarded):
    guarded = guarded(max_client_episodes=3, max_episodes=4)
    alice, bob = guarded.client(ALICE), guarded.client(BOB)
    alice.insert("a", episodes(1, 3))
    bob.insert("b", episodes(11, 1))
    assert alice.insert("a", episodes(4, 3)) == (6, 3, 0)  # each takes the place of one of its own
    assert held(alice) == {"alice": (3, True), "bob": (1, True)} or held(alice) == {"alice": (4, True)}


@pytest.mark.parametrize("host, name", [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")])
def test_without_tokens_a_client_is_its_host(make_server, host, name):  # noqa: F811
    server = make_server(max_client_episodes=2, listen=[f"{host}:0"])
    server.address = f"{host}:{server_port(server)}"
    client = server.client()
    client.insert("a", episodes(1, 2))
    assert held(client) == {name: (2, True)}
    assert f"client {name}: holds 2 episodes" in code_of(lambda: client.insert("b", episodes(3, 1)))[1]


def server_port(server):
    log = server.process.tail()
    return int(log.split(":0 port=")[1].split()[0])


# ---- how fast, and how many calls ----

def test_a_fast_client_is_slowed_and_others_are_not(guarded):
    guarded = guarded(max_client_bytes_per_s=20000)
    alice, bob = guarded.client(ALICE), guarded.client(BOB)
    size = 100 * 25 * 4
    begin = time.monotonic()
    assert alice.insert("a", episodes(1, 8, 100)) == (8, 8, 0)
    took = time.monotonic() - begin
    # Beyond one second's worth and one episode, all at the rate.
    assert took > (8 * size - 20000 - size) / 20000 * 0.9
    begin = time.monotonic()
    bob.insert("b", episodes(21, 1, 100))
    assert time.monotonic() - begin < took
    wait_until(lambda: guarded.metric("inserts_slowed_total") >= 3, "the metric")


def test_a_client_has_so_many_calls_at_once(guarded):
    guarded = guarded(max_client_calls=2)
    alice, bob = guarded.client(ALICE), guarded.client(BOB)
    alice.insert("a", episodes(1, 1))
    first = dict(batch_snippets=1, snippet_transitions=1, require_sealed=True)
    open_calls = [alice.sampler(credit=1, **first) for _ in range(2)]
    wait_until(lambda: len(bob.info().waiters) == 2, "two streams")
    code, text = code_of(alice.info)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == "client alice has 2 calls at once already: max_client_calls"
    assert guarded.metric("client_calls_refused_total") == 1
    bob.info()
    open_calls[0].close()
    wait_until(lambda: answers(alice), "a place")
    open_calls[1].close()
