"""Kills a collector and its replay server repeatedly.

Every finished episode must be in the logs, in returns.csv and in the replay exactly once.
"""

import numpy as np

from replay_client import Client, cheetah_signature
from scenario import same, wait_until
from test_collector import check_logs, configure, logged, returns

LEAST_KILLS = 25
LIMIT_S = 120
AT_LEAST = 40  # episodes at the end


def run_lines(workspace):
    """Episode, return and steps of each complete line of returns.csv, which a restart must not change."""
    return [(line["episode"], line["return_run"], line["steps"]) for line in returns(workspace)]


def rows_of(observations, actions, rewards):
    made = np.zeros((len(observations), 25), np.float32)
    made[:, :17] = observations
    made[:-1, 17:23], made[:-1, 23], made[:-1, 24] = actions, rewards, 1
    return made


def check_replay(scenario, workspace, episodes):
    """The replay has as many episodes as the logs, every drawn row is a row of the logs, and every episode is drawn."""
    client = Client(scenario.wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(scenario.wire))
    table = client.info()
    n = len(episodes)
    same((table.episodes, table.episodes_inserted, table.transitions), (n, n, 1000 * n), "replay")
    same(table.writers[0].last_sequence, n, "last sequence of the writer")
    where = {}
    for sequence, *arrays in episodes:
        made = rows_of(*arrays)
        where |= {made[t].tobytes(): (sequence, t) for t in range(1000)}
    same(len(where), 1000 * n, "different rows of the logs")
    drawn = [where.get(snippet[0].tobytes()) for _, batch in
             client.draw(8, batch_snippets=16 * n, snippet_transitions=1, seed=scenario.random.getrandbits(32))
             for snippet in batch]
    client.close()
    assert None not in drawn, "the replay holds a row that the logs do not"
    same(sorted({sequence for sequence, _ in drawn}), list(range(1, n + 1)), "episodes drawn")
    scenario.checks["episodes in logs and replay"] += n


def disturbed(scenario, workspace):
    random = scenario.random
    server = workspace.serve("replay_server")
    collector = workspace.start("collector", f"--environments={random.choice((1, 2, 3))}")
    before = []
    kills_left = random.randint(12, 25)
    while kills_left > 0:
        kills_left -= 1
        if random.random() < 0.7:  # otherwise the kill may hit a collector that is starting
            n = len(returns(workspace))
            wait_until(lambda: len(returns(workspace)) > n, "another episode", LIMIT_S, alive=collector)
        scenario.some_time(0.3)
        if random.random() < 0.25:
            scenario.kill(server, "replay server")
            server = workspace.start("replay_server")
            continue
        assert scenario.kill(collector, "collector"), f"the collector exited with {collector.ended()}"
        lines = run_lines(workspace)
        # A line is written before its episode, so a restart may remove the last one and write it again.
        sure = before[:-1]
        same(lines[:len(sure)], sure, "lines written before the kill")
        before = lines
        collector = workspace.start("collector", f"--environments={random.choice((1, 2, 3))}")
    wait_until(lambda: workspace.status("collector") is not None, "the collector to run", LIMIT_S, alive=collector)
    collector.stop()
    n = max(len(returns(workspace)) + 1, AT_LEAST)
    workspace.start("collector", f"--episodes={n}").succeed(LIMIT_S)
    episodes = check_logs(workspace, n)
    check_replay(scenario, workspace, episodes)
    server.stop()
    return episodes


def collector(scenario):
    while scenario.goes_on(scenario.kills["collector"], LEAST_KILLS):
        workspace = scenario.workspace()
        configure(workspace, insert=True)
        episodes = disturbed(scenario, workspace)
        calm = scenario.workspace()
        configure(calm)
        calm.start("collector", f"--episodes={len(episodes)}").succeed(LIMIT_S)
        for one, other in zip(episodes, logged(calm), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other)), f"episode {one[0]} differs"
        assert run_lines(workspace) == run_lines(calm), "returns.csv differs"
        scenario.checks["logs equal to undisturbed ones"] += 1
        scenario.drop(workspace)
        scenario.drop(calm)
