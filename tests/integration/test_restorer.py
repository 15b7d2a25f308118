"""hindcast-restorer against a real server: everything once, whatever is killed; bad logs told; rewards computed."""

import signal
import time

import numpy as np

import logs
from processes import wait_until
from replay_client import Client, cheetah_signature

T = 50


def write(workspace, n, files=4, **kwargs):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(i, T, **kwargs) for i in range(n)]
    logs.write_dataset(folder, [episodes[i::files] for i in range(files)])
    return folder, episodes


def configure(workspace, restorer, **replay_server):
    workspace.configure(experiment={"seed": 5}, restorer=restorer,
                        replay_server={"map_bytes": 256 << 20, **replay_server})


def client_of(workspace, wire, signature=None):
    return Client(wire, f"unix:{workspace.run_dir}/replay.sock", signature or cheetah_signature(wire))


def metric(workspace, name):
    return workspace.metrics("restorer").get(f"hindcast_restorer_{name}", 0)


def test_it_waits_for_the_server_then_seals(workspace, wire):
    folder, episodes = write(workspace, 20)
    configure(workspace, {"folder": str(folder)})
    restorer = workspace.start("restorer")
    wait_until(lambda: "waiting for the replay server" in (workspace.status("restorer") or {"text": ""})["text"],
               "it to say what it waits for", alive=restorer)
    workspace.serve("replay_server")
    restorer.succeed()
    table = client_of(workspace, wire).info()
    assert (table.episodes, table.transitions, table.sealed) == (20, 20 * T, True)
    note = workspace.json("restorer.json")
    assert (note["episodes"], note["bad"], note["datasets"]) == (20, 0, [str(folder)])
    returns = [float(one["rewards"].astype(np.float64).sum()) for one in episodes]
    assert np.isclose(note["returns"]["run"]["p90"], np.percentile(returns, 90))
    # Again: nothing to do, and the note stays.
    workspace.start("restorer", label="again").succeed()
    assert workspace.json("restorer.json") == note


def test_no_server_ends_with_its_address(workspace):
    folder, _ = write(workspace, 2)
    configure(workspace, {"folder": str(folder), "connect_timeout": 1})
    began = time.monotonic()
    restorer = workspace.start("restorer")
    assert restorer.wait(15) == 1
    assert time.monotonic() - began < 10
    assert "replay.sock" in restorer.tail()


def test_wrong_options_are_told(workspace):
    folder, _ = write(workspace, 2)
    for restorer, word in (({}, "restorer.folder"), ({"folder": str(folder), "index": 2, "count": 2}, "restorer.index"),
                           ({"folder": str(workspace.folder / "nowhere")}, "nowhere"),
                           ({"folder": str(folder), "rewards": ["fly"]}, "reward fly")):
        configure(workspace, restorer)
        process = workspace.start("restorer", label=f"restorer-{word}")
        assert process.wait() == 2 and word in process.tail()


def test_kills_lose_and_double_nothing(workspace, wire):
    folder, _ = write(workspace, 400, files=7)
    configure(workspace, {"folder": str(folder), "in_flight": 65536, "prefetch": 4})
    server = workspace.serve("replay_server")
    ends, starts = 0, 0
    while not ends and starts < 30:
        restorer = workspace.start("restorer", label=f"restorer-{starts}")
        starts += 1
        time.sleep(0.03 + 0.013 * starts)
        if starts % 4 == 0:
            server.kill()
            server = workspace.serve("replay_server")
        if starts < 12:
            restorer.kill()
            ends = restorer.ended() == 0
        else:
            restorer.succeed()
            ends = True
    client = client_of(workspace, wire)
    table = client.info()
    assert (table.episodes, table.transitions, table.sealed) == (400, 400 * T, True)
    firsts = set()
    for _, batch in client.draw(60, batch_snippets=256, snippet_transitions=1, seed=2):
        firsts |= {int(round(value)) // 1000 for value in batch[:, 0, 0]}
    assert firsts == set(range(400))


def test_restorers_share_the_logs(workspace, wire):
    folder, _ = write(workspace, 30, files=3)
    configure(workspace, {"folder": str(folder), "count": 4})
    workspace.serve("replay_server")
    restorers = [workspace.start("restorer", f"--index={i}", label=f"restorer-{i}") for i in range(3)]
    for restorer in restorers:
        restorer.succeed()
    table = client_of(workspace, wire).info()
    assert not table.sealed and table.episodes < 30
    workspace.start("restorer", "--index=3", label="restorer-3").succeed()
    table = client_of(workspace, wire).info()
    assert (table.episodes, table.sealed) == (30, True)


def test_the_same_table_whatever_the_way(workspace, wire):
    """One restorer or three in turn, shuffled or not: the same draws from the sealed table."""
    folder, _ = write(workspace, 30, files=3)
    draws = []
    for count in (1, 3):
        other = type(workspace)()
        try:
            configure(other, {"folder": str(folder), "count": count, "shuffle": count == 1})
            other.serve("replay_server")
            for i in reversed(range(count)):
                other.start("restorer", f"--index={i}", label=f"restorer-{i}").succeed()
            client = client_of(other, wire)
            draws.append(client.draw(3, batch_snippets=16, snippet_transitions=4, seed=9))
            client.close()
        finally:
            other.close()
    for (n_valid, rows), (other_n_valid, other_rows) in zip(*draws):
        assert np.array_equal(n_valid, other_n_valid) and np.array_equal(rows, other_rows)


def test_bad_logs_are_left_out_and_told(workspace, wire):
    folder, _ = write(workspace, 12, files=3)
    bad = logs.episode(99, T)
    bad["observations"][7, 3] = np.inf
    logs.write_file(folder / "log-003.hdf5", [logs.episode(50, T), bad])
    (folder / "log-004.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 3000)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    configure(workspace, {"folder": str(folder), "max_bad": 1})
    workspace.serve("replay_server")
    strict = workspace.start("restorer", label="strict")
    assert strict.wait() == 1 and "restorer.max_bad is 1" in strict.tail()
    restorer = workspace.start("restorer", "--max_bad=-1")
    restorer.succeed()
    # A restart goes on behind what is committed: what was told before that is not told again.
    told = strict.tail() + restorer.tail()
    assert "log-003.hdf5: episode_1: row 7, observation position[3]: inf is not finite" in told
    assert "log-004.hdf5: not a whole HDF5 file" in told
    table = client_of(workspace, wire).info()
    assert (table.episodes, table.sealed) == (13, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_nothing_good_is_a_failure(workspace):
    folder = workspace.folder / "logs"
    one = logs.episode(1, T)
    one["actions"][0, 0] = 3
    logs.write_dataset(folder, [[one, one]])
    configure(workspace, {"folder": str(folder)})
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    assert restorer.wait() == 1
    assert "none of 2 episodes was good" in restorer.tail() and "row 0, action 0" in restorer.tail()


def test_round_and_round_at_the_servers_pace(workspace, wire):
    """A table smaller than the logs: it goes round, waits for samples, and leaves at once when told."""
    folder, _ = write(workspace, 40)
    configure(workspace, {"folder": str(folder), "mode": "loop", "in_flight": 65536, "prefetch": 2},
              max_transitions=10 * T, samples_per_eviction=2)
    workspace.serve("replay_server")
    restorer = workspace.serve("restorer")
    client = client_of(workspace, wire)
    wait_until(lambda: (info := client.info()) and info.waiters and info.episodes >= 9, "an insert to wait")
    time.sleep(0.3)
    held = client.info()
    assert held.episodes_removed <= 12 and not held.sealed
    time.sleep(0.5)
    assert client.info().transitions_inserted == held.transitions_inserted
    numbers = set()
    first = 0

    def two_rounds():
        nonlocal first
        for _, batch in client.draw(4, batch_snippets=64, snippet_transitions=2, seed=3, first_batch=first):
            numbers.update(int(round(value)) // 1000 for value in batch[:, 0, 0])
        first += 4
        return metric(workspace, "pass") >= 2

    wait_until(two_rounds, "two passes", alive=restorer)
    assert numbers == set(range(40))
    began = time.monotonic()
    restorer.stop(10)
    assert time.monotonic() - began < 6
    # A restart goes on where it was: behind what is resident.
    again = workspace.serve("restorer")
    wait_until(lambda: "going on" in again.tail(), "it to go on", alive=again)
    again.signal(signal.SIGKILL)
    client.close()


def test_rewards_are_chosen_and_computed(workspace, wire):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(i, T, K=2) for i in range(5)]
    logs.write_dataset(folder, [episodes], logs.SIGNATURE | {"rewards": ["run", "walk"]})
    script = workspace.folder / "rewards.lua"
    script.write_text("""
        return { leap = function(now, action, after)
            return math.max(after.velocity[1] - now.velocity[1], 0) + action[6] / 2
        end }""")
    configure(workspace, {"folder": str(folder), "relabel": str(script), "rewards": ["leap", "walk"]})
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    client = client_of(workspace, wire, cheetah_signature(wire, rewards=("leap", "walk")))
    for n_valid, batch in client.draw(4, batch_snippets=32, snippet_transitions=5, seed=4):
        for n, snippet in zip(n_valid, batch):
            number, t = divmod(int(round(snippet[0, 0])), 1000)
            one = episodes[number]
            velocity = one["observations"][t:t + n + 1, 8].astype(np.float64)
            leap = np.maximum(np.diff(velocity), 0) + one["actions"][t:t + n, 5].astype(np.float64) / 2
            assert np.allclose(snippet[:n, 23], leap, atol=1e-6)
            assert np.array_equal(snippet[:n, 24], one["rewards"][t:t + n, 1])
    assert "leap" in workspace.json("restorer.json")["returns"]
    client.close()


def test_another_signature_is_refused(workspace, wire):
    folder, _ = write(workspace, 3)
    configure(workspace, {"folder": str(folder)})
    workspace.serve("replay_server")
    other = client_of(workspace, wire, cheetah_signature(wire, velocity=8))
    other.open_insert("somebody")
    restorer = workspace.start("restorer")
    assert restorer.wait() == 1
    assert "velocity(8) here, velocity(9) there" in restorer.tail()
    other.close()
