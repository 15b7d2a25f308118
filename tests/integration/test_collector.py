"""hindcast-collector without a learner: h5py reads its logs, the replay server gets all episodes, kill -9 loses none."""

import csv
import json
import re
import shutil

import grpc
import h5py
import numpy as np

import policies
from processes import wait_until


def configure(workspace, **options):
    workspace.configure(
        experiment={"environment": "cheetah-run", "seed": 9},
        collector={"act": "random", "shard_episodes": 8, **options})


def returns(workspace):
    path = workspace.run_dir / "logs" / "returns.csv"
    if not path.exists():
        return []
    with open(path) as file:
        return list(csv.DictReader(line for line in file if line.endswith("\n")))


def logged(workspace):
    """All episodes of the shards, in order: (sequence, observations, actions, rewards)."""
    folder = workspace.run_dir / "logs"
    shards = json.loads((folder / "metadata.json").read_text())["shards"]
    episodes = []
    for shard in shards:
        with h5py.File(folder / shard["file"]) as file:
            for number in range(len(file)):
                group = file[f"episode_{number}"]
                episodes.append((int(group.attrs["identity"][2]), group["observations"][:], group["actions"][:],
                                 group["rewards"][:]))
    return episodes


def check_logs(workspace, n):
    lines, episodes = returns(workspace), logged(workspace)
    assert [int(line["episode"]) for line in lines] == list(range(1, n + 1))
    assert [sequence for sequence, *_ in episodes] == list(range(1, n + 1))
    for line, (_, observations, actions, rewards) in zip(lines, episodes):
        assert observations.shape == (1001, 17) and actions.shape == (1000, 6)
        assert np.isfinite(observations).all() and (np.abs(actions) <= 1).all()
        assert abs(float(line["return_run"]) - rewards.astype(np.float64).sum()) < 1e-4
        assert (line["acting"], line["task"], line["steps"]) == ("random", "run", "1000")
    return episodes


def test_kill_and_resume_keep_every_finished_episode(workspace):
    configure(workspace)
    kept = 0
    for start in range(3):
        collector = workspace.start("collector", label=f"collector-{start}")
        wait_until(lambda: len(returns(workspace)) >= kept + 11, "11 more episodes", alive=collector)
        collector.kill()
        kept = len(returns(workspace)) - 1  # the last line may precede its episode
    n = kept + 20
    workspace.start("collector", f"--episodes={n}", "--environments=2").succeed()
    killed = check_logs(workspace, n)
    walls = [float(line["wall_s"]) for line in returns(workspace)]
    assert walls == sorted(walls)

    # A collector that was never killed writes the same log.
    again = type(workspace)()
    try:
        configure(again)
        again.start("collector", f"--episodes={n}").succeed()
        for one, other in zip(killed, check_logs(again, n)):
            assert all(np.array_equal(a, b) for a, b in zip(one, other))
    finally:
        again.close()


def test_sigterm_leaves_whole_logs(workspace):
    configure(workspace)
    collector = workspace.serve("collector")
    wait_until(lambda: len(returns(workspace)) >= 5, "5 episodes", alive=collector)
    metrics = workspace.metrics("collector")
    assert metrics["hindcast_collector_episodes_total"] >= 4  # the line comes first
    assert 'hindcast_collector_episode_return{task="run"}' in metrics
    collector.stop(10)
    check_logs(workspace, len(returns(workspace)))


def test_another_seed_does_not_mix_in(workspace):
    configure(workspace)
    workspace.start("collector", "--episodes=1").succeed()
    other = workspace.start("collector", "--episodes=2", "--experiment.seed=10", label="other")
    assert other.wait() == 2  # starting it again would not help
    assert "seed 9" in other.tail()
    check_logs(workspace, 1)


def replay_info(workspace, wire):
    """The default table, as Info reports it."""
    with grpc.insecure_channel(f"unix:{workspace.run_dir}/replay.sock") as channel:
        info = wire.replay_grpc.ReplayStub(channel).Info(wire.replay.InfoRequest(), timeout=10)
    return info.tables[0]


def test_the_replay_gets_every_episode_once(workspace, wire):
    """Collector and server are killed in turn; in the end the server holds the same episodes as the logs."""
    configure(workspace, insert=True)
    server = workspace.serve("replay_server")
    collector = workspace.start("collector", label="collector-0")
    wait_until(lambda: len(returns(workspace)) >= 10, "10 episodes", alive=collector)
    collector.kill()
    collector = workspace.start("collector", label="collector-1")
    wait_until(lambda: len(returns(workspace)) >= 20, "20 episodes", alive=collector)
    server.kill()
    server = workspace.start("replay_server", label="replay_server-1")
    n = len(returns(workspace)) + 10
    wait_until(lambda: len(returns(workspace)) >= n, "10 more with a new server", alive=collector)
    collector.stop()
    n = len(returns(workspace)) + 5
    workspace.start("collector", f"--episodes={n}", label="collector-2").succeed()
    check_logs(workspace, n)
    table = replay_info(workspace, wire)
    assert (table.episodes, table.transitions) == (n, 1000 * n)
    assert table.signature.rewards == ["run"]


def test_a_lost_store_is_filled_again_from_the_logs(workspace, wire):
    configure(workspace, insert=True)
    server = workspace.serve("replay_server")
    workspace.start("collector", "--episodes=13").succeed()
    assert replay_info(workspace, wire).episodes == 13
    server.kill()
    shutil.rmtree(workspace.run_dir / "replay")
    workspace.serve("replay_server")
    workspace.start("collector", "--episodes=15", label="again").succeed()
    assert replay_info(workspace, wire).episodes == 15


def sawyer_policy(workspace, path, tasks):
    """Writes a random policy for these tasks of sawyer-stack; returns its arrays."""
    workspace.configure(experiment={"environment": "sawyer-stack"}, collector={"act": "random", "episodes": 1})
    workspace.start("collector", label="for the signature").succeed()
    signature = json.loads((workspace.run_dir / "logs" / "metadata.json").read_text())["signature"]
    signature["rewards"] = tasks
    arrays = policies.make(np.random.default_rng(3), 58 + len(tasks), 5, (32, 32))
    policies.save(path, arrays, {**policies.notes(58, 5, (32, 32)), "tasks": str(len(tasks)), "learner_step": "77",
                                 "signature": json.dumps(signature)})
    return arrays


def distances_to_mean(workspace, arrays, tasks):
    """Of each episode's actions to what the policy's mean is there."""
    names = {line["episode"]: line["task"] for line in returns(workspace)}
    distances = []
    for sequence, observations, actions, _ in logged(workspace):
        task = np.eye(len(tasks))[tasks.index(names[str(sequence)])]
        inputs = np.concatenate([observations[:-1], np.tile(task, (len(actions), 1))], axis=1)
        distances.append(actions - policies.mean_action(arrays, inputs))
    return distances


def test_a_saved_policy_acts_without_a_learner(workspace, tmp_path):
    """By samples of its distribution, for several tasks; the log is the same in one environment and in five."""
    arrays = sawyer_policy(workspace, tmp_path / "policy.safetensors", ["stack", "reach"])
    logs = []
    for label, *flags in [("one",), ("five", "--environments=5", "--threads=2")]:
        workspace.run_dir = workspace.folder / label
        workspace.configure(experiment={"environment": "sawyer-stack", "seed": 4},
                            collector={"policy": str(tmp_path / "policy.safetensors"), "episodes": 6})
        collector = workspace.start("collector", *flags, label=label)
        collector.succeed()
        lines = returns(workspace)
        assert {line["acting"] for line in lines} == {"policy"} and {line["task"] for line in lines} == {"stack", "reach"}
        assert {line["learner_step"] for line in lines} == {"77"} and {line["success"] for line in lines} <= {"0", "1"}
        assert re.search(r"pursued task=reach episodes=\d return_mean=[\d.]+ success=[01]\.", collector.output.read_text())
        logs.append(logged(workspace))
    for one, other in zip(*logs):
        assert one[0] == other[0]
        for part in range(1, 4):
            assert (one[part].view(np.uint32) == other[part].view(np.uint32)).all()
    # Actions scatter about the policy's mean by its std.
    spread = np.std(np.concatenate(distances_to_mean(workspace, arrays, ["stack", "reach"])))
    assert 0.05 < spread < 0.5, spread


def test_noise_may_be_correlated_from_step_to_step(workspace, tmp_path):
    """noise_correlation: actions change slowly, each scatters as widely as without it."""
    arrays = sawyer_policy(workspace, tmp_path / "policy.safetensors", ["stack", "reach"])
    spreads = []
    for asked in (0, 0.8):
        workspace.run_dir = workspace.folder / str(asked)
        workspace.configure(experiment={"environment": "sawyer-stack", "seed": 4},
                            collector={"policy": str(tmp_path / "policy.safetensors"), "episodes": 12,
                                       "noise_correlation": asked})
        workspace.start("collector", label=str(asked)).succeed()
        episodes = distances_to_mean(workspace, arrays, ["stack", "reach"])
        before, after = (np.concatenate([part[cut] for part in episodes])
                         for cut in (slice(None, -1), slice(1, None)))
        correlations = [np.corrcoef(before[:, i], after[:, i])[0, 1] for i in range(after.shape[1])]
        assert abs(np.mean(correlations) - asked) < 0.15, correlations  # actions are clipped, which shifts it
        spreads.append(np.std(after))
    assert abs(spreads[1] / spreads[0] - 1) < 0.1, spreads


def test_a_saved_policy_that_does_not_fit_is_refused(workspace, tmp_path):
    sawyer_policy(workspace, tmp_path / "policy.safetensors", ["stack", "reach"])
    for name, said in ("policy", "environment and policy"), ("absent", "absent.safetensors"):
        workspace.run_dir = workspace.folder / name
        configure(workspace, act="policy", policy=str(tmp_path / f"{name}.safetensors"), episodes=1)
        collector = workspace.start("collector", label=name)
        assert collector.wait() != 0 and said in collector.output.read_text()
