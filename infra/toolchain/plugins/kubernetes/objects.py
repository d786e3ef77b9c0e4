"""Kubernetes objects as plain values: their names, what may not change, what was set and is seen.

Everything here is pure.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

ABSENT = object()
SKIP_AWAIT = "pulumi.com/skipAwait"
AUTONAMED = "pulumi.com/autonamed"
SUFFIX_CHARS = 8

# Of what the SDK offers, what is no plain object of the API.
REFUSED_MODULES = {
    "helm.sh": "Helm charts and releases are",
    "kustomize": "Kustomize is",
    "yaml": "ConfigFile and ConfigGroup are",
}

# What the API server refuses to change once the object is there.
FIXED: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "PersistentVolumeClaim"): (
        "spec.accessModes",
        "spec.dataSource",
        "spec.dataSourceRef",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeMode",
        "spec.volumeName",
    ),
    ("", "Pod"): ("spec",),
    ("", "Secret"): ("type",),
    ("", "Service"): ("spec.clusterIP",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "StatefulSet"): (
        "spec.podManagementPolicy",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    ("batch", "Job"): (
        "spec.completionMode",
        "spec.completions",
        "spec.selector",
        "spec.template",
    ),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("scheduling.k8s.io", "PriorityClass"): ("value",),
    ("storage.k8s.io", "StorageClass"): (
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ),
}
IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace")
CONTENT = ("binaryData", "data", "stringData")

# Kinds of Kubernetes itself that live in no namespace.
CLUSTER_WIDE = frozenset(
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)
OWN_GROUPS = ("", "apps", "autoscaling", "batch", "policy")  # those without `.k8s.io`


def refused(token: str, kind: str) -> str:
    """Why a resource of that token is not served; empty when it is an object of the API."""
    _, module, name = token.split(":")
    if what := REFUSED_MODULES.get(module.partition("/")[0]):
        return f"{what} not served"
    if not kind:
        return "it says no `apiVersion` and `kind`"
    if name == f"{kind}Patch":
        return "Patch resources are not served"
    if name.endswith("List") and kind.endswith("List"):
        return "List resources are not served"
    return ""


def group(item: Mapping[str, Any]) -> str:
    """`apps` of `apps/v1`; empty for the core."""
    before, slash, _ = str(item["apiVersion"]).partition("/")
    return before if slash else ""


def built_in(item: Mapping[str, Any]) -> bool:
    """Whether Kubernetes itself brings the kind."""
    return group(item) in OWN_GROUPS or group(item).endswith(".k8s.io")


def namespaced(item: Mapping[str, Any]) -> bool | None:
    """Whether the object lives in a namespace; None when only the cluster can tell."""
    return item["kind"] not in CLUSTER_WIDE if built_in(item) else None


def name(item: Mapping[str, Any]) -> str:
    return item["metadata"]["name"]


def title(item: Mapping[str, Any]) -> str:
    """What the object is called in a message."""
    namespace = item["metadata"].get("namespace")
    return f"{item['kind']} `{f'{namespace}/' if namespace else ''}{name(item)}`"


def identity(item: Mapping[str, Any]) -> str:
    """The resource's id in the state: `namespace/name`, or the name alone."""
    namespace = item["metadata"].get("namespace")
    return f"{namespace}/{name(item)}" if namespace else name(item)


def annotation(item: Mapping[str, Any], key: str) -> str:
    return (item["metadata"].get("annotations") or {}).get(key, "")


def from_identity(token: str, identifier: str) -> Object:
    """The least an object is known by: what `get` and an import give."""
    _, version, kind = token.split(":")
    namespace, _, plain_name = identifier.rpartition("/")
    metadata = {"name": plain_name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version.removeprefix("core/"), "kind": kind, "metadata": metadata}


def manifest(given: Mapping[str, Any]) -> Object:
    """What is applied: without nulls, a Secret's text as base64 `data`.

    `stringData` is a convenience of writing: the server would own but never remove it.
    """
    item: Object = pruned({key: value for key, value in given.items() if key != "status"})
    texts = item.pop("stringData", None) if item["kind"] == "Secret" else None
    if texts:
        encoded = {
            key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()
        }
        item["data"] = {**item.get("data", {}), **encoded}
    return item


def pruned(value: Any) -> Any:
    """Without entries that are null: they mean "not given"."""
    if isinstance(value, Mapping):
        return {key: pruned(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [pruned(item) for item in value]
    return value


def fixed(item: Mapping[str, Any], *, mutable: Sequence[str] = ()) -> tuple[str, ...]:
    """The properties whose change makes another object.

    A ConfigMap or Secret is replaced for its content, so that what mounts it is rolled out too,
    unless its kind is among `mutable`.
    """
    own = FIXED.get((group(item), item["kind"]), ())
    holds = group(item) == "" and item["kind"] in {"ConfigMap", "Secret"}
    content = CONTENT if holds and (item["kind"] not in mutable or item.get("immutable")) else ()
    return (*IDENTITY, *own, *content)


def observed(given: Object, live: Object, wanted: Object) -> Object:
    """`given`, with what was changed behind our back as it is now.

    `live` is the object as it is, `wanted` as applying `given` would make it: defaults, normal
    forms and fields of others are equal in both and so no drift.
    """
    texts = given.get("stringData")
    seen: Object = _observed(
        {key: value for key, value in given.items() if key != "stringData"}, live, wanted
    )
    if texts:
        data = live.get("data") or {}
        seen["stringData"] = {key: _decoded(data[key]) for key in texts if key in data}
    return seen


def _observed(given: Any, live: Any, wanted: Any) -> Any:
    if live == wanted:
        return given
    if all(isinstance(value, Mapping) for value in (given, live, wanted)):
        both = {key: (live.get(key, ABSENT), wanted.get(key, ABSENT)) for key in given}
        return {
            key: _observed(given[key], now, then)
            for key, (now, then) in both.items()
            if now is not ABSENT or then is ABSENT
        }
    lists = all(isinstance(value, list) for value in (given, live, wanted))
    if lists and len(given) == len(live) == len(wanted):
        return [_observed(*three) for three in zip(given, live, wanted, strict=True)]
    return live


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")
