"""ROS 2 bags (MCAP), written by mcap, mcap-ros2-support and rosbags: imported value for value and resampled as numpy
does it, or refused with file, byte, topic and field."""

import struct

import numpy as np
import pytest
import zstandard
from mcap.writer import CompressionType
from rosbags.rosbag2 import StoragePlugin, Writer as RosbagWriter

import plant
from bags import ALL_WHOLE, Bag, header, ns, plain_mcap, rosbags_store, write_metadata
from test_import import dataset, imported, whole
from test_start import SHORT, hindcast

T0 = 1_700_000_000.0
FIELDS = ["header/stamp/sec", "header/stamp/nanosec", "flag", "raw", "letter", "i8", "u8", "i16", "u16", "i32", "u32",
          "i64", "u64", "f32", "f64", "fixed", "free", "bounded", "points/x", "points/y", "points/z", "orientation/w",
          "inner/a", "inner/b", "last"]


def mapping_text(observation, columns, limits, period=0.02, resample="", episodes="{by: recording}", more=""):
    """A mapping; `observation`: a slice to columns."""
    slices = "".join(f"  {name}: [{', '.join(chr(34) + one + chr(34) for one in list_)}]\n"
                     for name, list_ in observation.items())
    low, high = ([one] * limits[2] for one in limits[:2])
    return (f"format: mcap\ncontrol_period_s: {period}\nepisodes: {episodes}\nresample:\n  method: hold\n{resample}"
            f"observation:\n{slices}last_observation: last_row\naction:\n  columns: {columns}\n  min: {low}\n"
            f"  max: {high}\n{more}")


def import_with(tmp_path, source, text, status=0, name="out"):
    mapping = tmp_path / f"{name}.yaml"
    mapping.write_text(text)
    said = dataset("import", f"--to={tmp_path / name}", f"--mapping={mapping}", source, status=status)
    return said, (imported(tmp_path / name)[1] if status == 0 or (tmp_path / name / "metadata.json").exists() else [])


# ---- values ----

def all_message(k):
    random = np.random.default_rng(k)
    return {
        "header": header(T0 + 0.02 * k), "flag": bool(k % 2), "raw": k % 256, "letter": 65 + k, "i8": -k, "u8": 200 + k,
        "i16": -300 - k, "u16": 60000 + k, "i32": -70000 - k, "u32": 4_000_000_000 + k, "i64": -(2**40) - k,
        "u64": 2**63 + 2**40 * k, "f32": float(np.float32(random.normal())), "f64": random.normal(),
        "label": "x" * k, "brief": "y" * (k % 5), "fixed": random.normal(size=3).tolist(),
        "free": np.float32(random.normal(size=4)).tolist(), "bounded": [k, -k], "names": ["q", "r" * k],
        "points": [dict(zip("xyz", random.normal(size=3).tolist())) for _ in range(2)],
        "orientation": {"x": 0.0, "y": 0.0, "z": 0.6, "w": 0.8},
        "inner": [{"a": float(np.float32(random.normal())), "b": j - k} for j in range(3)], "last": random.normal()}


def flat(message, path):
    """The numbers of a field, as they stand in the message."""
    values = [message]
    for part in path.split("/"):
        values = [one[part] for one in values]
        values = [inner for one in values for inner in (one if isinstance(one, list) else [one])]
    return values


def rosbags_message(store, message):
    """The object that rosbags serializes."""
    types = store.types

    def build(name, value):
        made = {}
        for field, (kind, about) in store.get_msgdef(name).fields:
            one = value[field]
            if kind.name == "NAME":
                made[field] = build(about, one)
            elif kind.name in ("ARRAY", "SEQUENCE") and about[0][0].name == "NAME":
                made[field] = [build(about[0][1], each) for each in one]
            elif kind.name in ("ARRAY", "SEQUENCE") and about[0][1][0] != "string":
                base = about[0][1][0]
                made[field] = np.array(one, {"byte": "uint8", "char": "uint8"}.get(base, base))
            else:
                made[field] = one
        return types[name](**made)
    return build("test_msgs/msg/All", message)


def write_all_ros(path, messages, **options):
    with Bag(path, **options) as bag:
        for k, message in enumerate(messages):
            bag.ros("/all", "test_msgs/msg/All", ALL_WHOLE, message, T0 + 0.02 * k)
            bag.json("/act/command", {"u": [0.1 * k, 1 - 0.1 * k]}, T0 + 0.02 * k)
    return path


def write_all_rosbags(path, messages, little):
    store = rosbags_store()
    with RosbagWriter(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        everything = writer.add_connection("/all", "test_msgs/msg/All", typestore=store)
        command = writer.add_connection("/act/command", "std_msgs/msg/Float64MultiArray", typestore=store)
        layout = store.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        for k, message in enumerate(messages):
            at = ns(T0 + 0.02 * k)
            writer.write(everything, at, store.serialize_cdr(rosbags_message(store, message), "test_msgs/msg/All",
                                                            little_endian=little))
            action = store.types["std_msgs/msg/Float64MultiArray"](
                layout=layout, data=np.array([0.1 * k, 1 - 0.1 * k]))
            writer.write(command, at, store.serialize_cdr(action, "std_msgs/msg/Float64MultiArray"))
    return path


WRITERS = {
    "zstd": lambda path, all_: write_all_ros(path / "a.mcap", all_, chunk_size=600),
    "lz4": lambda path, all_: write_all_ros(path / "a.mcap", all_, compression=CompressionType.LZ4),
    "plain": lambda path, all_: write_all_ros(path / "a.mcap", all_, compression=CompressionType.NONE),
    "rosbags-little": lambda path, all_: write_all_rosbags(path / "bag", all_, True),
    "rosbags-big": lambda path, all_: write_all_rosbags(path / "bag", all_, False),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_of_field_comes_back(tmp_path, writer):
    messages = [all_message(k) for k in range(9)]
    source = WRITERS[writer](tmp_path, messages)
    action = "/act/command/data" if writer.startswith("rosbags") else "/act/command/u"
    text = mapping_text({"all": [f"/all/{one}" for one in FIELDS]}, f'["{action}"]', (-1, 1, 2))
    said, episodes = import_with(tmp_path, source, text)
    assert "1 episodes, 8 transitions" in said
    expected = np.array([[value for path in FIELDS for value in flat(one, path)] for one in messages], np.float64)
    assert np.array_equal(whole(episodes[0]["observations"]), expected.astype(np.float32))
    np.testing.assert_allclose(episodes[0]["actions"][:, 0], 0.1 * np.arange(8), atol=1e-6)


def test_what_json_messages_hold(tmp_path):
    path = tmp_path / "a.mcap"
    with Bag(path) as bag:
        for k in range(6):
            at = T0 + 0.02 * k
            bag.json("/s", {"q": {"b": [k, 2.5 * k]}, "on": k > 2, "text": "no", "grid": [[k, 1], [2, 3]],
                            "list": [0] * k, "parts": [{"m": k}, {"m": -k}]}, at)
            bag.json("/number", k + 0.5, at)
            bag.json("/cmd", {"u": [-k]}, at)
    proposal = dataset("map", path)
    assert "/s/list is left out: its length varies, up to 5 values" in proposal
    columns = {"s": ["/s/q/b", "/s/on", "/s/grid", "/s/parts/m", "/number/value"]}
    _, episodes = import_with(tmp_path, path, mapping_text(columns, '["/cmd/u"]', (-9, 9, 1)))
    expected = [[k, 2.5 * k, k > 2, k, 1, 2, 3, k, -k, k + 0.5] for k in range(6)]
    assert np.array_equal(whole(episodes[0]["observations"]), np.array(expected, np.float32))


def test_missing_values_make_an_episode_bad(tmp_path):
    path = tmp_path / "a.mcap"
    with Bag(path) as bag:
        for k in range(6):
            bag.json("/s", {"x": float("nan") if k == 3 else k}, T0 + 0.02 * k)
            bag.json("/cmd", {"u": k}, T0 + 0.02 * k)
    said, _ = import_with(tmp_path, path, mapping_text({"s": ["/s/x"]}, '["/cmd/u"]', (-9, 9, 1)), status=1)
    assert "row 3 of column /s/x: no value, expected a finite number" in said
    assert f"a.mcap, {T0:.6f}..{T0 + 0.1:.6f} s" in said


# ---- resampling, against numpy ----

def noisy_bag(path, seconds=4.0, seed=0):
    """Topics at rates of their own, with jitter, and stamps that are out of order and twice. Returns the values."""
    random = np.random.default_rng(seed)
    logs = {}
    for topic, rate, width in (("/joints", 500, 2), ("/imu", 97, 4), ("/act/command", 50, 2)):
        n = int(seconds * rate)
        at = T0 + 0.003 * len(logs) + np.arange(n) / rate + random.uniform(-0.2, 0.2, n) / rate
        if topic == "/joints":
            at[100], at[101] = at[101], at[100]
            at[200] = at[201]
        values = random.normal(size=(n, width)).cumsum(0) * 0.05
        if topic == "/imu":
            values[:, 0] += 1
            values /= np.linalg.norm(values, axis=1, keepdims=True)
            values[::2] *= -1  # the same rotation
        if topic == "/act/command":
            values = np.tanh(values)
        logs[topic] = (np.round(at * 1e9) / 1e9, values)
    with Bag(path) as bag:
        for topic, k in sorted(((topic, k) for topic, (at, _) in logs.items() for k in range(len(at))),
                               key=lambda one: (logs[one[0]][0][one[1]] if one[0] != "/joints" else 0, one[1])):
            at, values = logs[topic][0][k], logs[topic][1][k]
            if topic == "/joints":
                bag.joints(topic, T0 + k / 500, values, -values, seconds=at, names=("hip", "knee"))
            elif topic == "/imu":
                bag.imu(topic, at, values, values[:3])
            else:
                bag.command(topic, at, values)
        for at in (T0 + 1.0, T0 + 1.001, T0 + 3.0):
            bag.json("/reward", {"r": at - T0}, at)
    return logs


def in_order(at, values):
    """Sorted by stamp; of several with one stamp the last counts."""
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    keep = np.append(np.diff(at) > 0, True)
    return at[keep], values[keep]


def median(at):
    return np.sort(np.diff(at))[(len(at) - 1) // 2]


def grid_of(logs, dt, delay=0.0):
    """The control steps, as docs/logs.md defines them."""
    joints, imu = in_order(*logs["/joints"])[0] + delay, in_order(*logs["/imu"])[0]
    act = in_order(*logs["/act/command"])[0]
    start = max(joints[0], imu[0], act[0] - dt / 2)
    end = min(joints[-1] + 0.75 * median(joints), imu[-1] + 0.75 * median(imu),
              act[-1] + median(act) + dt / 2)
    inside = act[(act > start - dt / 2) & (act <= end)]
    phase = np.angle(np.exp(2j * np.pi * np.mod(inside - start, dt) / dt).mean()) / (2 * np.pi) * dt
    start += phase % dt
    return start + dt * np.arange(int((end - start) // dt) + 1)


def hold(at, values, grid):
    return values[np.searchsorted(at, grid + 1e-6, side="right") - 1]


def linear(at, values, grid):
    return np.stack([np.interp(grid, at, column) for column in values.T], 1)


def slerp(at, values, grid):
    before = np.searchsorted(at, grid + 1e-6, side="right") - 1
    after = np.minimum(before + 1, len(at) - 1)
    a, b = values[before], values[after]
    b = np.where((a * b).sum(1, keepdims=True) < 0, -b, b)
    part = ((grid - at[before]) / np.where(after > before, at[after] - at[before], 1))[:, None]
    angle = np.arccos(np.clip((a * b).sum(1, keepdims=True), -1, 1))
    return (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.sin(angle)


RESAMPLE = """  clock: header
  groups:
    "/act/command": {clock: log}
    "/reward": {clock: log}
    "/joints": {delay_s: 0.0035}
  columns:
    "/joints/velocity": linear
    "/imu/orientation": slerp
"""


def test_resampled_values_are_those_of_numpy(tmp_path):
    path, dt = tmp_path / "noisy.mcap", 0.02
    logs = noisy_bag(path)
    slices = {"position": ["/joints/position"], "velocity": ["/joints/velocity"],
              "imu": [f"/imu/orientation/{one}" for one in "xyzw"], "rate": ["/imu/angular_velocity/y"]}
    more = 'rewards:\n  r: {column: "/reward/r", row: next}\n'
    said, episodes = import_with(tmp_path, path, mapping_text(slices, '["/act/command/data"]', (-1, 1, 2), dt, RESAMPLE,
                                                              more=more))
    grid = grid_of(logs, dt, delay=0.0035)
    assert f"1 episodes, {len(grid) - 1} transitions" in said
    joints, imu, act = in_order(*logs["/joints"]), in_order(*logs["/imu"]), in_order(*logs["/act/command"])
    late = (joints[0] + 0.0035, joints[1])
    expected = np.concatenate([hold(*late, grid), -linear(*late, grid), slerp(*imu, grid),
                               hold(imu[0], imu[1][:, 1:2], grid)], 1)
    np.testing.assert_allclose(whole(episodes[0]["observations"]), expected, atol=2e-5)
    np.testing.assert_allclose(episodes[0]["actions"], hold(*act, grid[:-1] + dt / 2), atol=1e-6)
    # The sum of what came in each step; two rewards came in one.
    rewards = np.zeros(len(grid))
    for at in (1.0, 1.001, 3.0):
        rewards[np.searchsorted(grid, T0 + at)] += at
    np.testing.assert_allclose(episodes[0]["rewards"].ravel(), rewards[1:], atol=1e-5)
    # The report counts what was out of order and twice.
    line = next(one.split() for one in said.splitlines() if one.startswith("/joints"))
    assert line[1] == "2000" and line[7:9] == ["1", "1"]
    assert next(one.split() for one in said.splitlines() if one.startswith("/imu"))[1] == str(len(logs["/imu"][0]))


# ---- episodes ----

def paused_bag(path, pauses=(2.0, 5.0), seconds=8.0):
    """A second of silence after each pause begins."""
    with Bag(path) as bag:
        for k in range(int(seconds * 100)):
            at = k / 100
            if any(pause < at < pause + 1 for pause in pauses):
                continue
            bag.json("/s", {"x": k}, T0 + at)
            if k % 2 == 0:
                bag.json("/cmd", {"u": np.sin(k)}, T0 + at)
            if k % 200 == 199:
                bag.json("/done", {"data": True}, T0 + at)
    return path


def lengths(episodes):
    return [len(one["actions"]) for one in episodes]


def test_episodes_by_gaps_and_times_and_flags(tmp_path):
    path = paused_bag(tmp_path / "a.mcap")
    def make(name, resample="", episodes="{by: recording}", more="", status=0):
        return import_with(tmp_path, path, mapping_text({"s": ["/s/x"]}, '["/cmd/u"]', (-1, 1, 1), 0.02, resample,
                                                        episodes, more), status, name)
    by_gaps = make("gaps", episodes="{by: gaps, gap_s: 0.5}")[1]
    assert [whole(one["observations"])[0, 0] for one in by_gaps] == [0, 300, 600]
    assert all(abs(one - 100) <= 1 for one in lengths(by_gaps))
    split = make("split", "  max_gap_s: 0.3\n  gaps: split\n")[1]
    assert lengths(split) == lengths(by_gaps)
    said, _ = make("bad", "  max_gap_s: 0.3\n  gaps: bad\n", status=1)
    assert "/s has no message between" in said and "max_gap_s is 0.3" in said
    assert len(make("filled")[1]) == 1

    # A table beside the mapping; its third row has no messages.
    (tmp_path / "times.csv").write_text(f"start,end\n{T0 + 0.5},{T0 + 1.5}\n{T0 + 6.2},{T0 + 6.8}\n9,10\n")
    said, times = make("times", episodes="{by: times, file: times.csv}")
    assert lengths(times) == [50, 30]
    assert whole(times[0]["observations"])[0, 0] == 50 and whole(times[1]["observations"])[-1, 0] == 680
    assert "no file has messages between 9.000000 s and 10.000000 s" in said

    flags = make("flags", episodes="{by: flags}", more='terminated: {column: "/done/data", row: next}\n')[1]
    assert [one["terminations"].tolist().count(True) for one in flags][:3] == [1, 1, 1]


def test_topics_without_time_in_common_are_told(tmp_path):
    path = tmp_path / "a.mcap"
    with Bag(path) as bag:
        for k in range(10):
            bag.json("/s", {"x": k}, T0 + 0.02 * k)
            bag.json("/cmd", {"u": k % 3}, T0 + 5 + 0.02 * k)
    said, _ = import_with(tmp_path, path, mapping_text({"s": ["/s/x"]}, '["/cmd/u"]', (0, 2, 1)), status=1)
    assert "no two control steps at which all topics have messages: /s" in said


def test_mistakes_in_a_mapping_are_named(tmp_path):
    path = paused_bag(tmp_path / "a.mcap", ())
    def refused(resample="", observation="/s/x", more=""):
        return import_with(tmp_path, path, mapping_text({"s": [observation]}, '["/cmd/u"]', (-1, 1, 1), 0.02, resample,
                                                        more=more), 1)[0]
    assert "topic /s has no header stamps: choose another clock" in refused("  clock: header\n")
    assert 'groups: "/state": no column of the mapping begins like this' in refused('  groups: {"/state": {}}\n')
    assert 'columns: "/s/y": is not a column of the mapping' in refused('  columns: {"/s/y": hold}\n')
    assert "/cmd/u is an action and also in observation" in refused(observation="/cmd/u")
    assert "actions are always held" in refused('  columns: {"/cmd/u": linear}\n')
    assert "slerp of /s/x: has 1 values, expected 4" in refused('  columns: {"/s/x": slerp}\n')
    assert "expected hold, linear, slerp or sum" in refused('  columns: {"/s/x": cubic}\n')
    assert 'the logs have no column "/s/none"' in refused(observation="/s/none")


# ---- bags ----

def test_a_bag_of_many_files_is_one_recording(tmp_path):
    folder = tmp_path / "bag"
    names = [f"bag_{i}.mcap" for i in range(12)]  # bag_10 follows bag_9, not bag_1
    for i, name in enumerate(names):
        with Bag(folder / name) as bag:
            for k in range(5 * i, 5 * i + 5):
                bag.json("/s", {"x": k}, T0 + 0.02 * k)
                bag.json("/cmd", {"u": k % 7}, T0 + 0.02 * k)
    write_metadata(folder, names)
    said, episodes = import_with(tmp_path, folder, mapping_text({"s": ["/s/x"]}, '["/cmd/u"]', (0, 6, 1)))
    assert "1 episodes, 59 transitions" in said
    assert whole(episodes[0]["observations"]).ravel().tolist() == list(range(60))
    write_metadata(folder, ["../bag/bag_0.mcap"])
    assert "expected a file in the folder of the bag" in dataset("map", folder, status=1)
    write_metadata(folder, names, compression="FILE")
    assert "compressed by ROS 2 (compression_mode: FILE)" in dataset("map", folder, status=1)


def test_sqlite_bags_are_named(tmp_path):
    store = rosbags_store()
    with RosbagWriter(tmp_path / "old", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/flag", "std_msgs/msg/Bool", typestore=store)
        for k in range(100):
            writer.write(connection, k, store.serialize_cdr(store.types["std_msgs/msg/Bool"](data=True),
                                                            "std_msgs/msg/Bool"))
    assert "ros2 bag convert" in dataset("map", tmp_path / "old", status=1)
    assert "ros2 bag convert" in dataset("map", tmp_path / "old" / "old.db3", status=1)


def test_topics_that_are_not_read_are_named(tmp_path):
    path = paused_bag(tmp_path / "a.mcap", (), 1.0)
    with Bag(path) as bag:
        for k in range(50):
            at = T0 + 0.02 * k
            bag.json("/s", {"x": k}, at)
            bag.json("/cmd", {"u": k}, at)
            bag.raw("/proto", "protobuf", b"\x08\x01", at, ("Thing", "protobuf", b"x"))
            bag.raw("/idl", "cdr", b"\0\1\0\0", at, ("pkg/msg/T", "ros2idl", b"struct T {};"))
            bag.raw("/wide", "cdr", b"\0\1\0\0", at, ("pkg/msg/W", "ros2msg", b"wstring name\n"))
    said = dataset("map", path)
    assert "topic /proto (Thing) is left out: its messages are in protobuf, expected cdr or json" in said
    assert "topic /idl (pkg/msg/T) is left out: its definition is in ros2idl, expected ros2msg" in said
    assert "topic /wide (pkg/msg/W) is left out: pkg/W: name: wstring is not supported" in said


# ---- damage ----

def test_a_recorder_that_was_killed(tmp_path):
    path = tmp_path / "a.mcap"
    with Bag(path, chunk_size=2000) as bag:
        for k in range(500):
            bag.json("/s", {"x": k}, T0 + 0.02 * k)
            bag.json("/cmd", {"u": k % 5}, T0 + 0.02 * k)
    text = mapping_text({"s": ["/s/x"]}, '["/cmd/u"]', (0, 4, 1))
    assert "499 transitions" in import_with(tmp_path, path, text, name="whole")[0]
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 3])
    said, episodes = import_with(tmp_path, path, text, name="cut")
    assert "a.mcap: is cut off at byte" in said and "messages before are read" in said
    x = whole(episodes[0]["observations"]).ravel()
    assert 10 < len(x) < 250 and x.tolist() == list(range(len(x)))


def test_damage_is_refused_with_its_place(tmp_path):
    path = tmp_path / "a.mcap"
    text = mapping_text({"s": ["/s/x"]}, '["/cmd/u"]', (0, 4, 1))

    def refused():
        said, _ = import_with(tmp_path, path, text, 1)
        assert str(path) in said and not (tmp_path / "out").exists(), said
        return said

    def write(compression=CompressionType.NONE, **options):
        with Bag(path, compression=compression, **options) as bag:
            for k in range(40):
                bag.json("/s", {"x": k}, T0 + 0.02 * k)
                bag.json("/cmd", {"u": k % 5}, T0 + 0.02 * k)
        return bytearray(path.read_bytes())

    whole_file = write()
    at = whole_file.index(b'{"x": 17}')
    path.write_bytes(whole_file[:at] + b'{"x": 71}' + whole_file[at + 9:])
    assert "a chunk whose checksum is wrong" in refused()
    whole_file = write(compression=CompressionType.ZSTD)
    at = len(whole_file) // 4
    whole_file[at] ^= 0x40
    path.write_bytes(whole_file)
    assert "byte" in refused()
    whole_file = write(enable_crcs=False)
    at = whole_file.index(b'{"x": 17}')
    path.write_bytes(whole_file[:at] + b'{"x" 177}' + whole_file[at + 9:])
    said = refused()
    assert "topic /s: message at" in said and "not valid JSON" in said
    with plain_mcap(path, use_chunking=False, enable_data_crcs=True) as writer:
        channel = writer.register_channel("/s", "json", writer.register_schema("none", "jsonschema", b"{}"))
        for k in range(40):
            writer.add_message(channel, k, f'{{"x": {k}}}'.encode(), k)
    whole_file = path.read_bytes()
    at = whole_file.index(b'{"x": 17}')
    path.write_bytes(whole_file[:at] + b'{"x": 71}' + whole_file[at + 9:])
    assert "the checksum of the data before is wrong" in refused()


def test_messages_that_do_not_fit_their_definition(tmp_path):
    path = tmp_path / "a.mcap"
    cases = {
        b"\0\1\0\0" + struct.pack("<I", 1000) + b"\0" * 8: "field v: byte 8 of the message: more values",
        b"\0\1\0\0" + struct.pack("<I", 0) + b"\0" * 64: "bytes follow the last field",
        b"\0\7\0\0": "encapsulation is 0x0007",
        b"\0\1": "a message of 2 bytes",
    }
    for data, expected in cases.items():
        with Bag(path) as bag:
            bag.raw("/v", "cdr", data, T0, ("pkg/msg/V", "ros2msg", b"float64[] v\n"))
        said = dataset("map", path, status=1)
        assert expected in said and "topic /v" in said and str(path) in said


def chunk(records, claimed=None, compression="", packed=None):
    packed = records if packed is None else packed
    body = struct.pack("<QQQI", 0, 0, len(records) if claimed is None else claimed, 0)
    body += struct.pack("<I", len(compression)) + compression.encode() + struct.pack("<Q", len(packed)) + packed
    return struct.pack("<BQ", 6, len(body)) + body


def test_bombs_are_refused(tmp_path):
    magic = b"\x89MCAP0\r\n"
    path = tmp_path / "bomb.mcap"

    def refused(data):
        path.write_bytes(magic + data + magic)
        return dataset("map", path, status=1)
    assert "a chunk claims" in refused(chunk(b"", 1 << 50, "zstd", zstandard.compress(b"x")))
    zeros = zstandard.compress(bytes(300 << 20))
    assert "unpacks to more than 1000 times its size" in refused(chunk(b"", 300 << 20, "zstd", zeros))
    small = chunk(b"", 60 << 20, "zstd", zstandard.compress(bytes(60 << 20)))
    said = refused(small * 40)
    assert "unpacks to more than" in said or "expected a record" in said or "within a record" in said
    assert "a record claims" in refused(struct.pack("<BQ", 5, 1 << 60))
    assert "a chunk that zstd cannot unpack, or of another size" in refused(
        chunk(b"", 100, "zstd", zstandard.compress(bytes(200))))


def test_a_message_that_holds_itself(tmp_path):
    path = tmp_path / "a.mcap"
    with Bag(path) as bag:
        for k in range(3):
            bag.raw("/v", "cdr", b"\0\1\0\0", T0 + k, ("pkg/msg/A", "ros2msg", b"A[] a\n"))
            bag.json("/cmd", {"u": k}, T0 + k)
    said = dataset("map", path, status=1)
    assert "no topic looks like an observation" in said and "messages in messages, more than 32 deep" in said


# ---- from a bag to a policy ----

def write_plant(folder, episodes):
    """A bag for each episode: joint states at 500 Hz, commands at the control rate with jitter, in ROS 2 messages."""
    random = np.random.default_rng(5)
    for i, (observations, actions, _, succeeded) in enumerate(episodes):
        with Bag(folder / f"run_{i:03}" / "run_0.mcap") as bag:
            for t, (ticks, speed, strain) in enumerate(observations):
                begin = T0 + t * plant.PERIOD
                for j in range(25):
                    at = begin + j * 0.002
                    bag.joints("/joint_states", at + 0.0012, [ticks], [speed], at, ["cart"], [strain])
                if t < len(actions):
                    bag.command("/force_controller/commands", begin + 0.01 + random.uniform(-0.004, 0.004), actions[t])
            if succeeded:
                bag.ros("/success", "std_msgs/msg/Bool", "bool data\n", {"data": True},
                        T0 + len(actions) * plant.PERIOD + 0.001)
        write_metadata(folder / f"run_{i:03}", ["run_0.mcap"])
    return folder


def test_from_a_bag_to_a_policy(workspace):
    """map, import, inspect, start and up; docs/logs.md has the commands."""
    episodes = plant.records(12)
    source = write_plant(workspace.folder / "bags", episodes)
    assert "has to be confirmed" in hindcast("dataset", "start", source, status=1).stderr
    proposal = hindcast("dataset", "map", source).stdout
    for expected in (f"control_period_s: {plant.PERIOD}\n", "clock: header\n",
                     '"/force_controller/commands": {clock: log}', "/joint_states/name is: cart",
                     'columns: ["/force_controller/commands/data"]',
                     'success: {column: "/success/data", row: next}', "success ends an episode"):
        assert expected in proposal, proposal
    rates = {one.split()[1]: one.split() for one in proposal.splitlines() if one.startswith("#   /")}
    assert abs(float(rates["/joint_states"][3]) - 500) < 1 and abs(float(rates["/joint_states"][-2]) + 1.2) < 0.01
    (source / "mapping.yaml").write_text(proposal)

    hindcast("dataset", "import", f"--to={workspace.folder / 'data'}", source)
    for ours, (observations, actions, rewards, succeeded) in zip(imported(workspace.folder / "data")[1], episodes):
        assert np.array_equal(whole(ours["observations"]), observations.astype(np.float32))
        np.testing.assert_allclose(ours["actions"], actions, atol=1e-5)
        assert np.array_equal(ours["rewards"].ravel(), rewards.astype(np.float32))
        assert ours["terminations"][-1] == succeeded
    said = hindcast("dataset", "inspect", source).stdout
    assert f"transitions  {sum(len(one[1]) for one in episodes)};" in said

    experiment = workspace.folder / "my.yaml"
    experiment.write_text(hindcast("dataset", "start", source).stdout)
    hindcast("up", experiment, "--learner.steps=30", "--learner.widths=[16,16]", *SHORT, cwd=workspace.folder)
    hindcast("policy", "export", "runs/bags", "--onnx=out.onnx", cwd=workspace.folder)
    assert (workspace.folder / "out.onnx").stat().st_size > 1000
