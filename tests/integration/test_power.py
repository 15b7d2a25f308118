"""Power cuts, as the replay server's store meets them: all writes, syncs and names of the real server are traced, and of them
disks are made as a cut may have left them (power_cut.py). What was promised is there, once and whole; nothing else is served.

A failure names the disk's seed. More of them: tests/all/power.
"""

import pytest

from power_story import Life, Story

DISKS = 150

STORIES = {
    "each": [Life("each", 45, "kill"), Life("each", 15, "stop")],
    "interval": [Life("interval", 60, "kill"), Life("interval", 30, "stop"), Life("interval", 10, "kill")],
    "by turns": [Life("interval", 30, "kill"), Life("each", 30, "kill"), Life("interval", 30, "kill")],
}


@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_takes_nothing_that_was_promised(workspace, wire, name):
    story = Story(workspace, wire)
    story.tell(STORIES[name])
    durability = STORIES[name][-1].durability
    found = story.disks(range(DISKS), durability)
    print(f"{len(story.records)} records, {len(story.finished)} syncs finished, {DISKS} disks, {found} episodes found")
    assert found > DISKS
    for seed in (1000, 1001):
        story.serve(seed, durability)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_power_cut_after_a_power_cut(workspace, wire, seed):
    """The second one at any moment from when the server opens what the first one left."""
    story = Story(workspace, wire)
    story.tell([Life("interval", 60, "kill")])
    story.cut(seed)
    story.tell([Life("interval", 10, "kill"), Life("each", 5, "kill")])
    found = story.disks(range(DISKS), "interval")
    print(f"{len(story.records)} records, {len(story.finished)} syncs finished, {DISKS} disks, {found} episodes found")
    assert found > DISKS
