"""Writes MCAP files and ROS 2 bags with the packages mcap, mcap-ros2-support and rosbags."""

import contextlib
import json

from mcap.writer import CompressionType, Writer as McapWriter
from mcap_ros2.writer import Writer as RosWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

SEPARATOR = "=" * 80
TIME = "builtin_interfaces/Time"
HEADER = f"{SEPARATOR}\nMSG: std_msgs/Header\n{TIME} stamp\nstring frame_id\n"
TIME_TEXT = f"{SEPARATOR}\nMSG: {TIME}\nint32 sec\nuint32 nanosec\n"

JOINT_STATE = ("std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n"
               + HEADER + TIME_TEXT)
COMMAND = ("std_msgs/MultiArrayLayout layout\nfloat64[] data\n"
           f"{SEPARATOR}\nMSG: std_msgs/MultiArrayLayout\nMultiArrayDimension[] dim\nuint32 data_offset\n"
           f"{SEPARATOR}\nMSG: std_msgs/MultiArrayDimension\nstring label\nuint32 size\nuint32 stride\n")
IMU = ("std_msgs/Header header\ngeometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
       "geometry_msgs/Vector3 angular_velocity\n"
       f"{SEPARATOR}\nMSG: geometry_msgs/Quaternion\nfloat64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n"
       f"{SEPARATOR}\nMSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n" + HEADER + TIME_TEXT)

# Every kind of field that a definition can have.
ALL = """# All kinds of fields
uint8 AUTO=1
string TITLE = "a # b"
std_msgs/Header header
bool flag
byte raw     # a comment
char letter
int8 i8
uint8 u8
int16 i16
uint16 u16
int32 i32 7
uint32 u32
int64 i64
uint64 u64
float32 f32
float64 f64 -1.5
string label "none"
string<=5 brief
float64[3] fixed
float32[] free
int16[<=4] bounded
string[] names
geometry_msgs/Point[2] points
geometry_msgs/Quaternion orientation
Inner[] inner
float64 last
"""
INNER = "float32 a\nint8 b\n"
POINT = "float64 x\nfloat64 y\nfloat64 z\n"
QUATERNION = "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n"
ALL_WHOLE = (f"{ALL}{SEPARATOR}\nMSG: test_msgs/Inner\n{INNER}{SEPARATOR}\nMSG: geometry_msgs/Point\n{POINT}"
             f"{SEPARATOR}\nMSG: geometry_msgs/Quaternion\n{QUATERNION}" + HEADER + TIME_TEXT)


def ns(seconds):
    return round(seconds * 1e9)


def stamp(seconds):
    return {"sec": ns(seconds) // 10**9, "nanosec": ns(seconds) % 10**9}


def header(seconds):
    return {"stamp": stamp(seconds), "frame_id": "base"}


class Bag:
    """An MCAP file with messages in CDR (ros) and JSON (json)."""

    def __init__(self, path, compression=CompressionType.ZSTD, chunk_size=1 << 20, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "wb")  # closed by __exit__  # noqa: SIM115
        self.ros_writer = RosWriter(self.file, compression=compression, chunk_size=chunk_size, **options)
        self.json_writer = self.ros_writer._writer  # one file, both encodings
        self.schemas, self.channels = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ros_writer.finish()
        self.file.close()

    def ros(self, topic, datatype, definition, message, log, publish=None):
        if datatype not in self.schemas:
            self.schemas[datatype] = self.ros_writer.register_msgdef(datatype, definition)
        self.ros_writer.write_message(topic, self.schemas[datatype], message, ns(log),
                                      ns(log if publish is None else publish))

    def raw(self, topic, encoding, data, log, schema=("none", "jsonschema", b"{}")):
        if topic not in self.channels:
            self.channels[topic] = self.json_writer.register_channel(
                topic, encoding, self.json_writer.register_schema(*schema))
        self.json_writer.add_message(self.channels[topic], ns(log), data, ns(log))

    def json(self, topic, message, log):
        self.raw(topic, "json", json.dumps(message).encode(), log)

    def joints(self, topic, log, position, velocity, seconds=None, names=("a", "b"), effort=()):
        self.ros(topic, "sensor_msgs/msg/JointState", JOINT_STATE,
                 {"header": header(log if seconds is None else seconds), "name": list(names),
                  "position": list(position), "velocity": list(velocity), "effort": list(effort)}, log)

    def command(self, topic, log, data):
        self.ros(topic, "std_msgs/msg/Float64MultiArray", COMMAND,
                 {"layout": {"dim": [], "data_offset": 0}, "data": list(data)}, log)

    def imu(self, topic, log, quaternion, rate, seconds=None):
        self.ros(topic, "sensor_msgs/msg/Imu", IMU,
                 {"header": header(log if seconds is None else seconds),
                  "orientation": dict(zip("xyzw", map(float, quaternion))), "orientation_covariance": [0.0] * 9,
                  "angular_velocity": dict(zip("xyz", map(float, rate)))}, log)


def write_metadata(folder, files, storage="mcap", compression=""):
    listed = "".join(f"    - {name}\n" for name in files)
    (folder / "metadata.yaml").write_text(
        f"rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: {storage}\n"
        f'  compression_format: ""\n  compression_mode: "{compression}"\n  relative_file_paths:\n{listed}')


def rosbags_store():
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register({**get_types_from_msg(INNER, "test_msgs/msg/Inner"),
                    **get_types_from_msg(ALL, "test_msgs/msg/All")})
    return store


@contextlib.contextmanager
def plain_mcap(path, **options):
    with open(path, "wb") as file:
        writer = McapWriter(file, **options)
        writer.start()
        yield writer
        writer.finish()
