"""A collector (and its replay server) killed again and again: every finished episode is in logs, returns.csv and replay, once."""


import numpy as np

from replay_client import Client, cheetah_signature
from story import same, wait_until
from test_collector import check_logs, configure, logged, returns

LEAST_KILLS = 25
LIMIT_S = 120
AT_LEAST = 40  # episodes at the end


def run_lines(workspace):
    """Sequences and returns, which a restart must not change; a torn last line is none."""
    return [(line["episode"], line["return_run"], line["steps"]) for line in returns(workspace)]


def rows_of(observations, actions, rewards):
    made = np.zeros((len(observations), 25), np.float32)
    made[:, :17] = observations
    made[:-1, 17:23], made[:-1, 23], made[:-1, 24] = actions, rewards, 1
    return made


def check_replay(story, workspace, episodes):
    """It has what the logs have: as many, and each drawn row is one of theirs, all episodes being drawn."""
    client = Client(story.wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(story.wire))
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
             client.draw(8, batch_snippets=16 * n, snippet_transitions=1, seed=story.random.getrandbits(32))
             for snippet in batch]
    client.close()
    assert None not in drawn, "the replay holds a row that the logs do not"
    same(sorted({sequence for sequence, _ in drawn}), list(range(1, n + 1)), "episodes drawn")
    story.checks["episodes in logs and replay"] += n


def disturbed(story, workspace):
    random = story.random
    server = workspace.serve("replay_server")
    collector = workspace.start("collector", f"--environments={random.choice((1, 2, 3))}")
    before = []
    kills_left = random.randint(12, 25)
    while kills_left > 0:
        kills_left -= 1
        if random.random() < 0.7:  # else even while it starts
            n = len(returns(workspace))
            wait_until(lambda: len(returns(workspace)) > n, "an episode more", LIMIT_S, alive=collector)
        story.some_time(0.3)
        if random.random() < 0.25:
            story.kill(server, "replay server")
            server = workspace.start("replay_server")
            continue
        assert story.kill(collector, "collector"), f"the collector left with {collector.ended()}"
        lines = run_lines(workspace)
        # The line comes before its episode: the last one may be taken away and come again.
        sure = before[:-1]
        same(lines[:len(sure)], sure, "lines that were there")
        before = lines
        collector = workspace.start("collector", f"--environments={random.choice((1, 2, 3))}")
    wait_until(lambda: workspace.status("collector") is not None, "it to run", LIMIT_S, alive=collector)
    collector.stop()
    n = max(len(returns(workspace)) + 1, AT_LEAST)
    workspace.start("collector", f"--episodes={n}").succeed(LIMIT_S)
    episodes = check_logs(workspace, n)
    check_replay(story, workspace, episodes)
    server.stop()
    return episodes


def collector(story):
    while story.goes_on(story.kills["collector"], LEAST_KILLS):
        workspace = story.workspace()
        configure(workspace, insert=True)
        episodes = disturbed(story, workspace)
        calm = story.workspace()
        configure(calm)
        calm.start("collector", f"--episodes={len(episodes)}").succeed(LIMIT_S)
        for one, other in zip(episodes, logged(calm), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other)), f"episode {one[0]} is another"
        assert run_lines(workspace) == run_lines(calm), "returns.csv is another"
        story.checks["logs equal to undisturbed ones"] += 1
        story.drop(workspace)
        story.drop(calm)
