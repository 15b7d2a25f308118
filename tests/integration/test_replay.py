"""The replay server as Python's grpcio sees it: what goes in comes out, once, evenly, and again after kill -9."""

import shutil
import threading

import grpc
import numpy as np
import pytest
from scipy import stats

from processes import BINARIES, wait_until
from replay_client import Client, cheetah_signature, numbered_rows

LENGTHS = [1, 7, 1500, 3, 40, 2, 660]  # transitions; 1500 and 660 take several chunks
EPISODES = [(i + 1, i, numbered_rows(i, T)) for i, T in enumerate(LENGTHS)]


class Server:
    def __init__(self, workspace, wire, **options):
        self.workspace, self.wire = workspace, wire
        workspace.configure(replay_server={"map_bytes": 64 << 20, **options})
        self.process = workspace.serve("replay_server")
        self.address = f"unix:{workspace.run_dir}/replay.sock"
        self.clients = []

    def client(self, signature=None, table="default"):
        self.clients.append(Client(self.wire, self.address, signature or cheetah_signature(self.wire), table))
        return self.clients[-1]

    def crash_and_restart(self):
        self.process.kill()
        self.process = self.workspace.serve("replay_server")


@pytest.fixture
def make_server(workspace, wire):
    servers = []

    def make(**options):
        servers.append(Server(workspace, wire, **options))
        return servers[-1]

    yield make
    for server in servers:
        for client in server.clients:
            client.close()


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def sealed(server):
    """A server with EPISODES in a sealed table, and a client of it."""
    client = server.client()
    assert client.insert("writer", EPISODES) == (len(EPISODES), len(EPISODES), 0)
    assert client.seal("writer").sealed
    return server, client


def code_of(call, *args, **kwargs):
    """(status code, text) of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code(), caught.value.details()


def starts_of(batches):
    """(episode, row) of each snippet's first row."""
    firsts = np.concatenate([rows[:, 0, :2] for _, rows in batches])
    return firsts.astype(int)


# ---- what goes in comes out ----

def test_rows_come_back_as_they_were_sent(sealed):
    _, client = sealed
    N = 8
    seen = set()
    for n_valid, rows in client.draw(40, batch_snippets=64, snippet_transitions=N, seed=3):
        for n, snippet in zip(n_valid, rows):
            episode, start = snippet[0, :2].astype(int)
            seen.add(episode)
            sent = EPISODES[episode][2]
            assert n == min(N, LENGTHS[episode] - start)
            assert snippet[:n + 1].tobytes() == sent[start:start + n + 1].tobytes()
            assert not snippet[n + 1:].any()
    assert {2, 4, 6} <= seen


def test_every_transition_is_drawn_equally_often(server):
    client = server.client()
    lengths = [1, 2, 3, 30, 64]
    client.insert("writer", [(i + 1, i, numbered_rows(i, T)) for i, T in enumerate(lengths)])
    client.seal("writer")
    starts = starts_of(client.draw(50, batch_snippets=1000, snippet_transitions=4, seed=11))
    counts = np.zeros(sum(lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    np.add.at(counts, offsets[starts[:, 0]] + starts[:, 1], 1)
    p = stats.chisquare(counts).pvalue
    assert p > 1e-4, f"p {p}, counts {counts.min()}..{counts.max()}, expected {counts.mean()}"


def test_rewards_come_by_name_in_the_order_asked_for(server):
    both = cheetah_signature(server.wire, rewards=("walk", "run"))
    client = server.client(both)
    rows = numbered_rows(0, 50, W=26)
    client.insert("writer", [(1, 0, rows)])
    client.seal("writer")
    for names, columns in ((("run",), [24]), (("run", "walk"), [24, 23])):
        wanted = cheetah_signature(server.wire, rewards=names)
        W = 24 + len(names)
        [(n_valid, drawn)] = client.draw(1, W=W, signature=wanted, batch_snippets=8, snippet_transitions=1, seed=1)
        assert (n_valid == 1).all()
        for snippet in drawn:
            sent = rows[int(snippet[0, 1])]
            assert snippet[0].tobytes() == sent[[*range(23), *columns, 25]].tobytes()


# ---- the same draws ----

def test_draws_depend_on_seed_and_number_alone(sealed):
    server, client = sealed
    ask = dict(batch_snippets=32, snippet_transitions=8)
    whole = client.draw(6, seed=5, **ask)
    assert not all((a[1] == b[1]).all() for a, b in zip(whole, client.draw(6, seed=6, **ask)))

    server.crash_and_restart()
    again = client.draw(6, seed=5, **ask)
    later = client.draw(2, seed=5, first_batch=4, **ask)
    packed = client.draw(6, seed=5, batches_per_response=3, **ask)
    halves = [client.draw(6, seed=5, slice_begin=begin, slice_count=16, **ask) for begin in (0, 16)]
    for i, (n_valid, rows) in enumerate(whole):
        assert rows.tobytes() == again[i][1].tobytes() == packed[i][1].tobytes()
        assert (n_valid == again[i][0]).all()
        assert rows.tobytes() == halves[0][i][1].tobytes() + halves[1][i][1].tobytes()
    assert [b[1].tobytes() for b in whole[4:]] == [b[1].tobytes() for b in later]


def test_draws_do_not_depend_on_order_of_arrival(sealed):
    server, client = sealed
    other = server.client(table="other")
    backwards = [(i + 1, number, rows) for i, (_, number, rows) in enumerate(reversed(EPISODES))]
    other.insert("writer", backwards)
    assert other.seal("writer").version == client.info().sealed_version != 0
    ask = dict(batch_snippets=64, snippet_transitions=8, seed=5)
    assert [b[1].tobytes() for b in client.draw(4, **ask)] == [b[1].tobytes() for b in other.draw(4, **ask)]


# ---- exactly once ----

def test_retried_sequences_and_resident_identities_are_not_stored_again(server):
    client = server.client()
    opened = client.open_insert("a")
    assert (opened.last_sequence, opened.cursor, opened.sealed) == (0, b"", False)
    assert client.insert("a", EPISODES, opened) == (7, 7, 0)
    assert client.insert("a", EPISODES, opened) == (7, 7, 7)
    assert client.insert("b", EPISODES) == (7, 7, 7)
    again = client.open_insert("a")
    assert (again.last_sequence, again.cursor, again.episodes) == (7, b"at 7", 7)
    assert again.generation > opened.generation
    table = client.info()
    assert (table.episodes, table.transitions, table.episodes_inserted) == (7, sum(LENGTHS), 7)
    assert table.episodes_duplicate == 7  # b's: what a writer repeats is known by its sequence


def test_a_sequence_is_stored_once_whatever_comes_under_it(server):
    client = server.client()
    opened = client.open_insert("a")
    assert client.insert("a", EPISODES, opened) == (7, 7, 0)
    others = [(sequence, 100 + number, rows) for sequence, number, rows in EPISODES]
    assert client.insert("a", others, opened) == (7, 7, 7)
    table = client.info()
    assert (table.episodes, table.episodes_inserted, table.episodes_duplicate) == (7, 7, 0)


@pytest.mark.parametrize("step", [-1, 1])
def test_an_insert_of_another_generation_is_refused_from_the_start(server, step):
    """No stream of the generation was there to be fenced off: it is the first message that is refused."""
    client = server.client()
    client.open_insert("writer")
    opened = client.open_insert("writer")
    opened.generation += step
    code, text = code_of(client.insert, "writer", EPISODES, opened)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "generation" in text
    assert client.info().episodes == 0


def test_what_was_acknowledged_survives_kill_9(server):
    """A writer is cut off by a crash again and again; it asks where it was and goes on."""
    client = server.client()
    episodes = [(i + 1, i, numbered_rows(i, 50 + i % 700)) for i in range(400)]
    acknowledged = 0
    for crash_after in (5, 60, 150, None):
        opened = client.open_insert("writer")
        assert opened.last_sequence >= acknowledged
        assert opened.cursor == (b"at %d" % opened.last_sequence if opened.last_sequence else b"")
        stream = client.stub.Insert(client.chunks("writer", opened, episodes[opened.last_sequence:]), timeout=30)
        try:
            for answer in stream:
                acknowledged = answer.sequence
                if crash_after is not None and acknowledged >= crash_after:
                    crash_after = None
                    server.process.kill()
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
        if server.process.ended() is not None:
            server.process = server.workspace.serve("replay_server")
    assert acknowledged == len(episodes)
    table = client.info()
    assert (table.episodes, table.transitions) == (400, sum(50 + i % 700 for i in range(400)))
    assert table.episodes_corrupt == 0


def test_an_older_generation_is_fenced_off(server):
    client = server.client()
    old = client.open_insert("writer")
    entered, leave = threading.Event(), threading.Event()

    def slowly():
        yield from client.chunks("writer", old, EPISODES[:1])
        entered.set()
        leave.wait(30)
        yield from client.chunks("writer", old, EPISODES[1:])

    stream = client.stub.Insert(slowly(), timeout=30)
    assert next(stream).sequence == 1
    assert entered.wait(30)
    new = client.open_insert("writer")
    assert new.generation > old.generation
    leave.set()
    assert code_of(lambda: list(stream))[0] == grpc.StatusCode.FAILED_PRECONDITION
    code, text = code_of(client.insert, "writer", EPISODES, old)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "generation" in text
    assert client.insert("writer", EPISODES, new) == (7, 7, 1)


def test_a_damaged_episode_is_left_out_and_counted(server):
    client = server.client()
    client.insert("writer", EPISODES)
    server.process.stop()
    store = server.workspace.run_dir / "replay" / "data.mdb"
    content = bytearray(store.read_bytes())
    at = content.find(EPISODES[4][2][20].tobytes())
    assert at > 0
    content[at + 50] ^= 1
    store.write_bytes(content)
    server.process = server.workspace.serve("replay_server")
    starts = starts_of(client.draw(50, batch_snippets=64, snippet_transitions=8, seed=3))
    assert {2, 6} <= set(starts[:, 0]) <= {0, 1, 2, 3, 5, 6}
    table = wait_until(lambda: client.info().episodes_corrupt and client.info(), "the damage to be counted")
    assert (table.episodes_corrupt, table.episodes) == (1, 6)
    assert client.insert("again", EPISODES[4:5]) == (5, 1, 0)
    assert client.info().episodes == 7


def test_an_episode_that_cannot_be_removed_holds_up_nobody(server):
    """Which pages it takes is not known any more: it stays in the store, out of the table."""
    client = server.client()
    client.insert("writer", EPISODES)
    store = server.workspace.run_dir / "replay" / "data.mdb"
    at = store.read_bytes().find(EPISODES[4][2].tobytes())
    assert at > 0
    with open(store, "r+b") as file:
        file.seek(at - 32 - 4)  # how many pages, the last of LMDB's header of them; then the chunk's header
        file.write(b"\xff")
        file.seek(at)
        file.write(b"\xff")
    client.draw(50, batch_snippets=64, snippet_transitions=8, seed=3)
    wait_until(lambda: client.info().episodes_corrupt == 1, "the damage to be counted")

    def sealed():
        try:
            return client.seal("writer").sealed
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ABORTED  # try again
            return False

    wait_until(sealed, "the table to be sealed")
    assert client.info().episodes == 6


# ---- waiting ----

def test_no_more_is_sent_than_was_granted(sealed):
    _, client = sealed
    sampler = client.sampler(credit=3, batch_snippets=16, snippet_transitions=8, seed=1)
    assert [sampler.next().first_batch for _ in range(3)] == [0, 1, 2]
    came = threading.Event()
    rest = []
    thread = threading.Thread(target=lambda: (rest.append(sampler.next().first_batch), came.set()))
    thread.start()
    assert not came.wait(0.5)
    sampler.grant(1)
    thread.join(20)
    assert rest == [3]
    sampler.close()


def test_a_sampler_waits_for_the_seal_and_info_says_so(server):
    client = server.client()
    client.insert("writer", EPISODES[:3])
    sampler = client.sampler(credit=1, batch_snippets=4, snippet_transitions=2, seed=1, require_sealed=True)
    [waiter] = wait_until(lambda: client.info().waiters, "Info to show who waits")
    assert waiter.what == "sample" and "seal" in waiter.why
    assert client.seal("writer", n_writers=1).sealed
    answer = sampler.next()
    assert answer.first_batch == 0 and answer.table_version == client.info().sealed_version
    sampler.close()


def test_sampling_waits_for_min_transitions(make_server):
    server = make_server(min_transitions=1000)
    client = server.client()
    client.insert("writer", EPISODES[:2])
    sampler = client.sampler(credit=1, batch_snippets=4, snippet_transitions=2, seed=1)
    [waiter] = wait_until(lambda: client.info().waiters, "Info to show who waits")
    assert "min_transitions" in waiter.why
    client.insert("writer", EPISODES[2:])
    assert sampler.next().first_batch == 0
    sampler.close()


def test_the_oldest_make_room(make_server):
    server = make_server(max_transitions=100)
    client = server.client()
    assert client.insert("writer", [(i + 1, i, numbered_rows(i, 30)) for i in range(10)]) == (10, 10, 0)
    table = client.info()
    assert (table.transitions, table.episodes_removed) == (90, 7)
    starts = starts_of(client.draw(4, batch_snippets=50, snippet_transitions=2, seed=1))
    assert set(starts[:, 0]) == {7, 8, 9}


def test_without_a_remover_a_full_table_says_so(make_server):
    server = make_server(max_transitions=100, remover="none")
    client = server.client()
    code, text = code_of(client.insert, "writer", [(i + 1, i, numbered_rows(i, 30)) for i in range(10)])
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, text
    wait_until(lambda: client.info().transitions == 90, "those that fit to be stored")
    assert len(client.draw(1, batch_snippets=50, snippet_transitions=2, seed=1)) == 1


def test_two_tables_have_settings_of_their_own(make_server):
    server = make_server(max_episodes=100, tables={
        "queue": {"sampler": "fifo", "remover": "lifo", "max_episodes": 3, "min_transitions": 50},
        "small.1": {"max_transitions": 60, "remover": "none"}})
    queue, small, other = (server.client(table=name) for name in ("queue", "small.1", "other"))
    for client in (queue, other):
        assert client.insert("writer", [(i + 1, i, numbered_rows(i, 10)) for i in range(3)]) == (3, 3, 0)
    assert small.insert("writer", [(1, 0, numbered_rows(0, 40))]) == (1, 1, 0)

    # Each has its own limits and its own remover.
    code, text = code_of(small.insert, "writer", [(2, 1, numbered_rows(1, 40))])
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "small.1" in text and "remover is none" in text
    assert other.insert("writer", [(4, 3, numbered_rows(3, 10))]) == (4, 1, 0)
    assert other.info().episodes == 4
    assert queue.insert("writer", [(4, 3, numbered_rows(3, 30))]) == (4, 1, 0)
    assert (queue.info().episodes, queue.info().transitions_limit) == (3, 0)
    assert (small.info().transitions_limit, queue.info().min_transitions, other.info().min_transitions) == (60, 50, 1)

    # And its own sampler: the oldest episode alone, of which the third has made room for the fourth.
    starts = starts_of(queue.draw(4, batch_snippets=50, snippet_transitions=2, seed=1))
    assert set(starts[:, 0]) == {0} and set(starts[:, 1]) == set(range(10))
    sampler = queue.sampler(credit=1, batch_snippets=50, snippet_transitions=2, seed=1)
    answer = sampler.next()
    assert set(answer.probability) == {0.1} and len(set(answer.episode_id)) == 1
    sampler.close()
    starts = starts_of(other.draw(4, batch_snippets=100, snippet_transitions=2, seed=1))
    assert set(starts[:, 0]) == {0, 1, 2, 3}

    # A restart finds the same settings for the same names.
    server.crash_and_restart()
    assert (small.info().transitions_limit, queue.info().min_transitions) == (60, 50)
    starts = starts_of(queue.draw(2, batch_snippets=50, snippet_transitions=2, seed=2))
    assert set(starts[:, 0]) == {0}


@pytest.mark.parametrize("options, words", [
    ({"tables": {"a b": {"max_episodes": 3}}}, "tables.a b"),
    ({"tables": {"a": {"sampler": "best"}}}, "sampler"),
    ({"tables": {"a": {"max_transitions": 10, "min_transitions": 11}}}, "tables.a.min_transitions 11 is above"),
    ({"max_transitions": 10, "min_transitions": 11}, "min_transitions 11 is above max_transitions 10"),
])
def test_settings_of_tables_are_checked_before_anything_starts(workspace, options, words):
    workspace.configure(replay_server=options)
    process = workspace.start("replay_server", "--check")
    assert process.wait() == 2
    assert words in process.tail()


def test_a_map_that_does_not_fit_the_address_space_is_refused_with_the_way_out(workspace):
    workspace.configure(replay_server={"map_bytes": 64 << 30})
    process = workspace.start_command("replay_server", "bash", "-c",
                                      f"ulimit -v 16000000; exec {BINARIES['replay_server']} --config={workspace.config}")
    assert process.wait() == 2
    assert "ulimit -v" in process.tail() and "replay_server.map_bytes" in process.tail()


def test_a_server_ends_when_its_store_is_removed(server):
    client = server.client()
    client.insert("writer", EPISODES[:3])
    shutil.rmtree(server.workspace.run_dir / "replay")
    # It acknowledges nothing more, and ends with a sentence; the next start begins with an empty store.
    with pytest.raises(grpc.RpcError):
        client.insert("writer", EPISODES[3:])
    assert server.process.wait() == 1
    assert "removed or replaced under the server" in server.process.tail()
    server.process = server.workspace.serve("replay_server")
    assert client.insert("writer", EPISODES) == (len(EPISODES), len(EPISODES), 0)


@pytest.mark.parametrize("priority", [1e308, 1e-308, float("nan")])
def test_a_priority_out_of_range_is_refused(sealed, priority):
    server, client = sealed
    version = client.info().sealed_version
    request = server.wire.replay.UpdatePrioritiesRequest(table="default", episode_id=[1], priority=[priority])
    code, text = code_of(client.stub.UpdatePriorities, request, timeout=30)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "expected 1e-30..1e+30" in text
    # One that is taken changes the draws of a sealed table, and its version.
    request.priority[0] = 8
    assert client.stub.UpdatePriorities(request, timeout=30).updated == 1
    assert client.info().sealed_version not in (0, version)
    request.priority[0] = 1
    client.stub.UpdatePriorities(request, timeout=30)
    assert client.info().sealed_version == version


def test_numbers_at_the_end_of_their_range_lock_no_writer_out(server):
    client = server.client()
    code, text = code_of(client.open_insert, "writer", generation=2 ** 64 - 1)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "generation" in text
    opened = client.open_insert("writer", generation=2 ** 62)
    code, text = code_of(client.insert, "writer", [(2 ** 64 - 1, 0, EPISODES[0][2])], opened)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "sequence" in text
    assert client.open_insert("writer").generation == 2 ** 62 + 1
    assert client.insert("writer", EPISODES[:2]) == (2, 2, 0)


def test_writers_that_seal_with_different_numbers_are_told(server):
    client = server.client()
    client.insert("one", EPISODES[:2])
    client.insert("two", [(1, 2, EPISODES[2][2])])
    assert not client.seal("one", n_writers=2).sealed
    code, text = code_of(client.seal, "two", n_writers=1)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "one" in text and "n_writers" in text
    assert client.seal("two", n_writers=2).sealed


# ---- one client does not starve the others ----

def test_a_sampler_that_does_not_read_gives_its_memory_back(make_server):
    server = make_server(sample_buffer_bytes=16 << 20, idle_seconds=2)
    client, hoarder = server.client(), server.client()
    client.insert("writer", [(i + 1, i, numbered_rows(i, 100)) for i in range(20)])
    ask = dict(batch_snippets=4000, snippet_transitions=9, seed=1)  # 4 MB a batch
    holding = hoarder.sampler(credit=1000, **ask)
    [held] = wait_until(lambda: [h for h in client.info().holders if h.bytes >= 12 << 20 and h.seconds > 0.5],
                        "it to hold the pool")
    assert held.what == "sample" and held.who
    assert len(client.draw(2, **ask)) == 2
    with pytest.raises(grpc.RpcError) as caught:
        for _ in range(1000):
            holding.next()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "nothing was read" in caught.value.details()
    wait_until(lambda: not client.info().holders, "all memory to be back")


def test_samplers_share_the_memory(make_server):
    """One that reads slowly leaves half to another: neither waits for the other to end."""
    server = make_server(sample_buffer_bytes=16 << 20, idle_seconds=600)
    client, slow = server.client(), server.client()
    client.insert("writer", [(i + 1, i, numbered_rows(i, 100)) for i in range(20)])
    ask = dict(batch_snippets=2000, snippet_transitions=9, seed=1)  # 2 MB a batch
    first, second = slow.sampler(credit=1000, **ask), client.sampler(credit=1000, **ask)
    for _ in range(20):
        first.next()
        second.next()
        held = [holder.bytes for holder in client.info().holders if holder.what == "sample"]
        assert sum(held) <= 2 * (9 << 20)
    first.close()
    second.close()


def test_an_episode_that_trickles_gives_its_memory_back(make_server):
    server = make_server(idle_seconds=2, insert_buffer_bytes=4 << 20, map_bytes=256 << 20)
    client, slow = server.client(), server.client()
    opened = slow.open_insert("slow")
    stop = threading.Event()
    chunk = bytes(opened.chunk_rows * slow.W * 4)

    def trickle():
        for i in range(64):
            request = server.wire.replay.InsertRequest(sequence=1, chunk=i, last_chunk=i == 63, rows=chunk)
            if i == 0:
                request.table, request.writer, request.generation = "default", "slow", opened.generation
                request.n_rows, request.identity.source = 64 * opened.chunk_rows, 1
            yield request
            if stop.wait(1.8):
                return

    call = slow.stub.Insert(trickle(), timeout=60)
    [held] = wait_until(lambda: client.info() and client.info().holders, "it to hold the memory")
    assert (held.who, held.what) == ("slow", "insert") and held.bytes == 4 << 20
    try:
        assert client.insert("other", EPISODES[:2]) == (2, 2, 0)
        code, text = code_of(lambda: list(call))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED and "64 KiB a second" in text
    finally:
        stop.set()


def test_a_table_whose_writers_wait_leaves_memory_to_others(make_server):
    """Episodes that wait for their table's rate keep their memory: not all of it."""
    server = make_server(insert_buffer_bytes=1 << 20, tables={"online": {"samples_per_insert": 100,
                                                                         "samples_per_insert_tolerance": 1}})
    online, other = server.client(table="online"), server.client(table="other")
    other.open_insert("first")
    calls = []
    for i in range(12):
        opened = online.open_insert(f"w{i}")

        def requests(i=i, opened=opened):
            for request in online.chunks(f"w{i}", opened, [(1, i, numbered_rows(i, 1000))]):
                request.restored = False
                yield request
            stop.wait(60)

        stop = threading.Event()
        calls.append((online.stub.Insert(requests(), timeout=60), stop))
    try:
        wait_until(lambda: len(online.info().waiters) >= 10, "them to wait")
        assert other.insert("writer", EPISODES[:4]) == (4, 4, 0)
        assert any("share" in waiter.why for waiter in online.info().waiters)
    finally:
        for call, stop in calls:
            call.cancel()
            stop.set()


def test_a_writer_that_waits_for_a_rate_hears_of_the_seal(make_server):
    server = make_server(samples_per_insert=100, samples_per_insert_tolerance=1)
    client = server.client()
    client.insert("first", EPISODES[:1])
    opened, stop = client.open_insert("waiting"), threading.Event()

    def requests():
        for number in (1, 2):  # the first crosses the tolerance
            for request in client.chunks("waiting", opened, [(number, number, numbered_rows(number, 50))]):
                request.restored = False
                yield request
        stop.wait(30)

    call = client.stub.Insert(requests(), timeout=60)
    wait_until(lambda: client.info().waiters, "it to wait")
    assert "samples_per_insert" in client.info().waiters[0].why
    wait_until(lambda: client.seal("first").sealed, "the seal")
    try:
        code, text = code_of(lambda: list(call))
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "sealed" in text
    finally:
        stop.set()


def test_idle_sample_streams_hold_no_batches(make_server):
    server = make_server(sample_buffer_bytes=32 << 20)
    client = server.client()
    client.insert("writer", [(i + 1, i, numbered_rows(i, 100)) for i in range(20)])
    samplers = []
    for _ in range(20):
        samplers.append(client.sampler(credit=2, batch_snippets=30000, snippet_transitions=1, seed=1))
        samplers[-1].next()
        samplers[-1].next()
    assert not client.info().holders
    memory = int(next(line for line in open(f"/proc/{server.process.pid}/status") if line.startswith("VmRSS")).split()[1])
    assert memory < 120 << 10, f"{memory} KiB"  # 32 MiB of it the pool's
    for sampler in samplers:
        sampler.close()


# ---- refused, in words ----

def test_another_signature_is_refused_with_the_difference(sealed):
    server, client = sealed
    other = cheetah_signature(server.wire, velocity=10)
    code, text = code_of(client.open_insert, "b", signature=other)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "velocity" in text and "10" in text and "9" in text
    sampler = client.sampler(credit=1, batch_snippets=4, snippet_transitions=2,
                             signature=cheetah_signature(server.wire, rewards=("jump",)))
    code, text = code_of(sampler.next)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "jump" in text


def test_a_sealed_table_takes_nothing_new(sealed):
    _, client = sealed
    code, text = code_of(client.insert, "late", [(1, 99, numbered_rows(99, 5))])
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "sealed" in text
    assert client.insert("other", EPISODES) == (7, 7, 7)
    assert client.info().episodes == 7


@pytest.mark.parametrize("change, words", [
    (dict(n_rows=1), "n_rows"),
    (dict(n_rows=2_000_000), "n_rows"),
    (dict(priority=-1.0), "priority"),
    (dict(priority=float("nan")), "priority"),
    (dict(chunk=1), "chunk"),
    (dict(rows=b"abc"), "bytes"),
    (dict(cursor=b"x" * 2000), "cursor"),
    (dict(sequence=0), "sequence"),
])
def test_a_bad_insert_is_refused_by_name(server, change, words):
    client = server.client()
    opened = client.open_insert("writer")
    request = next(client.chunks("writer", opened, EPISODES[1:2]))
    for field, value in change.items():
        setattr(request, field, value)
    code, text = code_of(lambda: list(client.stub.Insert(iter([request]), timeout=20)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and words in text, (code, text)
    assert client.info().episodes == 0
    assert client.insert("writer", EPISODES)[1] == 7


@pytest.mark.parametrize("change, words", [
    (dict(batch_snippets=0), "batch_snippets"),
    (dict(batch_snippets=1 << 20), "batch_snippets"),
    (dict(snippet_transitions=0), "snippet_transitions"),
    (dict(snippet_transitions=5000), "snippet_transitions"),
    (dict(slice_begin=30, slice_count=10), "slice"),
    (dict(batch_snippets=65536, snippet_transitions=1024), "max_message_bytes"),
])
def test_a_bad_sample_request_is_refused_by_name(sealed, change, words):
    _, client = sealed
    sampler = client.sampler(**{"credit": 1, "batch_snippets": 32, "snippet_transitions": 8, **change})
    code, text = code_of(sampler.next)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and words in text, (code, text)


def test_foreign_bytes_do_no_harm(sealed):
    server, client = sealed
    raw = client.channel.unary_unary("/hindcast.Replay/OpenInsert")
    stream = client.channel.stream_stream("/hindcast.Replay/Insert")
    generator = np.random.default_rng(1)
    for size in (1, 7, 100, 5000):
        for _ in range(20):
            garbage = generator.bytes(size)
            assert code_of(raw, garbage, timeout=20)[0] in (
                grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION), garbage
            assert code_of(lambda: list(stream(iter([garbage]), timeout=20)))[0] in (
                grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), garbage
    assert client.info().episodes == 7
    assert server.process.ended() is None


def test_a_message_too_large_is_refused(make_server):
    server = make_server(max_message_bytes=1 << 20)
    client = server.client()
    raw = client.channel.unary_unary("/hindcast.Replay/OpenInsert")
    assert code_of(raw, bytes(2 << 20), timeout=20)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.info() is None
    assert server.process.ended() is None


def test_an_unknown_method_is_unimplemented(server):
    client = server.client()
    for path in ("/hindcast.Replay/Nothing", "/hindcast.Nothing/Info"):
        assert code_of(client.channel.unary_unary(path), b"", timeout=20)[0] == grpc.StatusCode.UNIMPLEMENTED


def test_health_says_serving(server):
    client = server.client()
    health = server.wire.health_grpc.HealthStub(client.channel)
    Request = server.wire.health.HealthCheckRequest
    for service in ("", "hindcast.Replay"):
        answer = health.Check(Request(service=service), timeout=20, wait_for_ready=True)
        assert answer.status == server.wire.health.HealthCheckResponse.SERVING
    assert code_of(health.Check, Request(service="nobody"), timeout=20)[0] == grpc.StatusCode.NOT_FOUND


# ---- the process ----

def test_metrics_and_an_orderly_end(sealed):
    server, client = sealed
    client.draw(2, batch_snippets=64, snippet_transitions=8, seed=1)
    expected = {"hindcast_replay_episodes": 7, "hindcast_replay_transitions": sum(LENGTHS),
                "hindcast_replay_episodes_inserted_total": 7, "hindcast_replay_sealed_tables": 1,
                "hindcast_replay_snippets_sampled_total": 128}
    wait_until(lambda: expected.items() <= server.workspace.metrics("replay_server").items(), f"metrics {expected}")
    sampler = client.sampler(credit=1, batch_snippets=4, snippet_transitions=2, seed=1)
    sampler.next()
    server.process.stop(10)  # with a stream open
    assert not (server.workspace.run_dir / "replay_server.admin").exists()


def test_two_servers_do_not_share_a_store_or_a_socket(server):
    second = server.workspace.start("replay_server", label="second")
    assert second.wait(20) not in (0, None)
    assert "replay" in second.tail()
    assert server.client().open_insert("writer").generation == 1
