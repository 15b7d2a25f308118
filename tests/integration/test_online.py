"""Online learning with all processes: the collector acts, the learner learns from its episodes, the evaluator measures,
and the collector's last episode ends the run."""

import csv

from processes import wait_until

EPISODES = 40


def configure(workspace):
    workspace.configure(
        experiment={"environment": "cheetah-run", "seed": 2},
        replay_server={"min_transitions": 3000, "samples_per_insert": 2, "durability": "none"},
        learner={"algorithm": "mpo", "require_sealed": False, "batch_snippets": 16, "widths": [32, 32],
                 "samples": 8, "publish_every": 20, "threads": 1, "linger_seconds": 10},
        collector={"insert": True, "episodes": EPISODES, "random_episodes": 2, "shard_episodes": 16,
                   "finish_run": True},
        evaluator={"window_episodes": 2, "episodes": 4, "threads": 1, "min_interval_s": 1})


def returns(workspace):
    with open(workspace.run_dir / "logs" / "returns.csv") as file:
        return list(csv.DictReader(line for line in file if line.endswith("\n")))


def test_an_online_run_ends_everywhere_after_its_episodes(workspace):
    configure(workspace)
    server = workspace.serve("replay_server")
    evaluator = workspace.start("evaluator")
    collector = workspace.start("collector")
    learner = workspace.start("learner")

    # The collector is killed in mid-run: it continues with the next episode.
    wait_until(lambda: workspace.metrics("collector").get("hindcast_collector_episodes_total", 0) >= 10,
               "10 episodes", alive=collector)
    collector.kill()
    collector = workspace.start("collector", label="collector-again")

    collector.succeed(120)
    learner.succeed(60)
    evaluator.succeed(60)
    server.stop()

    lines = returns(workspace)
    assert [int(line["episode"]) for line in lines] == list(range(1, EPISODES + 1))
    assert [line["acting"] for line in lines[:2]] == ["random", "random"]
    versions = [int(line["version"]) for line in lines if line["acting"] == "policy"]
    assert len(versions) > EPISODES / 2  # it acted with what was learned
    assert versions == sorted(versions) and len(set(versions)) > 5
    report = workspace.json("evaluation.json")
    assert report["algorithm"] == "mpo" and report["tasks"][0]["n"] == 4
    evaluations = workspace.json_lines("evaluator.jsonl")
    # The version that ends a run may hold the parameters of the version before, which are measured once.
    assert evaluations[-1]["learner_step"] == report["last"]["learner_step"]
    assert report["window_return_mean"] == max(line["return_mean"] for line in evaluations)
    learned = workspace.json_lines("learner.jsonl")
    assert learned, "the learner reported nothing"
