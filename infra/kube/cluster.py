"""A Kubernetes control plane on loopback without containers: real servers, played kubelets.

etcd, API server, controllers and scheduler are the real ones; kwok reports nodes as healthy and
pods as running. What a control plane decides is decided here as in any cluster.
"""

import base64
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Server
from infra.artifacts import fetch
from infra.artifacts.commands import Report
from infra.artifacts.tools import KUBEBOX, KUBEBOX_COMMAND, KWOK, KWOK_COMMAND, KWOK_STAGES
from infra.kube import launches
from infra.kube.launches import START_S_MAX, Plan, Tools
from infra.kube.objects import Object, node, storage_class, volume
from infra.launch import Launch
from infra.provider import supervision
from infra.provider.files import make_folder, write_private
from infra.provider.readiness import wait_ready
from infra.provider.secrets import vault
from infra.toolchain.plugins.kubernetes.api import tls
from infra.toolchain.plugins.kubernetes.kubeconfig import access

LOOK_S = 0.1
CALL_S_MAX = 10.0
VOLUMES = 40
CREATED = (httpx.codes.CREATED, httpx.codes.CONFLICT)  # conflict: a former start made it


def tools(cache: Path, report: Report) -> Tools:
    """The programs, built if they are not there: the first time that takes minutes."""
    kubebox = fetch.ensure(KUBEBOX, cache=cache, report=report)
    kwok = fetch.ensure(KWOK, cache=cache, report=report)
    stages = [file for pattern in KWOK_STAGES for file in sorted(kwok.glob(pattern))]
    return Tools(
        kubebox=str(kubebox / KUBEBOX_COMMAND),
        kwok=str(kwok / KWOK_COMMAND),
        stages=tuple(map(str, stages)),
    )


def start(
    plan: Plan, *, servers: Sequence[Server] = CATALOG.servers, volumes: int = VOLUMES
) -> str:
    """The kubeconfig of a cluster that works; what runs already is left as it is."""
    home = Path(plan.home)
    supervision.ensure_running(home)
    _account_keys(home)
    make_folder(home / "certs")
    _run(home, launches.etcd(plan))
    _run(home, launches.api_server(plan))
    text = kubeconfig(plan)
    with client_of(text) as client:
        _eventually("the API server", lambda: client.get("/readyz").is_success)
        others = (launches.controllers(plan), launches.scheduler(plan), launches.kwok(plan))
        for launch in others:
            supervision.apply(home, launch, stopping=threading.Event())
        _furnish(client, servers, volumes)
        for launch in others:
            wait_ready(home, launch, stopping=threading.Event())
        _eventually("every node", lambda: _usable(client, servers))
    return text


def stop(plan: Plan) -> None:
    """Nothing of the cluster runs, nothing of it is left."""
    home = Path(plan.home)
    if home.exists():
        supervision.shutdown(home)
        shutil.rmtree(home)


def kubeconfig(plan: Plan) -> str:
    """What opens the cluster, complete in itself."""
    authority = Path(plan.authority)
    if not authority.exists():
        raise UnavailableError(
            "kubernetes", f"no cluster was started in `{plan.home}`; start it first"
        )
    data = base64.b64encode(authority.read_bytes()).decode()
    token = vault(Path(plan.home))("admin")
    return launches.kubeconfig(plan, token, **{"certificate-authority-data": data})


def _run(home: Path, launch: Launch) -> None:
    stopping = threading.Event()
    supervision.apply(home, launch, stopping=stopping)
    wait_ready(home, launch, stopping=stopping)


def _account_keys(home: Path) -> None:
    """The pair that signs the tokens of service accounts; kept while the cluster's data is."""
    private, public = home / "conf" / "accounts.key", home / "conf" / "accounts.pub"
    if public.exists():
        return
    pair = ec.generate_private_key(ec.SECP256R1())
    secret_pem = pair.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public_pem = pair.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_private(private, secret_pem.decode())
    write_private(public, public_pem.decode())


def client_of(text: str) -> httpx.Client:
    """Asks the cluster of that kubeconfig."""
    admin = access(text)
    return httpx.Client(
        base_url=admin.server,
        headers={"Authorization": f"Bearer {admin.token}"},
        timeout=CALL_S_MAX,
        trust_env=False,
        verify=tls(admin),
    )


def _furnish(client: httpx.Client, servers: Sequence[Server], volumes: int) -> None:
    for path, item in _furniture(servers, volumes):
        answer = client.post(path, json=item)
        if answer.status_code not in CREATED:
            name = item["metadata"]["name"]
            raise UnavailableError(
                "kubernetes", f"`{name}` was refused by the new cluster: {answer.text}; stop it"
            )


def _furniture(servers: Sequence[Server], volumes: int) -> Iterator[tuple[str, Object]]:
    yield "/apis/storage.k8s.io/v1/storageclasses", storage_class()
    for server in servers:
        yield "/api/v1/nodes", node(server)
    for number in range(volumes):
        yield "/api/v1/persistentvolumes", volume(number)


def _usable(client: httpx.Client, servers: Sequence[Server]) -> bool:
    """Pods can be created, and there is a node for each server to run them."""
    account = client.get("/api/v1/namespaces/default/serviceaccounts/default")
    nodes = client.get("/api/v1/nodes").json().get("items", [])
    ready = [
        row["metadata"]["name"]
        for row in nodes
        for told in row["status"].get("conditions", [])
        if told["type"] == "Ready" and told["status"] == "True"
    ]
    return account.is_success and {server.name for server in servers} <= set(ready)


def _eventually(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not _holds(true):
        if time.monotonic() > deadline:
            raise UnavailableError(
                "kubernetes", f"{what} is not ready within {START_S_MAX} s; read the cluster's logs"
            )
        time.sleep(LOOK_S)


def _holds(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except httpx.TransportError:  # it begins to listen in its own time
        return False
