"""hindcast-restorer against a real server: everything once, whatever is killed; bad logs told; rewards computed."""

import json
import signal
import time

import h5py
import numpy as np

import logs
from processes import BINARIES, wait_until
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
    assert strict.wait() == 2 and "restorer.max_bad is 1" in strict.tail()
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
    assert restorer.wait() == 2
    assert "none of 2 episodes was good" in restorer.tail() and "row 0, component 0: 3" in restorer.tail()


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


def test_equal_metadata_does_not_make_logs_the_same(workspace, wire):
    """Two folders with one metadata.json and one file name: all episodes are there; a copy counts once, and is told."""
    folder = workspace.folder / "logs"
    for robot, numbers in (("a", (0, 1, 2)), ("b", (3, 4, 5)), ("copy-of-b", (3, 4, 5))):
        logs.write_dataset(folder / robot, [[logs.episode(i, T) for i in numbers]])
    configure(workspace, {"folder": str(folder)})
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    restorer.succeed()
    table = client_of(workspace, wire).info()
    assert (table.episodes, table.episodes_duplicate, table.sealed) == (6, 3, True)
    assert "episodes=6 " in restorer.tail() and "3 of 9 episodes are copies" in restorer.tail()
    assert workspace.json("restorer.json")["copies"] == 3


def made_by_the_collector(workspace, name, episodes):
    """A dataset whose metadata.json lists checksums."""
    workspace.configure(experiment={"environment": "cheetah-run", "seed": 4 + len(name)},
                        collector={"act": "random", "shard_episodes": episodes, "folder": str(workspace.folder / name)})
    workspace.start("collector", f"--episodes={episodes}", label=name).succeed()
    return workspace.folder / name


def test_one_identity_with_other_contents_names_both_files(workspace):
    one, other = made_by_the_collector(workspace, "one", 1), made_by_the_collector(workspace, "other", 1)
    (other / "metadata.json").write_text((one / "metadata.json").read_text())
    configure(workspace, {"folder": str(workspace.folder)})
    restorer = workspace.start("restorer")
    assert restorer.wait() == 2
    for part in (f"{one}/shard-00000.hdf5", f"{other}/shard-00000.hdf5", "the same xxh64 but have other contents"):
        assert part in restorer.tail()


def test_a_table_made_of_other_logs_is_refused(workspace, wire):
    folder, _ = write(workspace, 6, files=2)
    script = workspace.folder / "reward.lua"
    script.write_text("return { run = function() return 1 end }")
    configure(workspace, {"folder": str(folder), "relabel": str(script)})
    workspace.serve("replay_server")
    workspace.start("restorer", label="first").succeed()
    made_of = workspace.json("restorer.json")["made_of"]
    assert [len(one["files"]) for one in made_of["logs"]] == [2]

    def refused(label, word):
        restorer = workspace.start("restorer", label=label)
        assert restorer.wait() == 2
        for part in (word, "experiment.name", "--restore-anew"):
            assert part in restorer.tail(), restorer.tail()

    # The same contents at another time or place are the same logs.
    for path in folder.iterdir():
        path.touch()
    workspace.start("restorer", label="touched").succeed()
    folder = folder.rename(workspace.folder / "moved")
    configure(workspace, {"folder": str(folder), "relabel": str(script)})
    workspace.start("restorer", label="moved").succeed()
    # Another script, another file, a file more, another mapping.
    script.write_text("return { run = function() return 5 end }")
    refused("script", "the script of restorer.relabel is another one")
    script.write_text("return { run = function() return 1 end }")
    before = (folder / "log-001.hdf5").read_bytes()
    logs.write_file(folder / "log-001.hdf5", [logs.episode(77, T) for _ in range(3)])
    refused("file", "log-001.hdf5 has other contents")
    (folder / "log-001.hdf5").write_bytes(before)
    logs.write_file(folder / "log-002.hdf5", [logs.episode(78, T)])
    refused("more", "log-002.hdf5 is not among the files it was made of")
    (folder / "log-002.hdf5").unlink()
    (folder / "metadata.json").write_text(json.dumps({"signature": logs.SIGNATURE, "remark": 1}))
    refused("mapping", "the metadata.json of")
    assert client_of(workspace, wire).info().episodes == 6


def test_restore_anew_makes_the_table_of_the_logs_as_they_are(workspace):
    folder = workspace.folder / "logs"

    def up(label, reward, *flags):
        episodes = [logs.episode(i, T) for i in range(3)]
        for one in episodes:
            one["rewards"][:] = reward
        logs.write_dataset(folder, [episodes])
        workspace.configure(restorer={"folder": str(folder)}, replay_server={"map_bytes": 64 << 20},
                            up={"evaluators": 0},
                            learner={"batch_snippets": 8, "snippet_transitions": 4, "samples": 4, "widths": [16, 16],
                                     "steps": 20 * reward, "publish_every": 20, "report_every": 10})
        return workspace.start_command(label, BINARIES["hindcast"], "up", workspace.folder / "experiment.yaml", *flags)

    up("first", 1).succeed()
    assert workspace.json("restorer.json")["returns"]["run"]["mean"] == T
    refused = up("refused", 5)
    assert refused.wait() == 2 and "log-000.hdf5 has other contents" in refused.tail()
    assert workspace.json("restorer.json")["returns"]["run"]["mean"] == T
    up("anew", 5, "--restore-anew").succeed()
    assert workspace.json("restorer.json")["returns"]["run"]["mean"] == 5 * T
    assert workspace.json("summary.json")["logged_return_mean"] == 5 * T


def test_logs_that_do_not_fit_the_table_are_refused(workspace, wire):
    """At once, naming what they need and the option; and not sealed where only the server could know."""
    folder, _ = write(workspace, 20)
    configure(workspace, {"folder": str(folder)}, max_transitions=10 * T)
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    assert restorer.wait() == 2
    for part in (f"{20 * T} transitions", f"max_transitions is {10 * T}", f"at least {20 * T}"):
        assert part in restorer.tail()
    assert client_of(workspace, wire).info().episodes == 0


def test_bytes_that_do_not_fit_and_logs_that_do_not_tell_their_size(workspace, wire):
    folder = workspace.folder / "logs"
    logs.write_dataset(folder, [[logs.episode(i, 1000) for i in range(20)]])
    configure(workspace, {"folder": str(folder)}, max_bytes=1 << 20)
    workspace.serve("replay_server")
    restorer = workspace.start("restorer")
    need = 20 * 1001 * 25 * 4
    assert restorer.wait() == 2 and f"they need {need} bytes" in restorer.tail() and "map_bytes" in restorer.tail()
    # Without total_steps nothing is known before; the table that has removed episodes is not sealed.
    with h5py.File(folder / "log-000.hdf5", "r+") as file:
        for group in file.values():
            del group.attrs["total_steps"]
    restorer = workspace.start("restorer", label="again")
    assert restorer.wait() == 2 and "is not sealed" in restorer.tail()
    assert not client_of(workspace, wire).info().sealed


def test_actions_beyond_their_limits_are_clipped_where_asked(workspace, wire):
    folder = workspace.folder / "logs"
    wild = logs.episode(1, T)
    wild["actions"][3, 2], wild["actions"][4, 0] = 1.5, -7
    logs.write_dataset(folder, [[wild]])
    configure(workspace, {"folder": str(folder)})
    workspace.serve("replay_server")
    refused = workspace.start("restorer", label="refused")
    assert refused.wait() == 2 and "row 3, component 2: 1.5, expected -1..1" in refused.tail()
    restorer = workspace.start("restorer", "--actions=clip")
    restorer.succeed()
    assert "clipped values=2" in restorer.tail()
    note = workspace.json("restorer.json")
    assert (note["episodes"], note["bad"], note["actions_clipped"]) == (1, 0, 2)
    wild["actions"] = wild["actions"].clip(-1, 1)
    client = client_of(workspace, wire)
    for n_valid, batch in client.draw(4, batch_snippets=32, snippet_transitions=5, seed=4):
        for n, snippet in zip(n_valid, batch):
            t = int(round(snippet[0, 0])) % 1000
            assert np.array_equal(snippet[:n], logs.rows(wild)[t:t + n])


def test_another_signature_is_refused(workspace, wire):
    folder, _ = write(workspace, 3)
    configure(workspace, {"folder": str(folder)})
    workspace.serve("replay_server")
    other = client_of(workspace, wire, cheetah_signature(wire, velocity=8))
    other.open_insert("somebody")
    restorer = workspace.start("restorer")
    assert restorer.wait() == 2
    assert "velocity(8) here, velocity(9) there" in restorer.tail()
    other.close()
