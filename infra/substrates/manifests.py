"""What a container is on Kubernetes: manifests as plain values, the same for every cluster."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from helix.errors import TopologyError
from helix.topology.model import Exposure, Port, Record, Service, Volume
from infra.substrates.containers import Container
from infra.substrates.hosted import CONFIGURATION

Manifest = dict[str, Any]

STACK = "helix/stack"
SERVICE = "helix/service"
INSTANCE = "helix/instance"
SERVER = "helix/server"  # a node's label: which server of the plan it stands for
CHECKSUM = "helix/checksum"
POD_SECURITY = "pod-security.kubernetes.io/enforce"
HOSTNAME = "kubernetes.io/hostname"
# Of the most used controller; the others tell by the port's `appProtocol`, or ignore it.
BACKEND_PROTOCOL = "nginx.ingress.kubernetes.io/backend-protocol"
SCALED = "control-plane"  # the one service of which any number of equal replicas may run
REPLICAS_MIN = 2
REPLICAS_MAX = 6
CPU_PERCENT = 70
PERIOD_S = 10
START_PERIOD_S = 5
START_SLACK_S = 600  # a store that recovers its log is not ended while it does
ROLLOUT_S_MAX = 1200  # with the image to be fetched before
ANSWER_S_MAX = 5
UNREADY_FAILURES = 3
DEAD_FAILURES = 6
JOB_RETRIES = 6
STOP_SLACK_S = 5
SCRATCH = "scratch"
CONFIG = "configuration"
FILE_MODE = 0o440


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

    def pods(self, **wanted: str) -> dict[str, str]:
        """What pods of the stack are selected by: its own ones, of a `service` or `instance`."""
        return {STACK: self.stack} | {f"helix/{key}": value for key, value in wanted.items()}


def shared(where: Namespace) -> list[Manifest]:
    """The namespace, and the policy that nobody but the stack reaches anything of it."""
    labels = {STACK: where.stack, POD_SECURITY: "restricted"}
    alone: Manifest = {"from": [{"podSelector": {"matchLabels": where.pods()}}]}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": where.name, "labels": labels},
        },
        _policy(where, "stack-only", where.pods(), alone),
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
        selected = where.pods(service=service.name)
        found.append(_policy(where, f"{service.name}-clients", selected, rule))
    if _scales(service.name) or len({one.instance.server for one in instances}) > 1:
        found.append(_budget(where, service))
    if _scales(service.name):
        found.append(_scaler(where, service))
        if where.ingress:
            found.append(_ingress(where, service, instances[0]))
    return found


def of_instance(where: Namespace, one: Container, fingerprint: str = "") -> list[Manifest]:
    """Configuration, address and workload of an instance.

    `fingerprint` tells of the secrets it reads: with another one, or another configuration, its
    pod is made anew.
    """
    workload = _stateful if one.volumes else _deployment
    return [
        *configuration(where, one),
        _address(where, one),
        workload(where, one, _template(where, one, fingerprint)),
    ]


def configuration(where: Namespace, one: Container) -> list[Manifest]:
    """The files an instance reads: public ones in a ConfigMap, private ones in a Secret.

    The Secret's values still hold references: whoever places it replaces them.
    """
    labels = where.labels(one)
    config, texts, binaries = _keys(one.public), _keys(one.private), _keys(one.launch.binaries)
    found: list[Manifest] = []
    if config:
        found.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": where.metadata(one.name, labels),
                "data": {key: one.public[path] for key, path in config.items()},
            }
        )
    if texts or binaries:
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": where.metadata(one.name, labels),
                "type": "Opaque",
                "stringData": {key: one.private[path] for key, path in texts.items()},
                "data": {key: one.launch.binaries[path] for key, path in binaries.items()},
            }
        )
    return found


def task(where: Namespace, one: Container, fingerprint: str = "") -> list[Manifest]:
    """A container that ends, as a Job; another name for other triggers, since a Job is final."""
    name = f"{one.name}-{one.triggers[:8]}"
    template = _template(where, one, fingerprint)
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


def _scales(service: str) -> bool:
    return service == SCALED


def _keys(files: dict[str, str]) -> dict[str, str]:
    """A key for each path: keys may hold no slash."""
    return {path.removeprefix("/").replace("/", "."): path for path in sorted(files)}


def _address(where: Namespace, one: Container) -> Manifest:
    """The name under which others reach the instance, before it is ready too: quorums need that."""
    spec: Manifest = {
        "selector": where.pods(instance=one.name),
        "ports": [_port(port) for port in _reachable(one)],
    }
    if not _scales(one.instance.service):
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": where.metadata(one.name, where.labels(one)),
        "spec": spec,
    }


def _reachable(one: Container) -> list[Port]:
    """The ports others may come to at all."""
    return [port for port in one.ports if port.exposure is not Exposure.LOOPBACK]


def _port(port: Port) -> Manifest:
    """What clients ask by HTTP speaks TLS: whoever stands before it has to know."""
    told = {"appProtocol": "https"} if _speaks_https(port) else {}
    return {
        "name": port.name,
        "port": port.number,
        "protocol": "TCP",
        "targetPort": port.number,
    } | told


def _speaks_https(port: Port) -> bool:
    return port.name == "http" and port.tls


def _stateful(where: Namespace, one: Container, template: Manifest) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": where.metadata(one.name, where.labels(one)),
        "spec": {
            "serviceName": one.name,
            "replicas": 1,
            # Else a pod that never became ready would keep its mended successor away.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": where.pods(instance=one.name)},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain",
                "whenScaled": "Retain",
            },
            "template": template,
            "volumeClaimTemplates": [_claim(where, one, volume) for volume in one.volumes],
        },
    }


def _deployment(where: Namespace, one: Container, template: Manifest) -> Manifest:
    spec: Manifest = {
        "progressDeadlineSeconds": ROLLOUT_S_MAX,
        "selector": {"matchLabels": where.pods(instance=one.name)},
        "template": template,
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


def _template(where: Namespace, one: Container, fingerprint: str) -> Manifest:
    return {
        "metadata": {
            "labels": where.labels(one),
            "annotations": {CHECKSUM: _checksum(one, fingerprint)},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": one.launch.stop_s_max + STOP_SLACK_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": one.uid,
                "runAsGroup": one.uid,
                "fsGroup": one.uid,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "affinity": _affinity(where, one),
            "containers": [_container(one)],
            "volumes": [_files(one), {"name": SCRATCH, "emptyDir": {}}],
        },
    }


def _checksum(one: Container, fingerprint: str) -> str:
    """Of all that a running process has read already."""
    read = (one.launch.files, one.launch.binaries, one.launch.digest, fingerprint)
    return hashlib.sha256(msgspec.json.encode(read, order="sorted")).hexdigest()


def _container(one: Container) -> Manifest:
    launch, size = one.launch, one.instance.size
    found: Manifest = {
        "name": one.instance.service,
        "image": one.reference,
        "imagePullPolicy": "IfNotPresent",
        "command": list(launch.argv),
        "env": [{"name": name, "value": value} for name, value in sorted(launch.env.items())],
        "ports": [
            {"name": port.name, "containerPort": port.number, "protocol": "TCP"}
            for port in _reachable(one)
        ],
        "resources": {
            "requests": {"memory": f"{size.memory_mib}Mi", "cpu": f"{round(size.cores * 1000)}m"},
            "limits": {"memory": f"{size.memory_mib}Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": CONFIG, "mountPath": str(CONFIGURATION), "readOnly": True},
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
    starts = (one.start_s_max + START_SLACK_S) // START_PERIOD_S
    return {
        "startupProbe": ask | {"periodSeconds": START_PERIOD_S, "failureThreshold": starts},
        "readinessProbe": ask | {"periodSeconds": PERIOD_S, "failureThreshold": UNREADY_FAILURES},
        "livenessProbe": {
            "tcpSocket": {"port": one.launch.check.port},
            "timeoutSeconds": ANSWER_S_MAX,
            "periodSeconds": PERIOD_S,
            "failureThreshold": DEAD_FAILURES,
        },
    }


def _stopping(one: Container) -> Manifest:
    """A server that stops well on another signal than the usual one gets it first."""
    signal = one.launch.stop_signal
    if signal == "TERM":
        return {}
    return {"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", f"kill -{signal} 1"]}}}}


def _files(one: Container) -> Manifest:
    """The instance's files at their paths, whichever object they come from."""
    sources = [
        {
            kind: {
                "name": one.name,
                "items": [{"key": key, "path": _inside(one, path)} for key, path in keys.items()],
            }
        }
        for kind, keys in (
            ("configMap", _keys(one.public)),
            ("secret", _keys(one.private | one.launch.binaries)),
        )
        if keys
    ]
    return {"name": CONFIG, "projected": {"defaultMode": FILE_MODE, "sources": sources}}


def _inside(one: Container, path: str) -> str:
    """The path below the one folder that holds all configuration."""
    if not PurePosixPath(path).is_relative_to(CONFIGURATION):
        raise TopologyError(
            f"`{one.name}` wants a file at `{path}`: on Kubernetes it must be below"
            f" `{CONFIGURATION}`; let an init step copy it"
        )
    return str(PurePosixPath(path).relative_to(CONFIGURATION))


def _affinity(where: Namespace, one: Container) -> Manifest:
    """Near its server of the plan, and apart from others of its service.

    Members of a quorum never share a node; whatever else runs more than once avoids it.
    """
    service = one.instance.service
    apart: Manifest = {
        "labelSelector": {"matchLabels": where.pods(service=service)},
        "topologyKey": HOSTNAME,
    }
    spread: Manifest = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": apart}
        ]
    }
    if _scales(service):
        return {"podAntiAffinity": spread}
    wish = {"key": SERVER, "operator": "In", "values": [one.instance.server]}
    node = {"weight": 100, "preference": {"matchExpressions": [wish]}}
    near: Manifest = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [node]}}
    if one.volumes and one.name != service:
        alone = {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
        return near | {"podAntiAffinity": alone}
    return near


def _policy(where: Namespace, name: str, selected: dict[str, str], rule: Manifest) -> Manifest:
    """Lets in what the rule says and, of what it selects, nothing else that no policy lets in."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": where.metadata(name),
        "spec": {
            "podSelector": {"matchLabels": selected},
            "policyTypes": ["Ingress"],
            "ingress": [rule],
        },
    }


def _budget(where: Namespace, service: Service) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": where.metadata(service.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": where.pods(service=service.name)},
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
    """The API under its public name; the certificate of that name is the cluster's to bring."""
    backend = {"service": {"name": one.name, "port": {"number": one.ports[0].number}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    metadata = where.metadata(service.name)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata | {"annotations": {BACKEND_PROTOCOL: "HTTPS"}},
        "spec": {
            "tls": [{"hosts": [where.ingress], "secretName": f"{service.name}-ingress"}],
            "rules": [{"host": where.ingress, "http": {"paths": [path]}}],
        },
    }
