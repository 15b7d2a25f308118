"""The dashboard: `hindcast dashboard` and the evaluator's page, over real runs. What a browser makes of the page is tested
by tests/all/browser."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request

import pytest
from jsonschema import Draft4Validator
from openapi_spec_validator import validate

from processes import BINARIES, SLOW, wait_until
from test_up import experiment  # noqa: F401 (a fixture)


def get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def runs(address):
    return {run["name"]: run for run in json.loads(get(address, "/runs.json")[1])["runs"]}


@pytest.fixture
def dashboard():
    """Starts `hindcast dashboard FOLDER`; its address."""
    started = []

    def start(folder):
        process = subprocess.Popen([BINARIES["hindcast"], "dashboard", folder, "--address=127.0.0.1:0"],
                                   stdout=subprocess.PIPE, text=True)
        started.append(process)
        return re.search(r"http://([\d.:]+)/", process.stdout.readline())[1]
    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10 * SLOW) == 0
        process.stdout.close()


def nullable(schema):
    """OpenAPI 3.0 says `nullable` where JSON schema has a list of types."""
    if isinstance(schema, dict):
        made = {key: nullable(value) for key, value in schema.items() if key != "nullable"}
        if schema.get("nullable"):
            made["type"] = [schema["type"], "null"]
        return made
    return [nullable(item) for item in schema] if isinstance(schema, list) else schema


def check_against_api(address):
    """The OpenAPI file is one, and the answer is as it says."""
    api = json.loads(get(address, "/openapi.json")[1])
    validate(api)
    schema = nullable({**api, "$ref": "#/components/schemas/Runs"})
    Draft4Validator(schema).validate(json.loads(get(address, "/runs.json")[1]))


def test_runs_are_shown_while_they_go_on_and_afterwards(experiment, dashboard):  # noqa: F811
    experiment.sections(learner={"steps": 1000000, "publish_every": 20, "report_every": 10})
    address = dashboard(experiment.folder)
    up = experiment.up()
    wait_until(lambda: any(len(run["evaluations"].get("return_mean", [])) >= 3 and run["learner"] and run["logs"]
                           for run in runs(address).values()), "three evaluations", 90, alive=up)
    check_against_api(address)
    name, run = next(iter(runs(address).items()))
    assert name == experiment.run_dir.name and run["state"] == "running"
    assert {"learner", "evaluator", "replay_server"} <= {process["name"] for process in run["processes"]}
    task = next(iter(run["logs"]))
    lines = experiment.json_lines("evaluator.jsonl")
    shown = run["evaluations"]
    assert shown[f"tasks/{task}/mean"][:3] == pytest.approx([line["tasks"][0]["mean"] for line in lines[:3]], rel=1e-5)
    assert shown["time"][0] == pytest.approx(lines[0]["time"], abs=0.01)
    assert run["logs"][task]["mean"] <= run["logs"][task]["max"]

    # The evaluator's own page shows the same run.
    own = (experiment.run_dir / "evaluator.admin").read_text().strip()
    wait_until(lambda: runs(own).get(name, {}).get("evaluations"), "the evaluator's page")
    check_against_api(own)
    assert '"/evaluations.json"' in get(own, "/openapi.json")[1] and json.loads(get(own, "/evaluations.json")[1])["evaluations"]

    # A process that hangs is said to; one that goes on again is not.
    learner = experiment.status("learner")["pid"]
    os.kill(learner, signal.SIGSTOP)
    wait_until(lambda: any("learner does not answer" in text for text in runs(address)[name]["alerts"]), "the alert", 30)
    os.kill(learner, signal.SIGCONT)
    wait_until(lambda: not any("learner does not answer" in text for text in runs(address)[name]["alerts"]), "its end", 30)

    up.signal(signal.SIGINT)
    up.wait(60)
    wait_until(lambda: runs(address)[name]["state"] != "running", "the end", 30)
    assert runs(address)[name]["alerts"] == []
    check_against_api(address)


def write_run(folder, n):
    folder.mkdir(parents=True)
    with open(folder / "evaluator.jsonl", "w", encoding="ascii") as file:
        for i in range(n):
            task = {"task": "run", "mean": i % 50, "min": 0, "q1": 1, "median": 2, "q3": 3, "max": 99}
            file.write(json.dumps({"run_id": "a", "version": i + 1, "learner_step": 10 * i, "time": 1.7e9 + i,
                                   "return_mean": i % 50, "tasks": [task]}) + "\n")


def test_many_runs_and_many_points(tmp_path, dashboard):
    write_run(tmp_path / "long", 10000)
    for seed in (1, 2):
        write_run(tmp_path / "swept" / f"seed-{seed}", 5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "evaluator.jsonl").write_bytes(b"\xff\xfe{{{\n" * 10)
    address = dashboard(tmp_path)
    wait_until(lambda: len(runs(address)) == 4, "four runs")
    shown = runs(address)
    assert sorted(shown) == ["broken", "long", "swept/seed-1", "swept/seed-2"]
    steps = shown["long"]["evaluations"]["learner_step"]
    assert 256 <= len(steps) <= 512 and steps[0] == 0 and steps[-1] == 99990 and steps == sorted(steps)
    assert shown["broken"]["evaluations"] == {} and shown["long"]["state"] == "stopped"
    check_against_api(address)
    # A run that is removed is not shown any more.
    (tmp_path / "broken" / "evaluator.jsonl").unlink()
    wait_until(lambda: "broken" not in runs(address), "its end")


def test_the_page_needs_nothing_from_elsewhere(tmp_path, dashboard):
    address = dashboard(tmp_path)
    kind, page = get(address, "/")
    assert kind.startswith("text/html") and "default-src 'self'" in page
    for path in re.findall(r'(?:src|href)="([^"]+)"', page):
        if not path.startswith("data:"):
            assert "://" not in path and get(address, f"/{path}")[1]
    assert "://" not in get(address, "/dashboard.js")[1] and "://" not in get(address, "/dashboard.css")[1]
    with pytest.raises(urllib.error.HTTPError):
        get(address, "/../etc/passwd")
    request = urllib.request.Request(f"http://{address}/runs.json", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403


@pytest.mark.parametrize("arguments, code, said", [
    (["nowhere"], 1, "nowhere: no such folder; expected a run, or a folder of runs"),
    ([".", "--address=0.0.0.0:0"], 1, "loopback"),
    ([".", "--address=here"], 1, "here"),
    ([".", "more"], 2, "usage"),
    (["--port=1"], 2, "usage"),
])
def test_wrong_arguments(tmp_path, arguments, code, said):
    done = subprocess.run([BINARIES["hindcast"], "dashboard", *arguments], cwd=tmp_path, capture_output=True, text=True,
                          timeout=20 * SLOW)
    assert done.returncode == code and said in done.stderr


def status_of(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_films_are_offered_and_nothing_else(tmp_path, dashboard):
    run = tmp_path / "abm+mpo" / "seed-1"
    (run / "films").mkdir(parents=True)
    (run / "learner.jsonl").write_text('{"step": 1, "time": 1.0}\n')
    (run / "secret.gif").write_bytes(b"no")
    (tmp_path / "outside.gif").write_bytes(b"no")
    for name in "reach", "lift":
        (run / "films" / f"{name}.gif").write_bytes(b"GIF89a\0" + name.encode())
        (run / "films" / f"{name}.png").write_bytes(b"\x89PNG\0" + name.encode())
    (run / "films" / ".reach.gif.tmp").write_bytes(b"no")
    (run / "films" / "link.gif").symlink_to(tmp_path / "outside.gif")
    os.mkfifo(run / "films" / "pipe.gif")
    address = dashboard(tmp_path)
    wait_until(lambda: runs(address), "the run")
    check_against_api(address)
    films = runs(address)["abm+mpo/seed-1"]["films"]
    assert [film["task"] for film in films] == ["lift", "reach"]
    assert films[0]["time"] == pytest.approx((run / "films" / "lift.gif").stat().st_mtime, abs=1)
    for path in "/films/abm%2Bmpo/seed-1/reach.gif?1", "/films/abm+mpo/seed-1/reach.gif":
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            assert answer.read() == b"GIF89a\0reach" and answer.headers["Content-Type"] == "image/gif"
    with urllib.request.urlopen(f"http://{address}/films/abm+mpo/seed-1/lift.png", timeout=10) as answer:
        assert answer.read() == b"\x89PNG\0lift" and answer.headers["Content-Type"] == "image/png"
    for path in ("", "abm+mpo/seed-1/", "abm+mpo/seed-1/none.gif", "abm+mpo/seed-1/link.gif", "abm+mpo/seed-1/pipe.gif",
                 "abm+mpo/seed-1/.reach.gif.tmp", "abm+mpo/seed-1/../secret.gif", "abm+mpo/seed-1/%2e%2e/secret.gif",
                 "abm+mpo/seed-1/films/reach.gif", "/etc/passwd", "../../etc/passwd", "%00", "abm+mpo/seed-1/reach.gif/"):
        assert status_of(address, f"/films/{path}") == 404, path
    # A file that went after it was told of, or became something else, is no answer.
    (run / "films" / "reach.gif").unlink()
    (run / "films" / "reach.gif").symlink_to(tmp_path / "outside.gif")
    assert status_of(address, "/films/abm+mpo/seed-1/reach.gif") == 404
