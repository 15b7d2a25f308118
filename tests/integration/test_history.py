"""History stacking: what the table holds, what the evaluator acts on, and the code in docs/policies.md."""

import json
import subprocess

import h5py
import numpy as np
import pytest

import logs
import policies
from processes import BINARIES, ROOT
from replay_client import Client

T, WIDTHS = 12, (48, 40, 33)


def documented():
    """The class History of docs/policies.md."""
    text = (ROOT / "docs" / "policies.md").read_text()
    block = next(part for part in text.split("```python\n")[1:] if "class History" in part).split("```")[0]
    names = {"np": np}
    exec(block, names)  # pylint: disable=exec-used
    return names["History"]


def stacked(observations, actions, n, with_actions):
    """Observations (T + 1, O) with history; actions (T, A) are canonical."""
    history = documented()(n, actions.shape[1] if with_actions else 0)
    rows = [history.observe(observations[0])]
    rows += [history.observe(x, a) for x, a in zip(observations[1:], actions)]
    return np.array(rows, np.float32)


def slices_of(n, with_actions, slices=(("position", 8), ("velocity", 9)), A=logs.A):
    named = list(slices)
    for k in range(1, n):
        named += [(f"{name}/t-{k}", size) for name, size in slices]
    return named + [(f"action/t-{k}", A) for k in range(1, n) if with_actions]


@pytest.mark.parametrize("n, with_actions", [(3, False), (4, True)])
def test_the_table_holds_the_stacked_rows(workspace, wire, n, with_actions):
    folder = workspace.folder / "logs"
    episodes = [logs.episode(number, T, terminated=number % 2 == 0) for number in range(5)]
    logs.write_dataset(folder, [episodes[:2], episodes[2:]])
    workspace.configure(restorer={"folder": str(folder), "history": n, "history_actions": with_actions},
                        replay_server={"map_bytes": 64 << 20})
    workspace.serve("replay_server")
    workspace.start("restorer").succeed()
    Slice = wire.replay.Signature.Slice
    signature = wire.replay.Signature(
        observation=[Slice(name=name, size=size) for name, size in slices_of(n, with_actions)],
        action_min=[-1.0] * logs.A, action_max=[1.0] * logs.A, rewards=["run"], control_period_s=0.01)
    client = Client(wire, f"unix:{workspace.run_dir}/replay.sock", signature)
    assert client.info().episodes == 5
    expected = {}
    for number, one in enumerate(episodes):
        rest = logs.rows(one)[:, logs.O:]
        expected[number] = np.concatenate([stacked(one["observations"], one["actions"], n, with_actions), rest], 1)
    O = expected[0].shape[1] - logs.A - 2
    seen = set()
    for n_valid, batch in client.draw(6, batch_snippets=64, snippet_transitions=T, seed=1):
        for valid, snippet in zip(n_valid, batch):
            number, t = divmod(int(round(snippet[0, 0])), 1000)
            assert np.array_equal(snippet[:valid], expected[number][t:t + valid])
            assert np.array_equal(snippet[valid, :O], expected[number][t + valid, :O])
            seen.add((number, t))
    assert len(seen) == 5 * T
    # Another history is another table.
    other = workspace.start("restorer", "--history=2", label="other")
    assert other.wait() == 2


def test_a_mapping_stacks_on_import(tmp_path):
    path = tmp_path / "logs.npz"
    one = logs.episode(0, T)
    np.savez(path, q=one["observations"][:, :3], action=one["actions"], reward=one["rewards"])
    mapping = tmp_path / "m.yaml"
    done = subprocess.run([BINARIES["hindcast"], "dataset", "map", path], capture_output=True, text=True, check=True)
    mapping.write_text(done.stdout + "history: 2\n")
    subprocess.run([BINARIES["hindcast"], "dataset", "import", f"--mapping={mapping}", f"--to={tmp_path}/out", path],
                   check=True, capture_output=True)
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert [part["name"] for part in metadata["signature"]["observation"]] == ["q", "q/t-1"]
    with h5py.File(tmp_path / "out" / metadata["shards"][0]["file"]) as file:
        observations = file["episode_0"]["observations"]
        rows = observations[()] if isinstance(observations, h5py.Dataset) else \
            np.concatenate([observations["q"][()], observations["q/t-1"][()]], 1)
    assert np.array_equal(rows, stacked(one["observations"][:, :3], one["actions"], 2, False))


@pytest.mark.parametrize("n, with_actions", [(2, False), (3, True)])
def test_the_evaluator_acts_on_history(tmp_path, n, with_actions):
    slices = slices_of(n, with_actions)
    size = sum(one[1] for one in slices)
    signature = logs.SIGNATURE | {"observation": [{"name": name, "size": one} for name, one in slices]}
    arrays = policies.make(np.random.default_rng(5), size, logs.A, WIDTHS)
    notes = policies.notes(size, logs.A, WIDTHS) | {"signature": json.dumps(signature)}
    policies.save(tmp_path / "policy.safetensors", arrays, notes)
    done = subprocess.run([BINARIES["evaluator"], f"--policy={tmp_path}/policy.safetensors", "--environment=cheetah-run",
                           "--seed=3", "--episodes=2", f"--save={tmp_path}/logs"],
                          capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    arrays, _ = policies.load(tmp_path / "policy.safetensors")
    with h5py.File(tmp_path / "logs" / "shard-00000.hdf5") as shard:
        assert len(shard) == 2
        for number in range(2):
            observations, actions = shard[f"episode_{number}"]["observations"], shard[f"episode_{number}"]["actions"]
            if not isinstance(observations, h5py.Dataset):
                observations = np.concatenate([observations[name] for name in ("position", "velocity")], 1)
            inputs = stacked(observations[:], actions[:], n, with_actions)[:-1]
            ours = policies.mean_action(arrays, inputs.astype(np.float64))
            assert np.abs(actions[:] - ours).max() < 2e-5
            assert actions[:].std() > 0.05


def test_a_run_learns_and_evaluates_with_history(workspace):
    workspace.configure(
        experiment={"environment": "cheetah-run", "seed": 3},
        restorer={"folder": str(ROOT / "data" / "cheetah-run"), "history": 2, "history_actions": True,
                  "filter": ["best=0.1"]},
        replay_server={"map_bytes": 256 << 20},
        learner={"steps": 20, "report_every": 10, "widths": [32, 32], "batch_snippets": 8},
        evaluator={"episodes": 1})
    up = workspace.up()
    up.succeed(240)
    assert np.isfinite(workspace.json("evaluation.json")["return_mean"])
    assert workspace.json("restorer.json")["made_of"]["rules"] == "filter: best=0.1, history: 2 with actions"
    exported = subprocess.run([BINARIES["hindcast"], "policy", "inspect", str(workspace.run_dir)], capture_output=True,
                              text=True, timeout=60, check=False)
    assert "position/t-1" in exported.stdout and "action/t-1" in exported.stdout, exported.stdout + exported.stderr
