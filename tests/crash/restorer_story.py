"""Restorers (and the server) killed again and again while they fill a table: it ends up sealed, and the very same one."""

import numpy as np

import logs
from replay_client import Client, cheetah_signature
from story import same

EPISODES, FILES = 240, 12
LEAST_KILLS = 40
DRAW = dict(batch_snippets=256, snippet_transitions=4, seed=9)


def length(number):
    return 60 + number * 37 % 300


def make_logs(story):
    folder = story.workspace().folder / "logs"
    episodes = [logs.episode(number, length(number), terminated=number % 3 == 0) for number in range(EPISODES)]
    logs.write_dataset(folder, [episodes[i::FILES] for i in range(FILES)])
    return folder


def configure(story, folder, restorers):
    workspace = story.workspace()
    workspace.configure(experiment={"seed": 5}, replay_server={"map_bytes": 256 << 20},
                        restorer={"folder": str(folder), "count": restorers, "in_flight": 65536, "prefetch": 2,
                                  "shuffle": story.random.random() < 0.5})
    return workspace


def contents(story, workspace):
    """What Info says of the sealed table, and what is drawn from it."""
    client = Client(story.wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(story.wire))
    table = client.info()
    drawn = client.draw(8, **DRAW)
    client.close()
    assert table.sealed and table.sealed_version != 0, "the table is not sealed"
    counts = (table.episodes, table.transitions, table.episodes_inserted, table.transitions_inserted,
              table.episodes_removed, table.episodes_corrupt)
    total = sum(map(length, range(EPISODES)))
    same(counts, (EPISODES, total, EPISODES, total, 0, 0), "counts of the table")
    return f"{table.sealed_version:016x}", [(n.tobytes(), rows.tobytes()) for n, rows in drawn]


def undisturbed(story, folder):
    workspace = configure(story, folder, 1)
    server = workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    found = contents(story, workspace)
    server.stop()
    story.drop(workspace)
    return found


def one_filling(story, folder):
    """Kills until all restorers have ended well, or until there were so many kills."""
    random = story.random
    count = random.choice((1, 1, 3))
    workspace = configure(story, folder, count)
    server = workspace.serve("replay_server")
    restorers = [None] * count

    def start(i):
        restorers[i] = workspace.start("restorer", f"--index={i}", label=f"restorer-{i}")

    for i in range(count):
        start(i)
    kills_left = random.randint(5, 20)
    while kills_left > 0 and not all(restorer.ended() == 0 for restorer in restorers):
        story.some_time(0.25)
        kills_left -= 1
        if random.random() < 0.25:
            story.kill(server, "replay server")
            server = workspace.start("replay_server")
            continue
        i = random.randrange(count)
        assert restorers[i].ended() in (None, 0), f"restorer-{i} left with {restorers[i].ended()}"
        if restorers[i].ended() is None:
            story.kill(restorers[i], "restorer")
            start(i)
    for restorer in restorers:
        restorer.succeed()
    workspace.wait_running("replay_server", server)
    if random.random() < 0.5:  # what is sealed stays so
        story.kill(server, "replay server")
        server = workspace.serve("replay_server")
    note = workspace.json("restorer.json")
    same(note["datasets"], [str(folder)], "datasets in restorer.json")
    if "episodes" in note:  # one start went through all of them
        same((note["episodes"], note["bad"]), (EPISODES, 0), "restorer.json")
    found = contents(story, workspace)
    server.stop()
    story.drop(workspace)
    return found


def restorer(story):
    folder = make_logs(story)
    version, drawn = undisturbed(story, folder)
    while story.goes_on(story.kills["restorer"], LEAST_KILLS):
        found = one_filling(story, folder)
        same(found[0], version, "version of the sealed table")
        assert found[1] == drawn, "other draws from the sealed table"
        story.checks["sealed tables"] += 1
    assert np.frombuffer(drawn[0][1], "<f4").any()
