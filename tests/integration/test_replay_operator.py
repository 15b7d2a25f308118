"""`hindcast replay` beside a server that serves: info, set, delete; heaps, queues and what waits for room."""

import shutil
import subprocess
import threading
import time

import grpc
import pytest

from processes import BINARIES, SLOW, wait_until
from replay_client import numbered_rows
from test_replay import EPISODES, code_of, make_server, sealed, server, starts_of  # noqa: F401


def replay(*arguments, status=0):
    """The output of `hindcast replay ..`, which must end with `status`."""
    done = subprocess.run([BINARIES["hindcast"], "replay", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def episodes(numbers, transitions=10):
    return [(number + 1, number, numbered_rows(number, transitions)) for number in numbers]


def drawn(client, **options):
    """(episodes drawn, their ids) of one batch, over a table that is not sealed."""
    sampler = client.sampler(credit=1, **{"batch_snippets": 8, "snippet_transitions": 2, "seed": 1, **options})
    answer = sampler.next()
    sampler.close()
    return answer


def waits(client, words):
    def waiting():
        table = client.info()
        return table and [w for w in table.waiters if words in w.why]

    return wait_until(waiting, f"somebody to wait: {words}")


# ---- looking ----

def test_info_says_what_a_server_holds(server):  # noqa: F811
    client = server.client()
    client.insert("writer", EPISODES)
    for where in (server.workspace.run_dir, server.address, server.workspace.config):
        page = replay("info", where)
        assert f"server {server.address}" in page
        assert "table default\n" in page and "7 episodes, 2213 transitions" in page
        assert "writer     writer, generation 1, sequence 7" in page
        assert "remover                      fifo" in page
    sampler = client.sampler(credit=1, batch_snippets=4, snippet_transitions=2, require_sealed=True)
    waits(client, "seal")
    assert "waits      " in replay("info", server.address)
    sampler.close()
    assert "table other: not there" in replay("info", "--table=other", server.address, status=1)


@pytest.mark.parametrize("arguments, words", [
    (["info"], "WHERE is missing"),
    (["info", "--oldest=1", "x:1"], "no such flag"),
    (["info", "a:1", "b:2"], "WHERE is given already"),
    (["info", "nowhere"], "nowhere"),
    (["set", "localhost:1"], "nothing to set"),
    (["delete", "localhost:1"], "expected one of"),
    (["delete", "--all", "--oldest=3", "localhost:1"], "expected one of"),
    (["delete", "--oldest=-3", "localhost:1"], "expected a number"),
    (["delete", "--episodes=1,,2", "localhost:1"], "expected up to"),
])
def test_a_wrong_command_line_is_told(arguments, words):
    assert words in replay(*arguments, status=2)


def test_a_server_that_is_not_there_is_told(tmp_path):
    assert "unix:" in replay("info", tmp_path, status=1)


# ---- setting ----

def test_rates_and_limits_change_while_clients_wait(make_server):  # noqa: F811
    server = make_server(min_transitions=1000)  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(10), 30))
    sampler = client.sampler(credit=1, batch_snippets=8, snippet_transitions=2)
    waits(client, "min_transitions: 300 of 1000")
    page = replay("set", "min_transitions=200", "max_transitions=10000", "max_episodes=5", server.address)
    assert "min_transitions                200" in page and "max_transitions                10000" in page
    assert sampler.next().first_batch == 0
    sampler.close()
    # The next insert brings the table down to its new size.
    assert client.insert("writer", episodes([10], 30)) == (11, 1, 0)
    assert (client.info().episodes, client.info().transitions_limit) == (5, 10000)
    # A new start has the experiment's settings again.
    server.crash_and_restart()
    assert (client.info().min_transitions, client.info().transitions_limit) == (1000, 0)


@pytest.mark.parametrize("setting, words", [
    ("max_bites=3", 'did you mean "max_bytes"'),
    ("max_bytes=many", "expected bytes"),
    ("samples_per_insert=-1", "expected a number"),
    ("sampler=fifo", "start the server again"),
    ("max_transitions=10", "min_transitions 50 is above max_transitions 10"),
])
def test_settings_that_make_no_sense_change_nothing(make_server, setting, words):  # noqa: F811
    server = make_server(min_transitions=50)  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(2)))
    before = client.info().settings
    assert words in replay("set", "max_episodes=77", setting, server.address, status=1)
    assert client.info().settings == before


# ---- deleting ----

def test_episodes_are_deleted_for_good(server):  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(10)))
    ids = dict(sorted((identifier, None) for identifier in drawn_ids(client)))
    assert len(ids) == 10
    first, second, *_ = ids
    page = replay("delete", f"--episodes={first},{second},999999", server.address)
    assert "2 episodes deleted, 1 were not there, 8 left" in page
    assert "3 episodes deleted, 0 were not there, 5 left" in replay("delete", "--oldest=3", server.address)
    assert set(starts_of(client.draw(8, batch_snippets=64, snippet_transitions=2))[:, 0]) == {5, 6, 7, 8, 9}
    server.crash_and_restart()
    assert client.info().episodes == 5
    assert set(starts_of(client.draw(8, batch_snippets=64, snippet_transitions=2))[:, 0]) == {5, 6, 7, 8, 9}
    # What was deleted may come again, since its identity is not resident.
    assert client.insert("other", episodes(range(7)))[1:] == (7, 2)


def drawn_ids(client):
    """The ids of all episodes: a priority other than 1 makes the server send them."""
    request = client.wire.replay.UpdatePrioritiesRequest(table="default", episode_id=[1], priority=[2])
    client.stub.UpdatePriorities(request, timeout=30)
    return set(drawn(client, batch_snippets=500).episode_id)


def test_all_of_a_table_and_its_rates(make_server):  # noqa: F811
    server = make_server(min_transitions=10, samples_per_insert=1, samples_per_insert_tolerance=1000)  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(9)))
    client.draw(3, batch_snippets=8, snippet_transitions=2)
    assert client.info().transitions_sampled > 0
    page = replay("delete", "--all", "--reset", server.workspace.run_dir)
    assert "9 episodes deleted, 0 were not there, 0 left; the rates count from nothing" in page
    table = client.info()
    assert (table.episodes, table.transitions, table.bytes, table.transitions_sampled) == (0, 0, 0, 0)
    server.crash_and_restart()
    assert (client.info().episodes, client.info().transitions_sampled) == (0, 0)
    assert client.insert("writer", episodes(range(9, 12)))[1] == 3


def test_a_sealed_table_refuses_to_be_changed(sealed):  # noqa: F811
    server, client = sealed  # noqa: F811
    version = client.info().sealed_version
    for arguments in (["set", "max_episodes=1"], ["delete", "--all"], ["delete", "--episodes=1"]):
        assert "is sealed" in replay(*arguments, server.address, status=1)
    assert client.info().sealed_version == version and client.info().episodes == len(EPISODES)


def test_operating_needs_the_role(make_server, tmp_path):  # noqa: F811
    tokens = tmp_path / "tokens"
    tokens.write_text("writer-0123456789 insert,sample\noperator-0123456789 admin\n")
    server = make_server(tokens_file=str(tokens)) if not tokens.chmod(0o600) else None  # noqa: F811
    replay("info", server.address, status=1)  # nobody without a token
    for name, status in (("writer", 1), ("operator", 0)):
        file = tmp_path / name
        file.write_text(f"{name}-0123456789\n")
        file.chmod(0o600)
        flag = f"--experiment.token_file={file}"
        assert "server unix:" in replay("info", flag, server.address)
        assert "not there" in replay("delete", flag, "--oldest=1", server.address, status=1) or status
        assert ("role" in replay("set", flag, "max_episodes=1", server.address, status=1)) == bool(status)


def test_a_rate_does_not_wait_for_samples_of_a_table_that_holds_nothing(make_server):  # noqa: F811
    server = make_server(samples_per_insert=1, samples_per_insert_tolerance=100, min_transitions=20)  # noqa: F811
    client = server.client()
    opened = client.open_insert("writer")

    def fresh(numbers):
        for request in client.chunks("writer", opened, episodes(numbers, 30)):
            request.restored = False
            yield request

    assert sum(a.n_episodes for a in client.stub.Insert(fresh(range(5)), timeout=30)) == 5  # to the end of the tolerance
    replay("delete", "--all", server.address)  # without --reset: what was inserted stays counted
    assert sum(a.n_episodes for a in client.stub.Insert(fresh(range(5, 6)), timeout=30)) == 1
    # There is something to be sampled now, so that the rate holds again.
    with pytest.raises(grpc.RpcError) as error:
        list(client.stub.Insert(fresh(range(6, 7)), timeout=1))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


# ---- queues and heaps ----

def test_a_queue_gives_each_episode_once_and_inserts_wait_for_room(make_server):  # noqa: F811
    server = make_server(sampler="fifo", remover="wait", max_episodes=4, max_times_sampled=1)  # noqa: F811
    client = server.client()
    got = []

    def insert():
        got.append(client.insert("writer", episodes(range(20))))

    thread = threading.Thread(target=insert)
    thread.start()
    waits(client, "the table is full and its remover is wait")
    wait_until(lambda: client.info().episodes == 4, "the queue to be full")
    sampler = client.sampler(credit=1, batch_snippets=2, snippet_transitions=20)
    order = []
    for _ in range(10):
        answer = sampler.next()
        sampler.grant(1)
        rows = memoryview(answer.rows).cast("f")
        order += [int(rows[i * 21 * client.W]) for i in range(2)]
    assert order == list(range(20))
    thread.join(30)
    assert got == [(20, 20, 0)]
    waits(client, "max_times_sampled: 0 draws left of 2") if client.info().episodes else waits(client, "empty")
    sampler.close()
    wait_until(lambda: client.info().episodes == 0, "the queue to be empty")
    server.process.stop()
    server.process = server.workspace.serve("replay_server")
    assert client.info().episodes == 0


def test_a_crash_does_not_forget_how_often_episodes_were_sampled(make_server):  # noqa: F811
    server = make_server(max_times_sampled=40)  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(20)))
    first = dict(batch_snippets=8, snippet_transitions=1)
    taken = 0
    for seed in range(4):
        sampler = client.sampler(credit=3, seed=seed, **first)
        for _ in range(3):
            taken += len(sampler.next().n_valid)
        sampler.close()
        # What was drawn is in the store with one of the next ticks; a kill after that loses nothing.
        time.sleep(1)
        wait_until(lambda: server.workspace.metrics("replay_server")["hindcast_replay_times_unsaved"] == 0, "the commit")
        server.crash_and_restart()
    # Each of what is left is drawn before the table is empty, and nothing more.
    sampler = client.sampler(credit=1, seed=9, **first)
    left = 20 * 40 - taken
    while left >= 8:
        left -= len(sampler.next().n_valid)
        sampler.grant(1)
    assert left == 0
    wait_until(lambda: client.info().episodes == 0, "the table to be empty")
    sampler.close()


def test_what_is_used_up_stays_away_when_the_table_is_sealed(make_server):  # noqa: F811
    server = make_server(max_times_sampled=3)  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(12)))
    client.draw(4, batch_snippets=7, snippet_transitions=2)
    left = client.info().episodes
    assert left < 12
    answer = wait_until(lambda: sealed_answer(client), "the seal")
    assert answer.version == client.info().sealed_version
    # Sealed, it is drawn from as often as anybody likes.
    before = client.draw(30, batch_snippets=16, snippet_transitions=2, seed=4)
    server.crash_and_restart()
    assert (client.info().episodes, client.info().sealed_version) == (left, answer.version)
    again = client.draw(30, batch_snippets=16, snippet_transitions=2, seed=4)
    assert all((a[1] == b[1]).all() for a, b in zip(before, again))


def sealed_answer(client):
    try:
        return client.seal("writer")
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED), error
        return None


def test_heaps_choose_by_priority(make_server):  # noqa: F811
    server = make_server(tables={  # noqa: F811
        "best": {"sampler": "max_heap", "remover": "min_heap", "max_episodes": 4}})
    client = server.client(table="best")
    client.insert("writer", episodes(range(4)))
    ids = []
    for priority in (5, 4, 3):  # one after another the drawn one falls to the end
        answer = drawn(client)
        [identifier] = set(answer.episode_id)
        assert set(answer.probability) == {0.1}
        ids.append(identifier)
        request = server.wire.replay.UpdatePrioritiesRequest(table="best", episode_id=[identifier],
                                                             priority=[priority / 10])
        client.stub.UpdatePriorities(request, timeout=30)
    assert ids == sorted(ids) and len(set(ids)) == 3
    # The lowest priority goes first, and a restart knows the priorities.
    server.crash_and_restart()
    client.insert("writer", episodes([4]))
    client.insert("writer", episodes([5]))
    code, _ = code_of(client.stub.Delete, server.wire.replay.DeleteRequest(table="none"), timeout=30)
    assert code == grpc.StatusCode.NOT_FOUND
    answer = client.stub.Delete(server.wire.replay.DeleteRequest(table="best", episode_id=ids), timeout=30)
    assert (answer.deleted, answer.absent) == (1, 2)  # priorities 0.3 and 0.4 were removed for the new ones


# ---- a copy, and the way back ----

def test_a_restore_drill(server):  # noqa: F811
    """docs/replay_server.md, "Restoring a copy": the commands of that page, with a writer that goes on all the time."""
    client = server.client()
    client.insert("writer", EPISODES)
    client.seal("writer")
    other = server.client(table="other")
    stop = threading.Event()
    inserted = []

    def insert():
        for number in range(1, 100000):
            other.insert("writer", [(number, number, numbered_rows(number, 300))])
            inserted.append(number)
            if stop.is_set():
                return

    thread = threading.Thread(target=insert)
    thread.start()
    wait_until(lambda: len(inserted) > 5, "some inserts")
    before = len(inserted)
    page = replay("dump", "--name=monday", server.workspace.run_dir)
    after = len(inserted)
    copy = server.workspace.run_dir / "replay-dumps" / "monday"
    assert f"copied to {copy}" in page and (copy / "data.mdb").is_file()
    wait_until(lambda: len(inserted) > after + 5, "inserts after the copy")
    assert "is there already" in replay("dump", "--name=monday", server.workspace.run_dir, status=1)
    assert "letters" in replay("dump", "--name=../up", server.workspace.run_dir, status=1)
    assert "copied to" in replay("dump", server.workspace.run_dir)
    stop.set()
    thread.join(30)
    batches = client.draw(6, batch_snippets=32, snippet_transitions=8, seed=5)
    version = client.info().sealed_version

    # The disk is lost: the copy takes the store's place.
    server.process.kill()
    store = server.workspace.run_dir / "replay"
    shutil.rmtree(store)
    shutil.copytree(copy, store)
    server.process = server.workspace.serve("replay_server")
    assert client.info().sealed_version == version
    again = client.draw(6, batch_snippets=32, snippet_transitions=8, seed=5)
    assert all((a[1] == b[1]).all() for a, b in zip(batches, again))
    # The other table is what it was at some moment of the copying, and its writer is told where to go on.
    opened = other.open_insert("writer")
    assert before <= opened.last_sequence <= after + 1
    assert other.info().episodes == opened.last_sequence
    rows = numbered_rows(opened.last_sequence + 1, 300)
    assert other.insert("writer", [(opened.last_sequence + 1, opened.last_sequence + 1, rows)], opened)[1] == 1


def test_a_server_that_ends_leaves_no_half_copy(make_server):  # noqa: F811
    server = make_server()  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(40), 1000))
    future = client.stub.Dump.future(server.wire.replay.DumpRequest(name="half"), timeout=30)
    server.process.stop()
    dumps = server.workspace.run_dir / "replay-dumps"
    assert isinstance(future.exception(), grpc.RpcError) or (dumps / "half" / "data.mdb").is_file()
    assert not (dumps / "half.tmp").exists()


# ---- compaction ----

def test_what_an_interrupted_compaction_left_is_removed(server):  # noqa: F811
    client = server.client()
    client.insert("writer", EPISODES)
    server.process.kill()
    store = server.workspace.run_dir / "replay"
    for name in ("compact", "compact.tmp"):
        (store / name).mkdir()
        (store / name / "data.mdb").write_bytes(b"half")
    server.process = server.workspace.serve("replay_server")
    assert client.info().episodes == len(EPISODES)
    assert {path.name for path in store.iterdir()} == {"data.mdb", "lock", "lock.mdb"}


@pytest.mark.parametrize("durability", ["each", "interval", "none"])
def test_a_store_shrinks_while_it_is_sampled_from(make_server, durability):  # noqa: F811
    server = make_server(durability=durability, sync_ms=50)  # noqa: F811
    client = server.client()
    client.insert("writer", episodes(range(300), 1000))
    ask = dict(batch_snippets=64, snippet_transitions=8)
    stop, drawn_batches, inserted = threading.Event(), [], []

    def sample():
        while not stop.is_set():
            drawn_batches.extend(client.draw(4, seed=len(drawn_batches), **ask))

    def insert():
        for number in range(1000, 100000):
            other.insert("writer", [(number, number, numbered_rows(number, 100))])
            inserted.append(number)
            if stop.is_set():
                return

    other = server.client(table="other")
    threads = [threading.Thread(target=sample), threading.Thread(target=insert)]
    for thread in threads:
        thread.start()
    replay("delete", "--oldest=280", server.address)
    for _ in range(3):
        before = len(drawn_batches), len(inserted)
        page = replay("compact", server.address)
        wait_until(lambda: len(drawn_batches) > before[0] and len(inserted) > before[1] + 3, "work to go on")
    stop.set()
    for thread in threads:
        thread.join(30)
    file = server.workspace.run_dir / "replay" / "data.mdb"
    assert "MB before" in page and file.stat().st_size < 30 * 1001 * 25 * 4 + (8 << 20)
    for _, rows in drawn_batches:  # rows are what was sent, whichever file they came from
        for snippet in rows[::16, 0]:
            number, start = snippet[:2].astype(int)
            assert snippet.tobytes() == numbered_rows(number, 1000)[start].tobytes()
    last = inserted[-1]
    version = client.seal("writer").version
    whole = client.draw(4, seed=5, **ask)
    replay("compact", server.address)  # sealed tables as well
    server.crash_and_restart()
    assert client.info().sealed_version == version and client.info().episodes == 20
    assert all((a[1] == b[1]).all() for a, b in zip(whole, client.draw(4, seed=5, **ask)))
    assert other.open_insert("writer").last_sequence == last
    assert other.info().episodes == len(inserted)
