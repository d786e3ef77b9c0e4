"""How the cluster's programs are started: command lines and files as values."""

from pathlib import Path

import yaml

from helix.adapters.probes import Check
from helix.topology.model import ProbeKind, Record
from infra.launch import Launch, secret

HOST = "127.0.0.1"
ETCD_PORT = 23790
API_PORT = 26443
TOKEN = secret("admin")
STOP_S_MAX = 5  # nothing of it is worth a longer goodbye
START_S_MAX = 60
LEASE_S = 40
SERVICES = "10.96.0.0/16"


class Tools(Record, frozen=True):
    """The programs, and the stages that say how played kubelets behave."""

    kubebox: str
    kwok: str
    stages: tuple[str, ...]


class Plan(Record, frozen=True):
    """Where a cluster keeps its data and listens; the offset keeps clusters apart."""

    home: str
    tools: Tools
    offset: int = 0

    def path(self, *parts: str) -> str:
        return str(Path(self.home, *parts))

    def api_port(self, more: int = 0) -> int:
        return API_PORT + self.offset + more

    def etcd_port(self, more: int = 0) -> int:
        return ETCD_PORT + self.offset + more

    @property
    def server(self) -> str:
        return f"https://{HOST}:{self.api_port()}"

    @property
    def authority(self) -> str:
        """The certificate the API server makes for itself at its first start."""
        return self.path("certs", "apiserver.crt")


def kubeconfig(plan: Plan, token: str, **authority: str) -> str:
    """What opens the cluster, as its administrator."""
    cluster = {"server": plan.server, **authority}
    context = {"cluster": "kube", "user": "admin"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "kube",
        "contexts": [{"name": "kube", "context": context}],
        "clusters": [{"name": "kube", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
    }
    return yaml.safe_dump(document, sort_keys=False)


def etcd(plan: Plan) -> Launch:
    client, peer = (f"http://{HOST}:{plan.etcd_port(more)}" for more in (0, 1))
    options = {
        "data-dir": plan.path("etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",  # its data is thrown away
    }
    probe = _probe("etcd", plan.etcd_port(), path="/health", expect="true")
    return _launch(plan, "etcd", (plan.tools.kubebox, "etcd"), options, probe)


def api_server(plan: Plan) -> Launch:
    tokens = plan.path("conf", "tokens.csv")
    options = {
        "etcd-servers": f"http://{HOST}:{plan.etcd_port()}",
        "secure-port": str(plan.api_port()),
        "bind-address": HOST,
        "advertise-address": HOST,
        "endpoint-reconciler-type": "none",
        "cert-dir": plan.path("certs"),
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": plan.path("conf", "accounts.pub"),
        "service-account-signing-key-file": plan.path("conf", "accounts.key"),
        "token-auth-file": tokens,
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": SERVICES,
    }
    files = {tokens: f"{TOKEN},admin,1,system:masters\n"}
    return _kubebox(plan, "kube-apiserver", options, plan.api_port(), files)


def controllers(plan: Plan) -> Launch:
    options = {
        **_client(plan, "kube-controller-manager"),
        "leader-elect": "false",
        "bind-address": HOST,
        "secure-port": str(plan.api_port(1)),
        "cert-dir": plan.path("certs-controllers"),
        "service-account-private-key-file": plan.path("conf", "accounts.key"),
        "use-service-account-credentials": "true",
    }
    files = _own_kubeconfig(plan, "kube-controller-manager")
    return _kubebox(plan, "kube-controller-manager", options, plan.api_port(1), files)


def scheduler(plan: Plan) -> Launch:
    options = {
        **_client(plan, "kube-scheduler"),
        "leader-elect": "false",
        "bind-address": HOST,
        "secure-port": str(plan.api_port(2)),
        "cert-dir": plan.path("certs-scheduler"),
    }
    files = _own_kubeconfig(plan, "kube-scheduler")
    return _kubebox(plan, "kube-scheduler", options, plan.api_port(2), files)


def kwok(plan: Plan) -> Launch:
    options = {
        **_client(plan, "kwok"),
        "manage-all-nodes": "true",
        "node-lease-duration-seconds": str(LEASE_S),
        "server-address": f"{HOST}:{plan.api_port(3)}",
        "config": ",".join(plan.tools.stages),
    }
    files = _own_kubeconfig(plan, "kwok")
    probe = _probe("kwok", plan.api_port(3), path="/healthz")
    return _launch(plan, "kwok", (plan.tools.kwok,), options, probe, files)


def _client(plan: Plan, name: str) -> dict[str, str]:
    return {"kubeconfig": plan.path("conf", name)}


def _own_kubeconfig(plan: Plan, name: str) -> dict[str, str]:
    text = kubeconfig(plan, TOKEN, **{"certificate-authority": plan.authority})
    return {plan.path("conf", name): text}


def _kubebox(
    plan: Plan, name: str, options: dict[str, str], port: int, files: dict[str, str]
) -> Launch:
    probe = Check(service=name, kind=ProbeKind.TEXT, host=HOST, port=port, start_s_max=START_S_MAX)
    return _launch(plan, name, (plan.tools.kubebox, name), options, probe, files)


def _probe(name: str, port: int, *, path: str, expect: str = "") -> Check:
    return Check(
        service=name,
        kind=ProbeKind.HTTP,
        host=HOST,
        port=port,
        path=path,
        expect=expect,
        start_s_max=START_S_MAX,
    )


def _launch(
    plan: Plan,
    name: str,
    command: tuple[str, ...],
    options: dict[str, str],
    probe: Check,
    files: dict[str, str] | None = None,
) -> Launch:
    words = tuple(f"--{option}={value}" for option, value in options.items())
    return Launch(
        name=name,
        argv=(*command, *words),
        check=probe,
        cwd=plan.home,
        files=files or {},
        stop_s_max=STOP_S_MAX,
    )
