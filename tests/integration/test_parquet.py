"""Parquet files written by pyarrow: imported value for value, or refused with file, column and row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from test_import import dataset, imported, whole

LENGTHS = [12, 1, 40, 7]
T = sum(LENGTHS)
RANDOM = np.random.default_rng(5)
NUMBERS = {
    "bools": RANDOM.integers(0, 2, T).astype(bool),
    "int8s": RANDOM.integers(-128, 128, T).astype(np.int8),
    "uint8s": RANDOM.integers(0, 256, T).astype(np.uint8),
    "int16s": RANDOM.integers(-2**15, 2**15, T).astype(np.int16),
    "uint16s": RANDOM.integers(0, 2**16, T).astype(np.uint16),
    "int32s": RANDOM.integers(-2**31, 2**31, T).astype(np.int32),
    "uint32s": RANDOM.integers(0, 2**32, T).astype(np.uint32),
    "int64s": RANDOM.integers(-2**62, 2**62, T),
    "uint64s": RANDOM.integers(0, 2**64, T, dtype=np.uint64),
    "float16s": RANDOM.normal(0, 100, T).astype(np.float16),
    "float32s": RANDOM.normal(0, 1e4, T).astype(np.float32),
    "float64s": RANDOM.normal(0, 1e-4, T),
    "few": RANDOM.choice([0.25, -1.5, 3.0], T),  # pyarrow makes a dictionary of them
}
FIXED = RANDOM.normal(size=(T, 3)).astype(np.float32)
LISTS = RANDOM.normal(size=(T, 2))
NESTED = RANDOM.normal(size=(T, 2, 3))
ACTIONS = RANDOM.uniform(-2, 3, (T, 2))
REWARDS = RANDOM.normal(size=T)
ENDS = np.cumsum(LENGTHS) - 1


def table():
    columns = {name: pa.array(values) for name, values in NUMBERS.items()}
    columns |= {
        "fixed": pa.array(FIXED.tolist(), pa.list_(pa.float32(), 3)),
        "lists": pa.array(LISTS.tolist(), pa.list_(pa.float64())),
        "nested": pa.array(NESTED.tolist()),
        "struct": pa.array([{"a": a, "b": b.tolist()} for a, b in zip(NUMBERS["float64s"].tolist(), LISTS)]),
        "action": pa.array(ACTIONS.tolist(), pa.list_(pa.float64(), 2)),
        "reward": pa.array(REWARDS),
        "terminated": pa.array(np.isin(np.arange(T), ENDS)),
        "timestamp": pa.array((np.concatenate([np.arange(n) for n in LENGTHS]) * 20).astype("datetime64[ms]")),
        "episode": pa.array(np.repeat(np.arange(4), LENGTHS)),
        "text": pa.array([f"step {i % 3}" for i in range(T)]),
        "image": pa.array([b"\x89PNG"] * T),
        "ragged": pa.array([[1.0] * (1 + i % 3) for i in range(T)]),
    }
    return pa.table(columns)


def flat(values):
    return np.asarray(values, np.float64).astype(np.float32).reshape(len(values), -1)


FORMS = {
    "default": {},
    "groups": {"row_group_size": 17},
    "plain": {"compression": "none", "use_dictionary": False},
    "gzip": {"compression": "gzip", "data_page_version": "2.0"},
    "zstd": {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 5},
    "lz4": {"compression": "lz4", "version": "1.0"},
    "brotli": {"compression": "brotli", "write_page_checksum": True},
    "small pages": {"data_page_size": 256, "write_batch_size": 16},
    "delta": {"use_dictionary": False, "column_encoding": {"int32s": "DELTA_BINARY_PACKED", "int64s": "DELTA_BINARY_PACKED",
                                                           "float32s": "BYTE_STREAM_SPLIT", "bools": "RLE"}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_value_comes_back(tmp_path, form):
    path = tmp_path / "log.parquet"
    pq.write_table(table(), path, **FORMS[form])
    said = dataset("import", f"--to={tmp_path / 'out'}", path)
    assert 'column "text" is left out: it holds text' in said
    assert 'column "image" is left out' in said and 'column "ragged" is left out' in said
    assert "4 episodes, 60 transitions; 0 bad episodes left out" in said
    metadata, episodes = imported(tmp_path / "out")
    assert metadata["signature"]["control_period_s"] == 0.02
    expected = {**NUMBERS, "fixed": FIXED, "lists": LISTS, "nested": NESTED, "struct/a": NUMBERS["float64s"],
                "struct/b": LISTS}
    slices = [one["name"] for one in metadata["signature"]["observation"]]
    assert sorted(slices) == sorted(expected)
    first = 0
    for ours, length in zip(episodes, LENGTHS):
        rows = slice(first, first + length)
        row = np.concatenate([flat(expected[name][rows]) for name in slices], 1)
        assert np.array_equal(whole(ours["observations"])[:-1], row)
        np.testing.assert_allclose(ours["actions"], ACTIONS[rows], rtol=0, atol=1e-6)
        assert np.array_equal(ours["rewards"].ravel(), REWARDS[rows].astype(np.float32))
        assert ours["terminations"].tolist() == [False] * (length - 1) + [True]
        first += length


def test_null_is_a_missing_value(tmp_path):
    path = tmp_path / "log.parquet"
    nulls = table()
    for name, where in [("float64s", 14), ("lists", 20)]:
        values = nulls[name].to_pylist()
        values[where] = None
        nulls = nulls.set_column(nulls.column_names.index(name), name, pa.array(values, nulls[name].type))
    inside = nulls["fixed"].to_pylist()
    inside[55] = [1.0, None, 2.0]
    nulls = nulls.set_column(nulls.column_names.index("fixed"), "fixed", pa.array(inside, nulls["fixed"].type))
    pq.write_table(nulls, path)
    said = dataset("import", f"--to={tmp_path / 'out'}", path, status=1)
    assert "rows 13..52: observation: row 14 of column float64s: no value" in said
    assert "rows 53..59: observation: row 55 of column fixed: no value" in said
    assert "2 episodes, 13 transitions; 2 bad episodes left out" in said


def test_lists_of_different_length_are_named(tmp_path):
    path = tmp_path / "log.parquet"
    ragged = table()
    lengths = ragged["lists"].to_pylist()
    lengths[30], lengths[31] = [1.0], [1.0, 2.0, 3.0]
    ragged = ragged.set_column(ragged.column_names.index("lists"), "lists", pa.array(lengths))
    pq.write_table(ragged, path)
    assert f"{path}: column lists: row 30 has 1 values, expected 2" in dataset(
        "import", f"--to={tmp_path / 'out'}", path, status=1)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(table(), path, write_page_checksum=True)
    whole = path.read_bytes()
    about = pq.ParquetFile(path).metadata.row_group(0)
    names = [about.column(i).path_in_schema.split(".")[0] for i in range(about.num_columns)]
    column = about.column(names.index("float64s"))
    at = column.dictionary_page_offset or column.data_page_offset
    middle = at + column.total_compressed_size // 2
    for cut in [len(whole) - 1, len(whole) // 2, 100]:
        path.write_bytes(whole[:cut])
        assert str(path) in dataset("import", f"--to={tmp_path / 'out'}", path, status=1)
    assert not (tmp_path / "out" / "metadata.json").exists()
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1:])
    said = dataset("import", f"--to={tmp_path / 'out'}", path, status=1)
    assert f"{path}: column float64s: " in said


def test_files_that_grow_on_reading_are_refused(tmp_path):
    """Runs of one value are stored as their length: a few bytes stand for gigabytes."""
    path = tmp_path / "log.parquet"
    n = 110_000_000
    zeros = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([0.0]))
    pq.write_table(pa.table({"x": zeros}), path, row_group_size=n)
    assert path.stat().st_size < 2**20
    assert f"{path}: {n} rows" in dataset("map", path, status=1)
