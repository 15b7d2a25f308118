"""Kills restorers and the replay server repeatedly while they fill a table.

The table must end up sealed and identical to one that was filled without kills.
"""

import numpy as np

import logs
from replay_client import Client, cheetah_signature
from scenario import same

EPISODES, FILES = 240, 12
LEAST_KILLS = 40
DRAW = dict(batch_snippets=256, snippet_transitions=4, seed=9)


def length(number):
    return 60 + number * 37 % 300


def make_logs(scenario):
    folder = scenario.workspace().folder / "logs"
    episodes = [logs.episode(number, length(number), terminated=number % 3 == 0) for number in range(EPISODES)]
    logs.write_dataset(folder, [episodes[i::FILES] for i in range(FILES)])
    return folder


def configure(scenario, folder, restorers, holdout):
    workspace = scenario.workspace()
    workspace.configure(experiment={"seed": 5}, replay_server={"map_bytes": 256 << 20},
                        restorer={"folder": str(folder), "count": restorers, "in_flight": 65536, "prefetch": 2,
                                  "shuffle": scenario.random.random() < 0.5, "holdout": holdout})
    return workspace


def contents(scenario, workspace, holdout):
    """Versions of the sealed tables according to Info, and batches drawn from them."""
    versions, drawn, counts = [], [], np.zeros(6, int)
    for name in ("default", "default_holdout")[:2 if holdout else 1]:
        client = Client(scenario.wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(scenario.wire), name)
        table = client.info()
        drawn += [(n.tobytes(), rows.tobytes()) for n, rows in client.draw(8, **DRAW)]
        client.close()
        assert table.sealed and table.sealed_version != 0, f"the table {name} is not sealed"
        versions.append(f"{table.sealed_version:016x}")
        counts += (table.episodes, table.transitions, table.episodes_inserted, table.transitions_inserted,
                   table.episodes_removed, table.episodes_corrupt)
    total = sum(map(length, range(EPISODES)))
    same(tuple(counts), (EPISODES, total, EPISODES, total, 0, 0), "counts of the tables")
    return versions, drawn


def undisturbed(scenario, folder, holdout):
    workspace = configure(scenario, folder, 1, holdout)
    server = workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    found = contents(scenario, workspace, holdout)
    server.stop()
    scenario.drop(workspace)
    return found


def one_filling(scenario, folder, holdout):
    """Fills a table, killing processes until all restorers have succeeded or a random number of kills is reached."""
    random = scenario.random
    count = random.choice((1, 1, 3))
    workspace = configure(scenario, folder, count, holdout)
    server = workspace.serve("replay_server")
    restorers = [None] * count

    def start(i):
        restorers[i] = workspace.start("restorer", f"--index={i}", label=f"restorer-{i}")

    for i in range(count):
        start(i)
    kills_left = random.randint(5, 20)
    while kills_left > 0 and not all(restorer.ended() == 0 for restorer in restorers):
        scenario.some_time(0.25)
        kills_left -= 1
        if random.random() < 0.25:
            scenario.kill(server, "replay server")
            server = workspace.start("replay_server")
            continue
        i = random.randrange(count)
        assert restorers[i].ended() in (None, 0), f"restorer-{i} exited with {restorers[i].ended()}"
        if restorers[i].ended() is None:
            scenario.kill(restorers[i], "restorer")
            start(i)
    for restorer in restorers:
        restorer.succeed()
    workspace.wait_running("replay_server", server)
    if random.random() < 0.5:  # a sealed table stays sealed across a restart
        scenario.kill(server, "replay server")
        server = workspace.serve("replay_server")
    manifest = workspace.json("restorer.json")
    same(manifest["datasets"], [str(folder)], "datasets in restorer.json")
    if "episodes" in manifest:  # written by a process that read all episodes
        same((manifest["episodes"], manifest["bad"]), (EPISODES, 0), "restorer.json")
    found = contents(scenario, workspace, holdout)
    server.stop()
    scenario.drop(workspace)
    return found


def restorer(scenario):
    folder = make_logs(scenario)
    holdout = scenario.random.choice((0, 0.1))
    versions, drawn = undisturbed(scenario, folder, holdout)
    while scenario.goes_on(scenario.kills["restorer"], LEAST_KILLS):
        found = one_filling(scenario, folder, holdout)
        same(found[0], versions, "versions of the sealed tables")
        assert found[1] == drawn, "draws from the sealed tables differ"
        scenario.checks["sealed tables"] += 1
    assert np.frombuffer(drawn[0][1], "<f4").any()
