#!/usr/bin/env python3
"""Pods for `podman play kube` out of a kustomize build, which has kinds that podman does not know.

    kubectl kustomize OVERLAY | pods.py --logs=FOLDER --experiment=FILE --to=FOLDER [--mpi=FOLDER]

writes FOLDER/POD.yaml for each pod that a cluster would make: replay-0, restorer-0, restorer-1, learner-0, .. with the names
and numbers that it would give them. Each file begins with the ConfigMaps; the experiment is FILE. The logs are a folder of
this machine; claims become volumes of podman. What Debian's podman does not know (gRPC probes, seccomp profiles), or takes
otherwise (ports, which it would publish) is left out, and nothing else.

An MPIJob's pods get what Kubeflow's operator adds: the folder ssh of --mpi (id_rsa, id_rsa.pub, authorized_keys), a file of
hosts, which is written there, and the environment of mpirun.
"""

import argparse
import pathlib
import sys

import yaml

# Which service's name is behind a pod's, so that replay-0.replay is found.
SERVICES = {"replay": "replay", "learner": "learner"}


def folder(name, path):
    return {"name": name, "hostPath": {"path": path, "type": "Directory"}}


def copies(one):
    """[(pod's name after the workload's, template, environment)] of a workload."""
    spec = one["spec"]
    if one["kind"] == "Job":
        return [(str(i), spec["template"], {"JOB_COMPLETION_INDEX": str(i)}) for i in range(spec["completions"])]
    return [(str(i), spec["template"], {}) for i in range(spec["replicas"])]


def mpi_copies(one, mpi):
    """The same of an MPIJob; writes the file of hosts. As in pkg/controller of kubeflow/mpi-operator."""
    launcher, worker = (one["spec"]["mpiReplicaSpecs"][name] for name in ("Launcher", "Worker"))
    for replicas in (launcher, worker):
        pod_spec = replicas["template"]["spec"]
        pod_spec["restartPolicy"] = replicas["restartPolicy"]
        pod_spec["volumes"] += [folder("ssh-auth", f"{mpi}/ssh"), folder("mpi-job-config", f"{mpi}/hosts")]
        pod_spec["containers"][0]["volumeMounts"] += [
            {"name": "ssh-auth", "mountPath": one["spec"]["sshAuthMountPath"], "readOnly": True},
            {"name": "mpi-job-config", "mountPath": "/etc/mpi", "readOnly": True}]
    names = ["launcher"] + [f"worker-{i}" for i in range(worker["replicas"])]
    pathlib.Path(mpi, "hosts").mkdir()
    pathlib.Path(mpi, "hosts", "hostfile").write_text("".join(
        f"{one['metadata']['name']}-{name}.{one['metadata']['name']} slots={one['spec']['slotsPerWorker']}\n" for name in names))
    environment = {"OMPI_MCA_orte_keep_fqdn_hostnames": "true", "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
                   "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
                   "OMPI_MCA_orte_set_default_slots": str(one["spec"]["slotsPerWorker"])}
    return [(name, worker["template"] if name != "launcher" else launcher["template"], environment if name == "launcher" else {})
            for name in names]


def pod(one, number, template, environment, logs):
    """The manifest of one pod of a workload."""
    spec = {key: value for key, value in template["spec"].items()
            if key not in ("subdomain", "automountServiceAccountToken", "enableServiceLinks")}
    spec["restartPolicy"] = template["spec"].get("restartPolicy", "Always")
    spec["hostname"] = f"{one['metadata']['name']}-{number}"
    spec["securityContext"] = {key: value for key, value in spec["securityContext"].items() if key != "seccompProfile"}
    claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
    spec["volumes"] = [volume if volume["name"] != "logs" else folder("logs", logs) for volume in spec["volumes"]]
    spec["volumes"] += [{"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{spec['hostname']}"}} for name in claims]
    for container in spec["containers"]:
        container.pop("ports", None)  # podman would publish them on this machine
        container["env"] = [{"name": name, "value": value} for name, value in environment.items()]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "grpc" in container.get(probe, {}):
                del container[probe]
    service = SERVICES.get(one["metadata"]["name"])
    name = spec["hostname"] + (f".{service}" if service else "")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": spec}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("logs", "experiment", "to", "mpi"):
        parser.add_argument(f"--{name}", required=name != "mpi")
    arguments = parser.parse_args()
    objects = [one for one in yaml.safe_load_all(sys.stdin) if one]
    configurations = [one for one in objects if one["kind"] == "ConfigMap"]
    for one in configurations:
        del one["metadata"]["namespace"]
        if "experiment.yaml" in one["data"]:
            one["data"]["experiment.yaml"] = pathlib.Path(arguments.experiment).read_text()
    for one in objects:
        if one["kind"] in ("StatefulSet", "Deployment", "Job", "MPIJob"):
            for number, template, environment in mpi_copies(one, arguments.mpi) if one["kind"] == "MPIJob" else copies(one):
                made = pod(one, number, template, environment, arguments.logs)
                path = pathlib.Path(arguments.to, f"{made['spec']['hostname']}.yaml")
                path.write_text(yaml.safe_dump_all([*configurations, made]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
