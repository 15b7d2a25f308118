#!/usr/bin/env python3
"""Pods for `podman play kube` out of a kustomize build, which has kinds that podman does not know.

    kubectl kustomize OVERLAY | pods.py --logs=FOLDER --experiment=FILE --to=FOLDER

writes FOLDER/POD.yaml for each pod that a cluster would make: replay-0, restorer-0, restorer-1, learner-0, .. with the names
and numbers that it would give them. Each file begins with the ConfigMap, whose experiment is FILE. The logs are a folder of
this machine; claims become volumes of podman. What Debian's podman does not know (gRPC probes, seccomp profiles), or takes
otherwise (ports, which it would publish) is left out, and nothing else.
"""

import argparse
import pathlib
import sys

import yaml

# Which service's name is behind a pod's, so that replay-0.replay is found.
SERVICES = {"replay": "replay", "learner": "learner"}


def copies(one):
    """[(pod's number, environment)] of a workload."""
    if one["kind"] == "Job":
        return [(i, {"JOB_COMPLETION_INDEX": str(i)}) for i in range(one["spec"]["completions"])]
    return [(i, {}) for i in range(one["spec"]["replicas"])]


def pod(one, number, environment, logs):
    """The manifest of one pod of a workload."""
    template = one["spec"]["template"]
    spec = {key: value for key, value in template["spec"].items()
            if key not in ("subdomain", "automountServiceAccountToken", "enableServiceLinks")}
    spec["restartPolicy"] = template["spec"].get("restartPolicy", "Always")
    spec["hostname"] = f"{one['metadata']['name']}-{number}"
    spec["securityContext"] = {key: value for key, value in spec["securityContext"].items() if key != "seccompProfile"}
    claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
    spec["volumes"] = [volume if volume["name"] != "logs" else {"name": "logs", "hostPath": {"path": logs, "type": "Directory"}}
                       for volume in spec["volumes"]]
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
    for name in ("logs", "experiment", "to"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    objects = [one for one in yaml.safe_load_all(sys.stdin) if one]
    configuration = next(one for one in objects if one["kind"] == "ConfigMap")
    del configuration["metadata"]["namespace"]
    configuration["data"]["experiment.yaml"] = pathlib.Path(arguments.experiment).read_text()
    for one in objects:
        if one["kind"] in ("StatefulSet", "Deployment", "Job"):
            for number, environment in copies(one):
                made = pod(one, number, environment, arguments.logs)
                path = pathlib.Path(arguments.to, f"{made['spec']['hostname']}.yaml")
                path.write_text(yaml.safe_dump_all([configuration, made]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
