"""Writes TFRecord files of tf.train.Example without TensorFlow: protobuf for the messages, CRC32C by its definition."""

import struct

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def _example_class():
    """tf.train.Example, from a description of its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields, parent=file.message_type):
        made = parent.add(name=name)
        for number, (field, kind, label, type_name) in enumerate(fields, 1):
            made.field.add(name=field, number=number, type=kind, label=label,
                           type_name=f".tensorflow.{type_name}" if type_name else None)
        return made

    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    message("BytesList", ("value", kinds.TYPE_BYTES, many, None))
    message("FloatList", ("value", kinds.TYPE_FLOAT, many, None))
    message("Int64List", ("value", kinds.TYPE_INT64, many, None))
    feature = message("Feature", *((f"{name}_list", kinds.TYPE_MESSAGE, one, f"{name.capitalize()}List")
                                   for name in ("bytes", "float", "int64")))
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message("Features", ("feature", kinds.TYPE_MESSAGE, many, "Features.FeatureEntry"))
    entry = message("FeatureEntry", ("key", kinds.TYPE_STRING, one, None), ("value", kinds.TYPE_MESSAGE, one, "Feature"),
                    parent=features.nested_type)
    entry.options.map_entry = True
    message("Example", ("features", kinds.TYPE_MESSAGE, one, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()


def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = list(_table())


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def example(features):
    """{name: floats, integers, or list of bytes} as the bytes of an Example."""
    made = Example()
    for name, values in features.items():
        feature = made.features.feature[name]
        if isinstance(values, list):
            feature.bytes_list.value.extend(values)
        elif values.dtype.kind in "iu":
            feature.int64_list.value.extend(values.ravel().tolist())
        else:
            feature.float_list.value.extend(values.ravel().tolist())
    return made.SerializeToString()


def write(path, examples):
    path.write_bytes(b"".join(record(example(one)) for one in examples))
