"""The manifests of deploy/kubernetes, without a cluster: kustomize builds them, they fit Kubernetes' own schemas, and what they
run is there. tests/all/kubernetes runs the pods."""

import re
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import yaml

from processes import BINARIES, ROOT, SLOW

FOLDER = ROOT / "deploy" / "kubernetes"
KUBECTL = ROOT / "third_party" / "kubectl" / "kubectl"
EXTENSIONS = yaml.safe_load((ROOT / "tests" / "kubernetes" / "extensions.yaml").read_text())


def job(spec):
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": spec}


def mpi_pods(one):
    """An MPIJob's templates of pods with the restart policy that the operator gives them: {Launcher or Worker: template}."""
    return {name: {**replicas["template"], "spec": {**replicas["template"]["spec"], "restartPolicy": replicas["restartPolicy"]}}
            for name, replicas in one["spec"]["mpiReplicaSpecs"].items()}


def standard(one):
    """The standard objects in an object of an extension, or the object itself."""
    if one["kind"] == "JobSet":
        return [job(replicated["template"]["spec"]) for replicated in one["spec"]["replicatedJobs"]]
    if one["kind"] == "MPIJob":
        return [job({"template": template}) for template in mpi_pods(one).values()]
    return [] if one["kind"] in EXTENSIONS else [one]


def built(overlay):
    """The objects of an overlay: {(kind, name): object}."""
    done = subprocess.run([KUBECTL, "kustomize", FOLDER / "overlays" / overlay], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == 0, done.stderr
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}


def pods(objects):
    """[(name of the workload, pod specification)]."""
    found = [(name, inner["spec"].get("template", {}).get("spec"))
             for (_, name), one in objects.items() for inner in standard(one) if "spec" in inner]
    return [(name, pod) for name, pod in found if pod]


@pytest.fixture(scope="module", params=["laptop", "cluster", "cluster-mpi"])
def objects(request):
    return built(request.param)


def test_they_fit_the_schemas(objects):
    for one in objects.values():
        if one["kind"] in EXTENSIONS:
            jsonschema.validate(one["spec"], EXTENSIONS[one["kind"]])
        for inner in standard(one):
            kubernetes_validate.validate(inner, "1.37", strict=True)


def test_a_misspelt_key_is_found(objects):
    """The check above can fail."""
    wrong = objects["StatefulSet", "replay"]
    wrong = {**wrong, "spec": {**wrong["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)
    for one in objects.values():
        if one["kind"] in EXTENSIONS:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({**one["spec"], "replica": 2}, EXTENSIONS[one["kind"]])


def test_pods_may_do_little(objects):
    assert {name for name, _ in pods(objects)} == {"replay", "restorer", "learner", "evaluator"}
    for name, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"], name
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], name
            assert rights["capabilities"] == {"drop": ["ALL"]} and "memory" in container["resources"]["limits"], name


def test_the_programs_take_their_commands(objects, tmp_path):
    """Each container's command line, with the experiment of the ConfigMap, as --check sees it."""
    experiment = yaml.safe_load(objects["ConfigMap", "hindcast-experiment"]["data"]["experiment.yaml"])
    if "tls_ca" in experiment["experiment"]:  # as the secrets would have them
        subprocess.run([BINARIES["hindcast"], "certs", f"--to={tmp_path}", "tls"], check=True, capture_output=True)
        experiment["experiment"] |= {"tls_ca": f"{tmp_path}/ca.pem", "tls_cert": f"{tmp_path}/tls.pem",
                                     "tls_key": f"{tmp_path}/tls.key"}
    for option, section in (("token_file", "experiment"), ("admin_tokens_file", "experiment"), ("tokens_file", "replay_server"),
                            ("tokens_file", "learner")):
        if option in experiment[section]:
            token = tmp_path / option
            token.write_text("restorer-0123456789" + ("\n" if option == "token_file" else " insert,sample,read\n"))
            token.chmod(0o600)
            experiment[section][option] = str(token)
    experiment["experiment"]["run_dir"] = str(tmp_path / "run")
    experiment["restorer"]["folder"] = str(ROOT / "data" / "cheetah-run")
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(experiment))
    for _, pod in pods(objects):
        words = " ".join(pod["containers"][0]["command"])
        if words.startswith("/usr/sbin/sshd"):
            continue  # starts what the launcher names
        role = re.search(r"hindcast-(\S+) --", words).group(1).replace("-", "_")
        words = words.replace("/etc/hindcast/experiment.yaml", str(config)).replace("stay ", "")
        # The shell's part, and what numbers the pod, as in a pod.
        program = words[words.index(f"hindcast-{role.replace('_', '-')}"):].split(" ", 1)[1]
        done = subprocess.run(["sh", "-c", f'exec "$0" {program} --check=true', BINARIES[role]], capture_output=True, text=True,
                              timeout=60 * SLOW, check=False,
                              env={"HOSTNAME": "replay-0", "JOB_COMPLETION_INDEX": "1", "PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def test_addresses_and_numbers_agree(objects):
    """Pods have the names that the experiment gives its servers, and are as many as it says."""
    experiment = yaml.safe_load(objects["ConfigMap", "hindcast-experiment"]["data"]["experiment.yaml"])
    # Pages beyond loopback need tokens and TLS, or are refused without this.
    security = experiment["experiment"]
    assert security["admin"] == "0.0.0.0:9464"
    assert security.get("allow_insecure", False) is not ({"tls_cert", "admin_tokens_file"} <= security.keys())
    shards = objects["StatefulSet", "replay"]["spec"]["replicas"]
    assert experiment["experiment"]["replay"] == [f"replay-{i}.replay:6400" for i in range(shards)]
    assert objects["StatefulSet", "replay"]["spec"]["serviceName"] == "replay"
    assert objects["Job", "restorer"]["spec"]["completions"] == experiment["restorer"]["count"]
    if ("JobSet", "learner") in objects:
        learner = objects["JobSet", "learner"]["spec"]
        job, first = learner["replicatedJobs"][0]["template"]["spec"], f"learner-{learner['replicatedJobs'][0]['name']}-0-0"
        assert learner["network"]["subdomain"] == "learner"
    elif ("MPIJob", "learner") in objects:
        # Ranks are counted by mpirun; the experiment is that of the JobSet.
        evaluator = objects["Deployment", "evaluator"]["spec"]["template"]["spec"]["containers"][0]
        assert evaluator["command"][-1] == "--parameters=learner-launcher.learner:6401"
        return
    else:
        job, first = objects["Job", "learner"]["spec"], "learner-0"
        assert job["template"]["spec"]["subdomain"] == objects["Service", "learner"]["metadata"]["name"] == "learner"
    assert job["completions"] == job["parallelism"] == experiment["learner"]["ranks"]
    assert experiment["experiment"]["parameters"] == f"{first}.learner:6401"


def test_learners_of_all_kinds_are_the_same_pods():
    job, = yaml.safe_load_all((FOLDER / "learners-job" / "learner.yaml").read_text())
    jobset, = yaml.safe_load_all((FOLDER / "learners-jobset" / "learner.yaml").read_text())
    mpijob, = yaml.safe_load_all((FOLDER / "learners-mpijob" / "learner.yaml").read_text())
    inner = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert inner["template"]["spec"].pop("subdomain", "learner") == job["spec"]["template"]["spec"].pop("subdomain")
    assert inner == job["spec"]
    for one in (jobset, mpijob):
        assert one["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "hindcast"
    # Over MPI they are started in another way, and have what ssh needs.
    plain = job["spec"]["template"]
    for pod in mpi_pods(mpijob).values():
        learner, = pod["spec"]["containers"]
        for key in ("image", "command", "ports", "livenessProbe", "readinessProbe"):
            learner.pop(key, None)
            plain["spec"]["containers"][0].pop(key, None)
        learner["volumeMounts"].remove({"name": "ssh", "mountPath": "/etc/hindcast-ssh", "readOnly": True})
        pod["spec"]["volumes"].remove({"name": "ssh", "configMap": {"name": "hindcast-ssh"}})
        assert pod == plain


@pytest.mark.parametrize("overlay", ["cluster", "cluster-mpi"])
def test_monitoring_finds_the_ports(overlay):
    objects = built(overlay)
    monitor = objects["PodMonitor", "hindcast"]["spec"]
    assert monitor["selector"]["matchLabels"] == {"app": "hindcast"}
    for name, pod in pods(objects):
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        assert ports[monitor["podMetricsEndpoints"][0]["port"]] == 9464, name


@pytest.mark.parametrize("overlay", ["cluster", "cluster-mpi"])
def test_pages_are_read_over_tls_with_a_token(overlay):
    objects = built(overlay)
    endpoint, = objects["PodMonitor", "hindcast"]["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https" and endpoint["authorization"]["credentials"]["name"] == "hindcast-tokens"
    experiment = yaml.safe_load(objects["ConfigMap", "hindcast-experiment"]["data"]["experiment.yaml"])["experiment"]
    for name, pod in pods(objects):
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        tokens, = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "tokens"]
        assert experiment["admin_tokens_file"] in [f"{mounts['tokens']}/{item['path']}" for item in tokens["items"]], name
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "exec" in pod["containers"][0].get(kind, {}):
                command = pod["containers"][0][kind]["exec"]["command"]
                assert "--admin=https://127.0.0.1:9464" in command, name
                assert f"--experiment.tls_ca={experiment['tls_ca']}" in command, name


@pytest.mark.parametrize("base", ["base", "base-cluster"])
def test_the_experiment_learns_as_the_quick_start_does(base):
    quick_start = yaml.safe_load((ROOT / "experiments" / "cheetah-run.yaml").read_text())["learner"]
    learner = yaml.safe_load((FOLDER / base / "experiment.yaml").read_text())["learner"]
    del quick_start["max_seconds"]  # of a user who waits
    assert learner.items() >= quick_start.items()
