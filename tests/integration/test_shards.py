"""Several replay servers as one: shares by size, episodes by identity, one that is lost, one that moves."""

import os
import socket
import subprocess

import pytest

from processes import BINARIES, wait_until
from replay_client import Client
from test_learner import last_step
from test_priorities import EPISODES, LENGTH, make, sent, signature, start_server


def tables(workspace, wire):
    """The table of each server."""
    found = []
    for address in workspace.addresses:
        client = Client(wire, address, signature(wire))
        found.append(client.info())
        client.close()
    return found


def away(workspace):
    return workspace.metrics("learner").get("hindcast_learner_replay_servers_away")


def test_episodes_go_by_identity_and_batches_by_size(workspace, wire):
    make(workspace, 3)
    before = tables(workspace, wire)
    assert sum(table.episodes for table in before) == EPISODES and all(table.episodes for table in before)
    # The same logs again are all there already, each where it was.
    workspace.start("restorer", f"--run_dir={workspace.folder}/again", label="again").succeed(30)
    assert [table.episodes for table in tables(workspace, wire)] == [table.episodes for table in before]
    learner = workspace.start("learner", "--steps=0", "--batch_snippets=48")
    wait_until(lambda: last_step(workspace.run_dir) >= 200, "200 steps", alive=learner)
    learner.stop()
    drawn = [table.snippets_sampled for table in tables(workspace, wire)]
    for table, snippets in zip(before, drawn):
        wanted = table.transitions / (EPISODES * LENGTH)
        assert abs(snippets / sum(drawn) - wanted) < 1 / 48 + 0.01, (drawn, [table.transitions for table in before])


def test_a_sealed_shard_that_is_lost_is_waited_for(workspace):
    make(workspace, 3)
    learner = workspace.start("learner", "--steps=0")
    wait_until(lambda: last_step(workspace.run_dir) >= 20, "20 steps", alive=learner)
    assert away(workspace) == 0
    workspace.servers[1].kill()
    wait_until(lambda: away(workspace) == 1, "the learner to miss a server", alive=learner)
    said = learner.output.read_text()
    assert "WARN" in said and "sampling was interrupted" in said and "replay-1.sock" in said
    workspace.servers[1] = start_server(workspace, 1)
    wait_until(lambda: away(workspace) == 0, "the server's return", alive=learner)
    step = last_step(workspace.run_dir)
    wait_until(lambda: last_step(workspace.run_dir) > step + 20, "more steps", alive=learner)
    learner.stop()


@pytest.mark.long
def test_a_growing_shard_that_is_lost_is_left_out_until_it_is_back(workspace, wire):
    make(workspace, 3, mode="loop")
    wait_until(lambda: sum(table.episodes for table in tables(workspace, wire) if table) == EPISODES, "all episodes")
    workspace.restorer.stop()
    learner = workspace.start("learner", "--steps=0", "--require_sealed=false", "--priorities=td_error")
    wait_until(lambda: last_step(workspace.run_dir) >= 20, "20 steps", alive=learner)
    workspace.servers[1].kill()
    wait_until(lambda: "batches are made without it" in learner.output.read_text(), "a server to be left out",
               alive=learner)
    step = last_step(workspace.run_dir)
    wait_until(lambda: last_step(workspace.run_dir) > step + 50, "steps without it", alive=learner)
    assert away(workspace) == 1
    workspace.servers[1] = start_server(workspace, 1)
    wait_until(lambda: "replay-1.sock is back" in learner.output.read_text(), "the server's return", alive=learner)
    wait_until(lambda: away(workspace) == 0, "its share of the batches", alive=learner)
    assert sent(workspace, outcome="lost") == 0
    learner.stop()


def may_unshare():
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "true"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="no mount namespaces here")
def test_a_server_that_moved_is_found_by_its_name(workspace):
    """Its name stands for another address after it was away: the clients look it up again."""
    make(workspace)
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    hosts = workspace.folder / "hosts"
    name = f"shard.hindcast.test:{port}"

    def serve(address):
        hosts.write_text(f"127.0.0.1 localhost\n{address} shard.hindcast.test\n")
        workspace.servers[0] = start_server(workspace, 0, f"--listen={address}:{port}")

    workspace.servers[0].stop()
    serve("127.0.0.2")
    # The learner sees a hosts file of its own.
    inside = f"mount --bind {hosts} /etc/hosts && exec \"$@\""
    learner = workspace.start_command(
        "learner", "unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", inside, "sh",
        BINARIES["learner"], f"--config={workspace.config}", f"--replay={name}", "--steps=0")
    wait_until(lambda: last_step(workspace.run_dir) >= 20, "20 steps", alive=learner)
    workspace.servers[0].kill()
    serve("127.0.0.3")
    wait_until(lambda: "sampling is resumed" in learner.output.read_text(), "the server's new address", alive=learner)
    step = last_step(workspace.run_dir)
    wait_until(lambda: last_step(workspace.run_dir) > step + 20, "more steps", alive=learner)
    learner.stop()
