"""Logs of every layout, written and read by the packages that people use. Started by compare_restorer.py:

    restorer_logs.py write LAYOUT FOLDER EPISODES      writes FOLDER/LAYOUT
    restorer_logs.py read LAYOUT PACKAGE FOLDER        prints {"seconds": ..}: all values as arrays, imports not timed

A row has 24 observations, 6 actions and a reward; episodes have 1000 transitions. Readers keep one file or one episode
in memory at a time, as ours do.
"""

import csv
import json
import pathlib
import sys
import time

import numpy as np

T, O, A = 1000, 24, 6
SIGNATURE = {"observation": [{"name": "state", "size": O}],
             "action": {"min": [-1.0] * A, "max": [1.0] * A}, "rewards": ["reward"], "control_period_s": 0.02}


def episode(number):
    random = np.random.default_rng(number)
    last = np.zeros(T, bool)
    last[-1] = True
    # Values with few digits, as sensors have: deflate then packs them to about a half.
    observations = np.round(random.standard_normal((T + 1, O)), 3).astype(np.float32)
    return {"observations": observations, "actions": np.round(random.uniform(-1, 1, (T, A)), 3).astype(np.float32),
            "rewards": np.round(random.random(T), 3).astype(np.float32), "terminations": last & (number % 2 == 0),
            "truncations": last & (number % 2 == 1)}


# ---- writing ----

def write_shards(folder, n, **options):
    """Hindcast's own layout, which is Minari's; 50 episodes a file."""
    import h5py
    folder.mkdir(parents=True)
    for first in range(0, n, 50):
        with h5py.File(folder / f"shard-{first // 50:05}.hdf5", "w") as file:
            for number in range(first, min(n, first + 50)):
                group = file.create_group(f"episode_{number}")
                group.attrs["id"], group.attrs["total_steps"] = number, T
                for name, values in episode(number).items():
                    group.create_dataset(name, data=values, **options)
    (folder / "metadata.json").write_text(json.dumps({"signature": SIGNATURE}))


def write_robomimic(folder, n, **options):
    import h5py
    folder.mkdir(parents=True)
    with h5py.File(folder / "demos.hdf5", "w") as file:
        for number in range(n):
            one, demo = episode(number), file.create_group(f"data/demo_{number}")
            for name, values in {"obs/state": one["observations"][:-1], "next_obs/state": one["observations"][1:],
                                 "actions": one["actions"], "rewards": one["rewards"],
                                 "dones": one["terminations"]}.items():
                demo.create_dataset(name, data=values, **options)


def write_d4rl(folder, n, **options):
    import h5py
    folder.mkdir(parents=True)
    episodes = [episode(number) for number in range(n)]
    columns = {"observations": [one["observations"][:-1] for one in episodes],
               "next_observations": [one["observations"][1:] for one in episodes],
               "actions": [one["actions"] for one in episodes], "rewards": [one["rewards"] for one in episodes],
               "terminals": [one["terminations"] for one in episodes],
               "timeouts": [one["truncations"] for one in episodes]}
    with h5py.File(folder / "d4rl.hdf5", "w") as file:
        for name, parts in columns.items():
            file.create_dataset(name, data=np.concatenate(parts), **options)


def write_npz(folder, n, save=np.savez):
    folder.mkdir(parents=True)
    for number in range(n):
        one = episode(number)
        save(folder / f"run_{number:05}.npz", state=one["observations"], action=one["actions"], reward=one["rewards"],
             terminated=one["terminations"])


def write_csv(folder, n):
    folder.mkdir(parents=True)
    names = [f"state_{i}" for i in range(O)] + [f"action_{i}" for i in range(A)] + ["reward", "terminated"]
    for number in range(n):
        one = episode(number)
        with open(folder / f"run_{number:05}.csv", "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for t in range(T):
                writer.writerow([f"{value:.6g}" for value in (*one["observations"][t], *one["actions"][t],
                                                              one["rewards"][t])] + [int(one["terminations"][t])])
            writer.writerow([f"{value:.6g}" for value in one["observations"][T]] + [""] * (A + 2))


def write_parquet(folder, n):
    """One file with a row a step, as LeRobot's."""
    import pyarrow as pa
    import pyarrow.parquet
    folder.mkdir(parents=True)
    episodes = [episode(number) for number in range(n)]

    def lists(name, width):
        flat = np.concatenate([one[name][:T] for one in episodes]).ravel()
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), width).cast(pa.list_(pa.float32()))
    table = pa.table({
        "observation.state": lists("observations", O), "action": lists("actions", A),
        "next.reward": np.concatenate([one["rewards"] for one in episodes]),
        "next.done": np.concatenate([one["terminations"] | one["truncations"] for one in episodes]),
        "timestamp": np.tile(np.arange(T, dtype=np.float32) / 50, n),
        "episode_index": np.repeat(np.arange(n), T)})
    pa.parquet.write_table(table, folder / "episodes.parquet", row_group_size=100 * T)


def write_mcap(folder, n):
    """A file an episode: JSON messages of two topics with one clock."""
    from mcap.writer import CompressionType, Writer
    folder.mkdir(parents=True)
    for number in range(n):
        one = episode(number)
        with open(folder / f"run_{number:05}.mcap", "wb") as file:
            writer = Writer(file, compression=CompressionType.LZ4)
            writer.start()
            schema = writer.register_schema(name="Values", encoding="jsonschema", data=b'{"type": "object"}')
            topics = [writer.register_channel(topic=topic, message_encoding="json", schema_id=schema)
                      for topic in ("/state", "/action", "/reward")]
            for t in range(T):
                stamp = t * 20_000_000
                for channel, values in zip(topics, ({"q": one["observations"][t].tolist()},
                                                    {"tau": one["actions"][t].tolist()},
                                                    {"reward": float(one["rewards"][t])})):
                    writer.add_message(channel_id=channel, log_time=stamp, publish_time=stamp,
                                       data=json.dumps(values).encode())
            writer.finish()


GZIP = {"compression": "gzip", "compression_opts": 6, "chunks": True}
# Layout: how it is written, and the packages that read it.
LAYOUTS = {
    "shards": (write_shards, ["h5py"]),
    "shards-gzip": (lambda folder, n: write_shards(folder, n, **GZIP), ["h5py"]),
    "robomimic": (write_robomimic, ["h5py"]),
    "d4rl": (write_d4rl, ["h5py"]),
    "d4rl-gzip": (lambda folder, n: write_d4rl(folder, n, **GZIP), ["h5py"]),
    "npz": (write_npz, ["numpy"]),
    "npz-deflate": (lambda folder, n: write_npz(folder, n, np.savez_compressed), ["numpy"]),
    "csv": (write_csv, ["csv", "pyarrow"]),
    "parquet": (write_parquet, ["pyarrow"]),
    "mcap": (write_mcap, ["mcap"]),
}


# ---- reading ----

def read_h5py(folder):
    import h5py
    yield

    def visit(group):
        for value in group.values():
            if isinstance(value, h5py.Dataset):
                value[()]
            else:
                visit(value)
    for path in sorted(folder.glob("*.hdf5")):
        with h5py.File(path) as file:
            visit(file)


def read_numpy(folder):
    yield
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            for name in file.files:
                file[name]


def read_csv(folder):
    yield
    for path in sorted(folder.glob("*.csv")):
        with open(path, newline="", encoding="ascii") as file:
            rows = csv.reader(file)
            next(rows)
            np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])


def read_mcap(folder):
    from mcap.reader import make_reader
    yield
    for path in sorted(folder.glob("*.mcap")):
        with open(path, "rb") as file:
            values = {}
            for _, channel, message in make_reader(file).iter_messages():
                for name, value in json.loads(message.data).items():
                    values.setdefault((channel.topic, name), []).append(value)
            for value in values.values():
                np.array(value)


def read_pyarrow(folder):
    import pyarrow.csv
    import pyarrow.parquet
    yield
    for path in sorted(folder.glob("*.parquet")):
        for column in pyarrow.parquet.read_table(path, use_threads=False).columns:
            for chunk in column.chunks:
                getattr(chunk, "flatten", lambda one=chunk: one)().to_numpy(zero_copy_only=False)
    for path in sorted(folder.glob("*.csv")):
        table = pyarrow.csv.read_csv(path, read_options=pyarrow.csv.ReadOptions(use_threads=False))
        for column in table.columns:
            column.to_numpy()


READERS = {"h5py": read_h5py, "numpy": read_numpy, "csv": read_csv, "pyarrow": read_pyarrow, "mcap": read_mcap}


def main(command, layout, *rest):
    if command == "write":
        LAYOUTS[layout][0](pathlib.Path(rest[0]) / layout, int(rest[1]))
        return
    steps = READERS[rest[0]](pathlib.Path(rest[1]) / layout)
    next(steps)  # the imports
    began = time.perf_counter()
    for _ in steps:
        pass
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
