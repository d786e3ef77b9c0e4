"""The claims a Kubernetes stack keeps: `destroy` leaves them, `purge` deletes them."""

from collections.abc import Iterator, Mapping
from contextlib import closing

from helix.errors import InvalidError, UnavailableError
from infra.substrates.manifests import STACK
from infra.substrates.wanted import Wanted
from infra.toolchain.plugins.kubernetes.api import SERVICE, Api
from infra.toolchain.plugins.kubernetes.kubeconfig import access, usual
from infra.toolchain.plugins.kubernetes.objects import Object, name

CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
HELD = ("Pod", "Service", "Secret", "PersistentVolumeClaim", "ConfigMap")
OWN = "kube-root-ca.crt"  # in every namespace: Kubernetes' own


def delete(settings: Wanted, stack: str, env: Mapping[str, str]) -> list[str]:
    """Delete the stack's claims, and its namespace if nothing else is in it; what was deleted.

    Only what carries the stack's label. `UnavailableError` when the cluster cannot be asked.
    """
    try:
        with closing(Api(access(settings.kubeconfig or usual(env), settings.context))) as api:
            return list(_delete(api, settings.namespace, {STACK: stack}))
    except InvalidError as error:
        raise UnavailableError(
            SERVICE,
            f"{error.message}; or delete the claims with `kubectl delete pvc"
            f" --namespace {settings.namespace} --selector {STACK}={stack}` and run it with"
            " `helix:kubeconfig` set to a file that needs no other program",
        ) from error


def _delete(api: Api, namespace: str, labels: Mapping[str, str]) -> Iterator[str]:
    for claim in api.labelled(CLAIM, namespace, labels):
        api.delete(claim)
        yield f"claim {name(claim)}"
    whole: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    live = api.get(whole)
    ours = live is not None and labels.items() <= (live["metadata"].get("labels") or {}).items()
    if ours and not _others(api, namespace):
        api.delete(whole)
        yield f"namespace {namespace}"


def _others(api: Api, namespace: str) -> bool:
    """Whether somebody has put anything of their own there; what is going counts as gone."""
    left = (
        item
        for kind in HELD
        for item in api.labelled({"apiVersion": "v1", "kind": kind}, namespace, {})
        if "deletionTimestamp" not in item["metadata"] and name(item) != OWN
    )
    return any(True for _ in left)
