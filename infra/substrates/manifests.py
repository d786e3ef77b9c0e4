"""What a container is on Kubernetes: manifests as plain values, the same for every cluster."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from helix.errors import TopologyError
from helix.topology.model import Exposure, Record, Service, Volume
from infra.substrates.containers import Container
from infra.substrates.hosted import CONFIGURATION

Manifest = dict[str, Any]

STACK = "helix/stack"
SERVICE = "helix/service"
INSTANCE = "helix/instance"
SERVER = "helix/server"  # a node's label: which server of the plan it stands for
CHECKSUM = "helix/checksum"
SCALED = "control-plane"  # the one service of which any number of equal replicas may run
REPLICAS_MIN = 2
REPLICAS_MAX = 6
CPU_PERCENT = 70
PERIOD_S = 10
START_PERIOD_S = 5
ANSWER_S_MAX = 5
FAILURES_MAX = 6
JOB_RETRIES = 6
STOP_SLACK_S = 5
SCRATCH = "scratch"
CONFIG = "configuration"


class Namespace(Record, frozen=True):
    """Where a stack's objects are, and what they are called by."""

    name: str
    stack: str
    ingress: str = ""  # the host name under which the API is published; none by default

    def labels(self, one: Container) -> dict[str, str]:
        """Of everything that belongs to an instance."""
        return {STACK: self.stack, SERVICE: one.instance.service, INSTANCE: one.name}

    def metadata(self, name: str, labels: dict[str, str] | None = None) -> Manifest:
        """Of an object of the stack."""
        return {
            "name": name,
            "namespace": self.name,
            "labels": labels or {STACK: self.stack},
        }


def shared(where: Namespace) -> list[Manifest]:
    """The namespace, and the policy that nobody but the stack reaches anything of it."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": where.name, "labels": {STACK: where.stack}},
        },
        _policy(where, "stack-only", {STACK: where.stack}, [{"from": _stack(where)}]),
    ]


def of_service(
    where: Namespace, service: Service, instances: Sequence[Container]
) -> list[Manifest]:
    """What a service has once, however often it runs."""
    found: list[Manifest] = []
    ports = sorted(
        {p.number for one in instances for p in one.ports if p.exposure is Exposure.CLIENTS}
    )
    if ports:
        rule = {"ports": [{"port": number, "protocol": "TCP"} for number in ports]}
        found.append(_policy(where, f"{service.name}-clients", {SERVICE: service.name}, [rule]))
    if _scales(service.name) or len({one.instance.server for one in instances}) > 1:
        found.append(_budget(where, service))
    if _scales(service.name):
        found.append(_scaler(where, service))
        if where.ingress:
            found.append(_ingress(where, service, instances[0]))
    return found


def of_instance(where: Namespace, one: Container) -> list[Manifest]:
    """Configuration, address and workload of an instance."""
    return [
        *configuration(where, one),
        _address(where, one),
        _deployment(where, one) if _replaceable(one) else _stateful(where, one),
    ]


def configuration(where: Namespace, one: Container) -> list[Manifest]:
    """The files an instance reads: public ones in a ConfigMap, private ones in a Secret.

    The Secret's values still hold references: whoever places it replaces them.
    """
    labels = where.labels(one)
    config, private = _keys(one.public), _keys(one.private | one.launch.binaries)
    found: list[Manifest] = []
    if config:
        data = {key: one.public[path] for key, path in config.items()}
        found.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": where.metadata(one.name, labels),
                "data": data,
            }
        )
    if private:
        texts = {key: one.private[path] for key, path in private.items() if path in one.private}
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": where.metadata(one.name, labels),
                "type": "Opaque",
                "stringData": texts,
                "data": {
                    key: one.launch.binaries[path]
                    for key, path in private.items()
                    if path in one.launch.binaries
                },
            }
        )
    return found


def task(where: Namespace, one: Container) -> list[Manifest]:
    """A container that ends, as a Job; another name for other triggers, since a Job is final."""
    name = f"{one.name}-{one.triggers[:8]}"
    template = _template(where, one)
    template["spec"]["restartPolicy"] = "OnFailure"
    return [
        *configuration(where, one),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": where.metadata(name, where.labels(one)),
            "spec": {"backoffLimit": JOB_RETRIES, "template": template},
        },
    ]


def _replaceable(one: Container) -> bool:
    """Whether another pod may take its place at any time: no data, no identity of its own."""
    return not one.volumes and one.name == one.instance.service


def _scales(service: str) -> bool:
    return service == SCALED


def _keys(files: dict[str, str]) -> dict[str, str]:
    """A key for each path: keys may hold no slash."""
    return {path.removeprefix("/").replace("/", "."): path for path in sorted(files)}


def _address(where: Namespace, one: Container) -> Manifest:
    """The name under which others reach the instance, before it is ready too: quorums need that."""
    spec: Manifest = {
        "selector": {INSTANCE: one.name, STACK: where.stack},
        "ports": [
            {"name": port.name, "port": port.number, "protocol": "TCP", "targetPort": port.number}
            for port in one.ports
        ],
    }
    if not _scales(one.instance.service):
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": where.metadata(one.name, where.labels(one)),
        "spec": spec,
    }


def _stateful(where: Namespace, one: Container) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": where.metadata(one.name, where.labels(one)),
        "spec": {
            "serviceName": one.name,
            "replicas": 1,
            "selector": {"matchLabels": {INSTANCE: one.name, STACK: where.stack}},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain",
                "whenScaled": "Retain",
            },
            "template": _template(where, one),
            "volumeClaimTemplates": [_claim(where, one, volume) for volume in one.volumes],
        },
    }


def _deployment(where: Namespace, one: Container) -> Manifest:
    spec: Manifest = {
        "selector": {"matchLabels": {INSTANCE: one.name, STACK: where.stack}},
        "template": _template(where, one),
    }
    if not _scales(one.instance.service):  # how many of the others is the autoscaler's business
        spec |= {"replicas": 1, "strategy": {"type": "Recreate"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": where.metadata(one.name, where.labels(one)),
        "spec": spec,
    }


def _claim(where: Namespace, one: Container, volume: Volume) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": volume.name, "labels": where.labels(one)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{volume.size_gib}Gi"}},
        },
    }


def _template(where: Namespace, one: Container) -> Manifest:
    launch = one.launch
    files = msgspec.json.encode((launch.files, launch.binaries, launch.digest), order="sorted")
    return {
        "metadata": {
            "labels": where.labels(one),
            "annotations": {CHECKSUM: hashlib.sha256(files).hexdigest()},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": launch.stop_s_max + STOP_SLACK_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": one.uid,
                "runAsGroup": one.uid,
                "fsGroup": one.uid,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "affinity": _affinity(one),
            "containers": [_container(one)],
            "volumes": [_files(one), {"name": SCRATCH, "emptyDir": {}}],
        },
    }


def _container(one: Container) -> Manifest:
    launch, size = one.launch, one.instance.size
    found: Manifest = {
        "name": one.instance.service,
        "image": one.reference,
        "imagePullPolicy": "IfNotPresent",
        "command": list(launch.argv),
        "env": [{"name": name, "value": value} for name, value in sorted(launch.env.items())],
        "ports": [{"name": port.name, "containerPort": port.number} for port in one.ports],
        "resources": {
            "requests": {"memory": f"{size.memory_mib}Mi", "cpu": f"{round(size.cores * 1000)}m"},
            "limits": {"memory": f"{size.memory_mib}Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": CONFIG, "mountPath": str(_folder(one)), "readOnly": True},
            {"name": SCRATCH, "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            *(
                # A folder of its own in the volume: file systems bring a `lost+found`.
                {"name": volume.name, "mountPath": volume.mount, "subPath": volume.name}
                for volume in one.volumes
            ),
        ],
    }
    return found | ({} if one.ends else _probes(one)) | _stopping(one)


def _probes(one: Container) -> Manifest:
    """Ready when it works; alive while it takes connections: a quorum that is lost kills nobody."""
    ask = {"exec": {"command": list(one.launch.health)}, "timeoutSeconds": ANSWER_S_MAX}
    return {
        "startupProbe": ask
        | {
            "periodSeconds": START_PERIOD_S,
            "failureThreshold": max(1, one.start_s_max // START_PERIOD_S),
        },
        "readinessProbe": ask | {"periodSeconds": PERIOD_S, "failureThreshold": 3},
        "livenessProbe": {
            "tcpSocket": {"port": one.launch.check.port},
            "periodSeconds": PERIOD_S,
            "failureThreshold": FAILURES_MAX,
        },
    }


def _stopping(one: Container) -> Manifest:
    """A server that stops well on another signal than the usual one gets it first."""
    signal = one.launch.stop_signal
    if signal == "TERM":
        return {}
    return {"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", f"kill -{signal} 1"]}}}}


def _folder(one: Container) -> PurePosixPath:
    return PurePosixPath(CONFIGURATION) / (one.name if one.ends else one.instance.service)


def _files(one: Container) -> Manifest:
    """The instance's files at their paths, whichever object they come from."""
    folder = _folder(one)
    for path in (*one.launch.files, *one.launch.binaries):
        if not PurePosixPath(path).is_relative_to(folder):
            raise TopologyError(
                f"`{one.name}` wants a file at `{path}`: on Kubernetes it must be below `{folder}`;"
                " let an init step copy it"
            )
    sources = [
        {
            kind: {
                "name": one.name,
                "items": [
                    {"key": key, "path": str(PurePosixPath(path).relative_to(folder))}
                    for key, path in _keys(files).items()
                ],
            }
        }
        for kind, files in (
            ("configMap", one.public),
            ("secret", one.private | one.launch.binaries),
        )
        if files
    ]
    return {"name": CONFIG, "projected": {"defaultMode": 0o440, "sources": sources}}


def _affinity(one: Container) -> Manifest:
    """Near its server of the plan, and never beside another member of its own quorum."""
    wish = {"key": SERVER, "operator": "In", "values": [one.instance.server]}
    node = {"weight": 100, "preference": {"matchExpressions": [wish]}}
    found: Manifest = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [node]}}
    if one.volumes and one.name != one.instance.service:
        found["podAntiAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": {SERVICE: one.instance.service}},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
    return found


def _stack(where: Namespace) -> list[Manifest]:
    return [{"podSelector": {"matchLabels": {STACK: where.stack}}}]


def _policy(
    where: Namespace, name: str, selected: dict[str, str], ingress: list[Manifest]
) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": where.metadata(name),
        "spec": {
            "podSelector": {"matchLabels": selected},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _budget(where: Namespace, service: Service) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": where.metadata(service.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {SERVICE: service.name, STACK: where.stack}},
        },
    }


def _scaler(where: Namespace, service: Service) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": where.metadata(service.name),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": service.name,
            },
            "minReplicas": REPLICAS_MIN,
            "maxReplicas": REPLICAS_MAX,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _ingress(where: Namespace, service: Service, one: Container) -> Manifest:
    backend = {"service": {"name": one.name, "port": {"number": one.ports[0].number}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": where.metadata(service.name),
        "spec": {"rules": [{"host": where.ingress, "http": {"paths": [path]}}]},
    }
