"""The cluster's REST interface: discovery, server-side apply, reading and deleting."""

import json
import ssl
import tempfile
import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from helix.errors import ConflictError, HelixError, InvalidError, UnavailableError
from infra.toolchain.plugins.kubernetes.kubeconfig import Access
from infra.toolchain.plugins.kubernetes.objects import Object, name, title

SERVICE = "kubernetes"
FIELD_MANAGER = "pulumi-kubernetes"
CALL_S_MAX = 30.0
CONNECT_RETRIES = 2
BUSY_RETRIES = 5
BUSY_S = 1.0
CONNECTIONS_MAX = 64
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
APPLY_PATCH = "application/apply-patch+yaml"


class Api:
    """One cluster as one user; usable by many threads at once."""

    def __init__(self, access: Access, namespace: str = "") -> None:
        self.namespace = namespace or access.namespace
        self._resources: dict[str, dict[str, Object]] = {}
        self._client = httpx.Client(
            base_url=access.server,
            headers={"Authorization": f"Bearer {access.token}"} if access.token else {},
            timeout=CALL_S_MAX,
            trust_env=False,  # proxies and authorities come from the kubeconfig alone
            transport=httpx.HTTPTransport(
                verify=tls(access),
                retries=CONNECT_RETRIES,
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            ),
        )

    def close(self) -> None:
        self._client.close()

    def apply(self, item: Object, *, dry_run: bool = False) -> Object:
        """The object as the cluster keeps it, ours where others wrote the same fields."""
        params = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        placed = self.placed(item)
        answer = self._call(
            "PATCH",
            self._path(placed),
            what=f"applying {title(placed)}",
            params={**params, **({"dryRun": "All"} if dry_run else {})},
            content=json.dumps(placed),
            headers={"Content-Type": APPLY_PATCH},
        )
        return bare(answer)

    def get(self, item: Object) -> Object | None:
        """The object as it is now; None when it is gone."""
        placed = self.placed(item)
        answer = self._ask("GET", self._path(placed), what=f"reading {title(placed)}")
        return bare(answer) if answer else None

    def delete(self, item: Object) -> bool:
        """Asks for the end of the object and of all it owns; False when it is gone already."""
        placed = self.placed(item)
        params = {"propagationPolicy": "Foreground"}
        what = f"deleting {title(placed)}"
        return self._ask("DELETE", self._path(placed), what=what, params=params) is not None

    def labelled(
        self, what: Mapping[str, str], namespace: str, labels: Mapping[str, str]
    ) -> list[Object]:
        """The objects of that `apiVersion` and `kind` in the namespace; no labels: all of them."""
        of = {**what, "metadata": {"name": "", "namespace": namespace}}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        rows = self._items(self._path(of).removesuffix("/"), {"labelSelector": selector})
        return [{**row, **what} for row in rows]  # lists leave it out

    def pods(self, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        return self.labelled({"apiVersion": "v1", "kind": "Pod"}, namespace, labels)

    def events(self, item: Object) -> list[Object]:
        """What was noted about the object, in any order."""
        metadata = item["metadata"]
        namespace = metadata.get("namespace") or "default"
        path = f"/api/v1/namespaces/{namespace}/events"
        return self._items(path, {"fieldSelector": f"involvedObject.uid={metadata['uid']}"})

    def placed(self, item: Object) -> Object:
        """With the provider's namespace where the object needs one and names none."""
        metadata = item["metadata"]
        if metadata.get("namespace") or not self._resource(item)["namespaced"]:
            return item
        return {**item, "metadata": {**metadata, "namespace": self.namespace}}

    def _path(self, placed: Object) -> str:
        resource = self._resource(placed)
        namespace = placed["metadata"].get("namespace")
        inside = f"/namespaces/{namespace}" if resource["namespaced"] else ""
        return f"{_root(placed['apiVersion'])}{inside}/{resource['name']}/{name(placed)}"

    def _resource(self, item: Object) -> Object:
        """How the cluster calls the kind; asked again for a kind that was not there before."""
        version, kind = item["apiVersion"], item["kind"]
        if kind not in self._resources.get(version, {}):
            answer = self._ask("GET", _root(version), what=f"looking up `{version}`") or {}
            rows = [row for row in answer.get("resources", []) if "/" not in row["name"]]
            self._resources[version] = {row["kind"]: row for row in rows}
        try:
            return self._resources[version][kind]
        except KeyError as error:
            raise InvalidError(
                f"the cluster knows no {kind} of `{version}`; install what defines it first, "
                "or use a version this cluster serves"
            ) from error

    def _items(self, path: str, params: Mapping[str, str]) -> list[Object]:
        answer = self._ask("GET", path, what="looking for the reason", params=params)
        return answer["items"] if answer else []

    def _call(self, method: str, path: str, *, what: str, **request: Any) -> Object:
        answer = self._ask(method, path, what=what, **request)
        if answer is None:
            raise InvalidError(
                f"{what}: the cluster answers 404; does its namespace exist? Create it before"
            )
        return answer

    def _ask(self, method: str, path: str, *, what: str, **request: Any) -> Object | None:
        try:
            answer = self._send(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(
                SERVICE,
                f"{what}: the cluster at {self._client.base_url} does not answer ({error}); "
                "check the kubeconfig and that the cluster runs",
            ) from error
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.is_error:
            raise _error(what, answer)
        return answer.json()

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """All our requests may be sent twice: a busy server is asked again."""
        answer = self._client.request(method, path, **request)
        for _ in range(BUSY_RETRIES):
            if answer.status_code not in BUSY:
                break
            threading.Event().wait(BUSY_S)
            answer = self._client.request(method, path, **request)
        return answer


def bare(item: Object) -> Object:
    """Without the server's book-keeping of who set what."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _error(what: str, answer: httpx.Response) -> HelixError:
    try:
        said = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        said = answer.text.strip() or answer.reason_phrase
    text = f"{what}: {said}"
    match answer.status_code:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return InvalidError(f"{text}; give the kubeconfig's user the right to do it")
        case HTTPStatus.CONFLICT:
            return ConflictError(f"{text}; run `pulumi refresh`, then `pulumi up` again")
        case status if answer.is_server_error:
            return UnavailableError(SERVICE, f"{text} (status {status}); run `pulumi up` again")
        case _:
            return InvalidError(f"{text}; mend the resource in the program")


def tls(access: Access) -> ssl.SSLContext:
    """Whom the cluster must be, and who we are."""
    context = ssl.create_default_context(cadata=access.authority or None)
    # Certificates of small clusters' own authorities seldom follow the letter of RFC 5280.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not access.verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate:
        # The library reads keys from files alone: these are private and gone at once.
        with tempfile.NamedTemporaryFile("w") as pair:
            pair.write(f"{access.certificate}\n{access.key}\n")
            pair.flush()
            context.load_cert_chain(pair.name)
    return context
