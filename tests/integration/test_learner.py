"""The learner as a process: logs -> restorer -> replay server -> learner, with what kills and ends it.

The logs are random walks; what is checked is that nothing is lost, doubled or left hanging, not that
anything is learned.
"""

import json
import re
import subprocess
import time

import grpc
import h5py
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from processes import BINARIES, wait_until

LEARNER = {"widths": [32, 32], "batch_snippets": 8, "snippet_transitions": 4, "samples": 5, "target_period": 10,
           "publish_every": 20, "report_every": 10, "threads": 2, "checkpoint_every_seconds": 0,
           "checkpoint_every_steps": 40, "linger_seconds": 10}
CLOCKS = {"time", "learning_seconds", "steps_per_second", "wait_share", "version", "phase_ms"}


def write_logs(folder, episodes=24, length=30):
    """Two shards of random walks beside a metadata.json that gives the signature alone."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    signature = {"observation": [{"name": "position", "size": 3}, {"name": "velocity", "size": 2}],
                 "action": {"min": [-1, -1], "max": [1, 1]}, "rewards": ["run"], "control_period_s": 0.02}
    (folder / "metadata.json").write_text(json.dumps({"signature": signature}))
    for shard in range(2):
        with h5py.File(folder / f"shard-{shard:05d}.hdf5", "w") as file:
            for i in range(episodes // 2):
                group = file.create_group(f"episode_{i}")
                group["observations"] = rng.standard_normal((length + 1, 5)).cumsum(0).astype("f4") / 8
                group["actions"] = rng.uniform(-1, 1, (length, 2)).astype("f4")
                group["rewards"] = rng.standard_normal(length).astype("f4")
                group["terminations"] = np.arange(length) == (length - 1 if i % 2 else -1)
                group["truncations"] = np.arange(length) == (-1 if i % 2 else length - 1)
                group.attrs["id"] = i
                group.attrs["total_steps"] = length


@pytest.fixture
def logged(workspace):
    """Logs, and an experiment file for all roles."""
    write_logs(workspace.folder / "logs")
    replay = f"unix:{workspace.run_dir}/replay.sock"
    workspace.configure(experiment={"name": "test", "seed": 3, "replay": [replay]}, learner=LEARNER,
                        restorer={"folder": str(workspace.folder / "logs"), "mode": "once"})
    return workspace


@pytest.fixture
def sealed(logged):
    """A replay server that holds all of them, sealed."""
    logged.server = logged.serve("replay_server")
    logged.start("restorer").succeed(30)
    return logged


def checkpoints(run_dir):
    """{step: path}"""
    return {int(path.stem[5:]): path for path in sorted((run_dir / "checkpoints").glob("step-*.safetensors"))}


def newest(run_dir):
    return max(checkpoints(run_dir))


def notes(run_dir):
    """Metadata of the newest checkpoint; looked for once, another may be on its way."""
    found = checkpoints(run_dir)
    with safetensors.safe_open(found[max(found)], "np") as file:
        return file.metadata()


def notes_of_newest(run_dir):
    """The same; empty while there is none."""
    return notes(run_dir) if checkpoints(run_dir) else {}


def reports(run_dir):
    """learner.jsonl without what depends on the clock."""
    path = run_dir / "learner.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCKS}
            for line in lines if line.endswith("\n")]


def reached(run_dir, step):
    return lambda: any(report["step"] >= step for report in reports(run_dir))


def last_step(run_dir):
    return max([0, *(report["step"] for report in reports(run_dir)), *checkpoints(run_dir)])


def further(run_dir, steps=60):
    """Has the run got this much further than it was just now? It has no end of its own meanwhile (--steps=0): what is
    to be killed in the middle is not over before, however fast the machine."""
    return reached(run_dir, last_step(run_dir) + steps)


def stub(workspace, wire):
    channel = grpc.insecure_channel(f"unix:{workspace.run_dir}/parameters.sock",
                                    [("grpc.max_receive_message_length", 64 << 20)])
    return wire.parameters_grpc.ParametersStub(channel)


@pytest.mark.parametrize("precision, precision_flag", [
    ("f32", "--precision=f32"), ("f32", "--evaluation_precision=bf16"), ("bf16", "--precision=bf16")])
def test_killed_and_resumed_is_bit_exact(sealed, precision, precision_flag):
    whole, broken = sealed.folder / "whole", sealed.folder / "broken"
    for with_server in (False, True, False, False):
        learner = sealed.start("learner", f"--run_dir={broken}", "--steps=0", precision_flag, label="broken")
        wait_until(further(broken), "60 more steps", alive=learner)
        if with_server:  # it comes back, and learning goes on
            sealed.server.kill()
            sealed.server = sealed.serve("replay_server")
            wait_until(further(broken), "the server's return", alive=learner)
        learner.kill()
    steps = last_step(broken) + 60
    for folder in (broken, whole):
        sealed.start("learner", f"--run_dir={folder}", f"--steps={steps}", precision_flag, label=folder.name).succeed()

    left, right = (safetensors.numpy.load_file(checkpoints(folder)[steps]) for folder in (whole, broken))
    assert left.keys() == right.keys() and len(left) > 50
    assert [name for name in left if left[name].tobytes() != right[name].tobytes()] == []
    assert reports(whole) == reports(broken)
    assert notes(broken)["precision"] == precision
    assert notes(broken)["evaluation_precision"] == ("f32" if precision_flag == "--precision=f32" else "bf16")
    assert notes(broken)["next_batch"] == str(steps) and notes(broken)["finished"] == "true"
    assert int(notes(broken)["version"]) > int(notes(whole)["version"])  # no number was given twice


@pytest.mark.parametrize("options", [
    ["mpo"], ["svg"], ["bm+mpo"], ["abm+mpo", "--prior_f=exp", "--prior_likelihood=censored"], ["bm+svg"], ["abm+svg"],
    ["bm"], ["abm"], ["bcq"], ["bear"], ["crr"], ["iql"], ["td3+bc"],
    ["abm+mpo", "--normalize=standard"]], ids=lambda options: options[0])
def test_every_algorithm_goes_on_bit_for_bit(sealed, options):
    """Also where the other start has its own process, and was killed before a checkpoint was due."""
    flags = [f"--algorithm={options[0]}", *options[1:], "--checkpoint_every_steps=20", "--keep_checkpoints=1000"]
    whole, broken = sealed.folder / "whole", sealed.folder / "broken"
    learner = sealed.start("learner", f"--run_dir={broken}", *flags, "--steps=0", label="broken")
    wait_until(reached(broken, 30), "step 30", alive=learner)
    learner.kill()
    # What was written after step 20 never happened.
    for step, path in checkpoints(broken).items():
        if step > 20:
            path.unlink()
    for folder in (broken, whole):
        sealed.start("learner", f"--run_dir={folder}", *flags, "--steps=60", label=folder.name).succeed()
    assert "resumed" in (sealed.folder / "broken.out").read_text()
    left, right = (safetensors.numpy.load_file(checkpoints(folder)[60]) for folder in (whole, broken))
    assert left.keys() == right.keys()
    assert [name for name in left if left[name].tobytes() != right[name].tobytes()] == []
    assert reports(whole) == reports(broken)


def test_an_eps_that_no_samples_can_meet_is_warned_of(sealed):
    """log 5 = 1.61 is the largest KL that weights over 5 samples can have."""
    for eps, warned in (("1.5", False), ("1.7", True)):
        learner = sealed.start("learner", f"--run_dir={sealed.folder / eps}", f"--eps={eps}", "--steps=1", label=eps)
        learner.succeed()
        assert ("eps cannot be met by so few samples" in learner.output.read_text()) == warned


def test_finish_ends_the_run_everywhere(sealed, wire):
    messages = wire.parameters
    learner = sealed.start("learner", "--steps=0")
    client = stub(sealed, wire)
    seen = []
    for response in client.Watch(messages.ParametersRequest(), timeout=30, wait_for_ready=True):
        seen.append(response)
        if len(seen) == 3:
            answer = client.Finish(messages.FinishRequest(version=response.version, reason="good enough", who="test",
                                                          run_id=response.run_id), timeout=10)
            assert answer.accepted
            answer = client.Finish(messages.FinishRequest(reason="later"), timeout=10)
            assert not answer.accepted and answer.reason == "good enough"
    versions = [response.version for response in seen]
    assert versions == sorted(set(versions)) and len({response.run_id for response in seen}) == 1
    assert [response.finished for response in seen] == [False] * (len(seen) - 1) + [True]
    learner.succeed(10)
    last, step = seen[-1], newest(sealed.run_dir)
    assert last.learner_step == step

    # The package is what numpy reads, and what the checkpoint holds.
    policy = safetensors.numpy.load(last.package)
    kept = safetensors.numpy.load_file(checkpoints(sealed.run_dir)[step])
    assert policy["policy/layers/0/weight"].shape == (32, 5)
    assert all((policy[name] == kept[name]).all() for name in policy if not name.startswith("observed/"))

    # Started again it says so, serves the last version, and leaves.
    learner = sealed.start("learner", "--steps=0")
    response = client.Get(messages.ParametersRequest(), timeout=10, wait_for_ready=True)
    assert response.finished and response.version == last.version and response.package == last.package
    learner.succeed(10)
    assert notes(sealed.run_dir)["finish_reason"] == "good enough" and newest(sealed.run_dir) == step


def test_a_short_run_waits_for_its_follower(sealed, wire):
    """It is over long before the evaluator that `hindcast up` promised has come."""
    learner = sealed.start("learner", "--steps=10", "--followers=1", "--linger_seconds=60")
    wait_until(lambda: sealed.run_dir.exists() and notes_of_newest(sealed.run_dir).get("finished") == "true", "the end",
               alive=learner)
    time.sleep(2)
    assert learner.ended() is None
    answers = stub(sealed, wire).Watch(wire.parameters.ParametersRequest(), timeout=20, wait_for_ready=True)
    assert [answer.finished for answer in answers] == [True]
    learner.succeed(10)


def test_sigterm_leaves_a_checkpoint_and_goes_on(sealed):
    learner = sealed.start("learner", "--steps=0")
    wait_until(reached(sealed.run_dir, 10), "a report", alive=learner)
    learner.stop(10)
    step = newest(sealed.run_dir)
    assert step >= 10
    sealed.start("learner", f"--steps={step + 50}").succeed()
    assert newest(sealed.run_dir) == step + 50
    # A run that its own limits ended goes on when they are wider.
    sealed.start("learner", f"--steps={step + 60}").succeed()
    assert newest(sealed.run_dir) == step + 60


def test_waits_for_what_is_missing_and_says_so(logged, wire):
    learner = logged.start("learner", "--steps=20")
    client = stub(logged, wire)

    def waits_for_replay():
        progress = client.Progress(wire.parameters.ProgressRequest(), timeout=10, wait_for_ready=True)
        return "waiting" in progress.state and "replay" in progress.state

    wait_until(waits_for_replay, "a word about the replay server", alive=learner)
    assert "replay" in logged.status("learner")["text"]
    logged.serve("replay_server")
    wait_until(lambda: "waiting" in logged.status("learner")["text"], "a word about the table", alive=learner)
    assert learner.ended() is None
    logged.start("restorer").succeed(30)
    learner.succeed()
    assert newest(logged.run_dir) == 20


def test_status_by_address(sealed):
    """What `hindcast status` shows without the run's folder: the learner, and the replay server that it names."""
    def status(address, *flags):
        return subprocess.run([BINARIES["hindcast"], "status", f"--parameters={address}", *flags], capture_output=True,
                              text=True, timeout=60, check=False)

    learner = sealed.serve("learner", "--steps=0")
    wait_until(further(sealed.run_dir), "steps", alive=learner)
    shown = status(f"unix:{sealed.run_dir}/parameters.sock")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^learner +running +step \d+  ", shown.stdout, re.MULTILINE)
    assert re.search(r"^ +0 follow; the newest policy is version \d+$", shown.stdout, re.MULTILINE)
    assert f"replay_server/0  running   unix:{sealed.run_dir}/replay.sock: default 24 episodes sealed\n" in shown.stdout
    sealed.server.kill()
    shown = status(f"unix:{sealed.run_dir}/parameters.sock")
    assert shown.returncode == 0 and "replay_server/0  silent    unix:" in shown.stdout
    learner.stop()
    shown = status(f"unix:{sealed.run_dir}/parameters.sock")
    assert shown.returncode == 1 and shown.stdout.startswith("learner          silent    unix:")
    wrong = status("nowhere")
    assert wrong.returncode == 2 and "experiment.parameters" in wrong.stderr
    assert status("localhost:1", "--experiment.bogus=1").returncode == 2


def test_sigterm_while_waiting(logged):
    learner = logged.serve("learner", "--steps=20")
    learner.stop(5)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_other_kernels_go_on_with_a_warning(sealed, precision):
    """The tables compute the same within rounding: a run may be taken to another machine, and is told what that means."""
    flags = [f"--precision={precision}", "--threads=1"]
    sealed.start("learner", "--steps=20", "--kernels=avx2", *flags, label="first").succeed()
    for kernels, warned in (("avx2", False), ("plain", True)):
        learner = sealed.start("learner", f"--steps={newest(sealed.run_dir) + 10}", f"--kernels={kernels}", *flags,
                               label=kernels)
        learner.succeed()
        text = learner.output.read_text()
        assert ("the run goes on with other bits than an undisturbed one: 1 threads, plain kernels, the checkpoint was "
                "made with 1 threads, avx2 kernels" in text) == warned
        assert f"kernels={kernels}:" in text
        gains = "precision bf16 gains nothing" in text  # neither table has instructions for it
        assert gains == (precision == "bf16")
    assert newest(sealed.run_dir) == 40
    refused = sealed.start("learner", "--kernels=sse", *flags, label="refused")
    assert refused.wait(20) == 2 and "kernels" in refused.tail()


def test_another_configuration_is_refused(sealed):
    sealed.start("learner", "--steps=20").succeed()
    learner = sealed.start("learner", "--steps=40", "--widths=32,16")
    assert learner.wait(20) == 2  # a restart would find the same
    assert "widths 32,32, expected 32,16" in learner.tail()
    assert newest(sealed.run_dir) == 20


def test_the_last_policy_is_there_while_the_run_is_over(sealed):
    """A run that goes on, under wider limits, has no last policy; what it leaves then is another one."""
    package = sealed.run_dir / "policy_learner.safetensors"
    sealed.start("learner", "--steps=20").succeed()
    first = package.read_bytes()
    sealed.start("learner", "--steps=20").succeed()
    assert package.read_bytes() == first  # nothing to do
    learner = sealed.start("learner", "--steps=1000000")
    wait_until(reached(sealed.run_dir, 40), "step 40", alive=learner)
    assert "the run goes on" in learner.tail() and not package.exists()
    learner.stop()
    assert not package.exists()
    step = newest(sealed.run_dir)
    sealed.start("learner", f"--steps={step + 20}").succeed()
    assert newest(sealed.run_dir) == step + 20 and package.read_bytes() != first


def test_max_seconds_ends_the_run(sealed):
    sealed.start("learner", "--max_seconds=1.5").succeed(15)
    assert notes(sealed.run_dir)["finished"] == "true" and "seconds" in notes(sealed.run_dir)["finish_reason"]
    assert 1.5 <= float(notes(sealed.run_dir)["learning_seconds"]) < 3


def test_two_learners_do_not_share_a_run(logged):
    learner = logged.serve("learner")
    second = logged.start("learner", label="second")
    assert second.wait(10) != 0 and "another learner runs in" in second.tail()
    assert logged.status("learner")["pid"] == learner.pid
    learner.stop(5)


def test_a_removed_socket_ends_the_learner_and_a_new_one_goes_on(sealed):
    """Evaluators that start later would wait for ever; the next learner binds the socket again."""
    run_dir = sealed.folder / "learned"
    learner = sealed.start("learner", f"--run_dir={run_dir}", "--steps=0", label="first")
    wait_until(lambda: checkpoints(run_dir) and newest(run_dir) >= 40, "step 40", alive=learner)
    (run_dir / "parameters.sock").unlink()
    assert learner.wait(30) == 1
    assert "parameters.sock was removed or replaced" in learner.output.read_text()
    left_at = newest(run_dir)
    again = sealed.start("learner", f"--run_dir={run_dir}", "--steps=0", label="again")
    wait_until(lambda: newest(run_dir) > left_at, "more steps", alive=again)
    again.stop()
