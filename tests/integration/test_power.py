"""Power cuts, as the replay server's store meets them: all writes, syncs and names of the real server are traced, and of them
disks are made as a cut may have left them (power_cut.py). What was promised is there, once and whole; nothing else is served.

A failure names the disk's seed. More of them: tests/all/power.
"""

import pytest

from power_scenario import MAP_BYTES, Run, Scenario
from replay_client import Client, cheetah_signature, numbered_rows

DISKS = 150

SCENARIOS = {
    "each": [Run("each", 45, "kill"), Run("each", 15, "stop")],
    "interval": [Run("interval", 60, "kill"), Run("interval", 30, "stop"), Run("interval", 10, "kill")],
    "each, compacted": [Run("each", 60, "kill", True), Run("each", 20, "stop", True)],
    "interval, compacted": [Run("interval", 60, "kill", True), Run("interval", 30, "kill", True)],
    "by turns": [Run("interval", 30, "kill"), Run("each", 30, "kill"), Run("interval", 30, "kill")],
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_takes_nothing_that_was_promised(workspace, wire, name):
    scenario = Scenario(workspace, wire)
    scenario.play(SCENARIOS[name])
    durability = SCENARIOS[name][-1].durability
    found = scenario.disks(range(DISKS), durability)
    print(f"{len(scenario.records)} records, {len(scenario.finished)} syncs finished, {DISKS} disks, {found} episodes found, "
          f"{scenario.compactions} compactions")
    assert found > DISKS
    assert scenario.compactions > 0 or "compacted" not in name
    for seed in (1000, 1001):
        scenario.serve(seed, durability)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_power_cut_after_a_power_cut(workspace, wire, seed):
    """The second one at any moment from when the server opens what the first one left."""
    scenario = Scenario(workspace, wire)
    scenario.play([Run("interval", 60, "kill")])
    scenario.cut(seed)
    scenario.play([Run("interval", 10, "kill"), Run("each", 5, "kill")])
    found = scenario.disks(range(DISKS), "interval")
    print(f"{len(scenario.records)} records, {len(scenario.finished)} syncs finished, {DISKS} disks, {found} episodes found")
    assert found > DISKS


@pytest.mark.parametrize("transitions", [5, 600])
def test_pages_that_wait_for_a_sync_refuse_no_insert(workspace, wire, transitions):
    """What was removed since the last sync takes its room until the next one: in a small map that one comes early."""
    workspace.configure(replay_server={"map_bytes": MAP_BYTES, "durability": "interval", "sync_ms": 3600000})
    server = workspace.serve("replay_server")
    client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", cheetah_signature(wire))
    opened = client.open_insert("writer")
    inserted = 0
    while inserted * transitions * 100 < 3 * MAP_BYTES and inserted < 3000:
        n = min(20, inserted + 1)
        episodes = [(number, number, numbered_rows(number, transitions)) for number in range(inserted + 1, inserted + n + 1)]
        assert client.insert("writer", episodes, opened) == (inserted + n, n, 0)
        inserted += n
    info = client.info()
    print(f"{inserted} episodes of {transitions} transitions inserted, {info.bytes} bytes of {MAP_BYTES} in the table")
    full = inserted * transitions * 100 > MAP_BYTES
    assert info.episodes == inserted if not full else info.bytes > 0.75 * MAP_BYTES
    client.close()
    server.stop()
    assert "MDB_MAP_FULL" not in server.tail()
