"""Prioritized learning with real processes: TD errors come back as priorities, through crashes, from every rank."""

import json
import os
import signal

import h5py
import numpy as np
import pytest

from processes import wait_until
from replay_client import Client
from test_learner import LEARNER, last_step, reports
from test_ranks import assert_near, differing, learned, mpirun, pid_of, start_all

EPISODES, LENGTH = 24, 30
REWARDING = (3, 17)  # episodes that have rewards


def write_logs(folder):
    """Random walks; all rewards are in two episodes, and cannot be predicted."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    signature = {"observation": [{"name": "position", "size": 5}], "action": {"min": [-1, -1], "max": [1, 1]},
                 "rewards": ["run"], "control_period_s": 0.02}
    (folder / "metadata.json").write_text(json.dumps({"signature": signature}))
    with h5py.File(folder / "shard-00000.hdf5", "w") as file:
        for i in range(EPISODES):
            group = file.create_group(f"episode_{i}")
            observations = rng.standard_normal((LENGTH + 1, 5)).cumsum(0).astype("f4") / 8
            observations[:, 0] = i / EPISODES  # by which it is recognized
            group["observations"] = observations
            group["actions"] = rng.uniform(-1, 1, (LENGTH, 2)).astype("f4")
            group["rewards"] = (10 * (i in REWARDING) * rng.standard_normal(LENGTH)).astype("f4")
            group["terminations"] = np.zeros(LENGTH, bool)
            group["truncations"] = np.arange(LENGTH) == LENGTH - 1
            group.attrs["id"] = i
            group.attrs["total_steps"] = LENGTH


def make(workspace, n_servers=1, mode="once"):
    """Replay servers and an experiment file for all roles. The logs are in them, sealed, or on their way (mode loop)."""
    write_logs(workspace.folder / "logs")
    addresses = [f"unix:{workspace.folder}/replay-{i}.sock" for i in range(n_servers)]
    workspace.configure(experiment={"name": "test", "seed": 3, "replay": addresses},
                        learner={**LEARNER, "normalize": "none", "lr": 1e-3},
                        restorer={"folder": str(workspace.folder / "logs"), "mode": "once"})
    workspace.addresses = addresses
    workspace.servers = [start_server(workspace, i) for i in range(n_servers)]
    workspace.restorer = workspace.start("restorer", f"--mode={mode}")
    if mode == "once":
        workspace.restorer.succeed(30)
    return workspace


def start_server(workspace, i=0, *flags):
    return workspace.start("replay_server", f"--run_dir={workspace.folder}/server-{i}",
                           f"--listen={workspace.addresses[i]}", *flags, label=f"replay-{i}")


@pytest.fixture
def sealed(workspace):
    return make(workspace)


def signature(wire):
    return wire.replay.Signature(
        observation=[wire.replay.Signature.Slice(name="position", size=5)], action_min=[-1.0] * 2, action_max=[1.0] * 2,
        rewards=["run"], control_period_s=0.02)


def look(workspace, wire, i=0, batches=8):
    """{episode: (id, probability of one of its starts)} of a server, and its transitions; probabilities add up to 1."""
    client = Client(wire, workspace.addresses[i], signature(wire))
    sampler = client.sampler(credit=batches, batch_snippets=512, snippet_transitions=1, seed=1, origins=True)
    found = {}
    for _ in range(batches):
        answer = sampler.next()
        rows = np.frombuffer(answer.rows, "<f4").reshape(len(answer.n_valid), 2, -1)
        for row, episode_id, probability in zip(rows[:, 0], answer.episode_id, answer.probability):
            found[round(float(row[0]) * EPISODES)] = (episode_id, probability)
        transitions = answer.table_transitions
    sampler.close()
    client.close()
    assert abs(sum(LENGTH * probability for _, probability in found.values()) - 1) < 1e-9
    return found, transitions


def set_priorities(workspace, wire, priority_of, i=0):
    client = Client(wire, workspace.addresses[i], signature(wire))
    found, _ = look(workspace, wire, i)
    answer = client.stub.UpdatePriorities(wire.replay.UpdatePrioritiesRequest(
        table="default", episode_id=[episode_id for episode_id, _ in found.values()],
        priority=[priority_of(episode) for episode in found]), timeout=30)
    client.close()
    assert answer.updated == len(found) and answer.absent == 0


def sent(workspace, role="learner", outcome="updated"):
    return workspace.metrics(role).get(f'hindcast_learner_priorities_total{{outcome="{outcome}"}}', 0)


def test_priorities_come_back_through_crashes(sealed, wire):
    even, transitions = look(sealed, wire)
    assert len(even) == EPISODES and transitions == EPISODES * LENGTH
    assert {probability for _, probability in even.values()} == {1 / transitions}

    def start():  # with gamma 0 errors are those of predicting the rewards
        return sealed.start("learner", "--priorities=td_error", "--steps=0", "--gamma=0")

    learner = start()
    wait_until(lambda: sent(sealed) > 3 * EPISODES, "priorities of all episodes", alive=learner)
    sealed.servers[0].kill()
    before = sent(sealed)
    sealed.servers[0] = start_server(sealed)
    wait_until(lambda: sent(sealed) > before + 3 * EPISODES, "priorities after the server's return", alive=learner)
    assert sent(sealed, outcome="lost") == sent(sealed, outcome="absent") == 0
    learner.kill()
    learner = start()
    wait_until(lambda: sent(sealed) > 3 * EPISODES, "priorities after the learner's return", alive=learner)
    assert last_step(sealed.run_dir) > 0
    learner.stop()
    assert "is not the one this run learned from" not in learner.output.read_text()

    # Where the rewards are there is more to learn.
    uneven, _ = look(sealed, wire, batches=64)
    assert len(uneven) == EPISODES
    chances = {episode: probability for episode, (_, probability) in uneven.items()}
    others = [chances[episode] for episode in chances if episode not in REWARDING]
    assert np.mean([chances[episode] for episode in REWARDING]) > 1.5 * np.mean(others), chances
    for report in reports(sealed.run_dir):
        assert 0 < report["importance_weight"] <= 1 and report["td_error"] > 0
    # They are in the store.
    sealed.servers[0].kill()
    sealed.servers[0] = start_server(sealed)
    assert look(sealed, wire, batches=64)[0] == uneven


def in_order(workspace, wire):
    """The version and the first transitions of a table that is read in order."""
    client = Client(wire, workspace.addresses[0], signature(wire))
    sampler = client.sampler(credit=1, batch_snippets=64, snippet_transitions=1, in_order=True)
    answer = sampler.next()
    sampler.close()
    client.close()
    return answer.table_version, list(answer.episode_id), answer.rows


def test_reading_in_order_does_not_see_priorities(sealed, wire):
    """An evaluation from logs reads a table while a learner changes its priorities."""
    before = in_order(sealed, wire)
    set_priorities(sealed, wire, lambda episode: 0.5 + episode)
    assert before[0] != 0 and in_order(sealed, wire) == before


def test_a_weighted_run_repeats_and_ranks_agree_on_the_weights(sealed, wire):
    """With priorities that do not change a sealed table's run repeats, however many learners share a batch. Over MPI
    the bits are those of gRPC: the largest weight of the batch is found among all ranks, not in each rank's slice."""
    set_priorities(sealed, wire, lambda episode: 0.5 + episode)
    folders = {name: sealed.folder / name for name in ("one", "again", "three", "mpi", "unweighted")}
    for name, flags in (("one", ["--priorities=table"]), ("again", ["--priorities=table"]), ("unweighted", [])):
        sealed.start("learner", f"--run_dir={folders[name]}", "--steps=200", "--threads=1", *flags, label=name).succeed()
    for process in start_all(sealed, folders["three"], 3, 200, "--slices=1,5,2", "--priorities=table"):
        process.succeed()
    mpirun(sealed, folders["mpi"], "mpirun", 200, "--slices=1,5,2", "--priorities=table", ranks=3).succeed()
    left = {name: learned(folder) for name, folder in folders.items()}
    assert differing(left["one"], left["again"]) == []
    assert_near(left["one"], left["three"])
    assert differing(left["three"], left["mpi"]) == []
    assert reports(folders["three"]) == reports(folders["mpi"])
    assert differing(left["one"], left["unweighted"]) != []
    assert np.allclose([report["importance_weight"] for report in reports(folders["one"])],
                       [report["importance_weight"] for report in reports(folders["three"])], rtol=1e-6)


def test_a_table_without_a_prioritized_sampler_is_refused(sealed):
    sealed.servers[0].stop()
    sealed.servers[0] = start_server(sealed, 0, "--sampler=uniform")
    learner = sealed.start("learner", "--priorities=td_error")
    assert learner.wait() == 2
    assert "table default has the sampler uniform: expected prioritized" in learner.output.read_text()


@pytest.mark.parametrize("over", ["grpc", "mpi"])
def test_every_rank_sends_to_every_server(workspace, wire, over):
    make(workspace, 2)
    for i in range(2):
        set_priorities(workspace, wire, lambda episode: 1.5, i)
    run_dir = workspace.folder / "ranks"
    start = start_all if over == "grpc" else lambda *args: [mpirun(*args[:2], "mpirun", *args[3:])]
    ranks = start(workspace, run_dir, 2, 0, "--priorities=td_error")
    workspace.run_dir = run_dir
    wait_until(lambda: min(sent(workspace, role) for role in ("learner", "learner-1")) > 3 * EPISODES,
               "priorities of both ranks", alive=ranks[0])
    for role in ("learner", "learner-1"):
        assert sent(workspace, role, "lost") == sent(workspace, role, "absent") == 0
    if over == "mpi":  # SIGTERM to mpirun would kill its processes one second later
        os.kill(pid_of(run_dir), signal.SIGTERM)
        ranks[0].succeed()
    else:
        for process in ranks:
            process.stop()
    episodes = [look(workspace, wire, i, 64)[0] for i in range(2)]
    assert sum(map(len, episodes)) == EPISODES and all(episodes)
    for found in episodes:
        assert len({probability for _, probability in found.values()}) == len(found)
