"""The stand-in for the Kubernetes plugin under the real Pulumi, on a real control plane."""

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pulumi
import pulumi_kubernetes as k8s
import pytest
import yaml
from pulumi import automation

from infra.kube import cluster
from infra.toolchain.plugins.kubernetes.api import Api
from infra.toolchain.plugins.kubernetes.kubeconfig import access
from infra.toolchain.pulumi import command
from tests.integration.inline import Inline, inline

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

PASSWORD = "hush-hush-hush"
LABELS = {"app": "db"}
HUGE = "4Ti"
FAST = pulumi.CustomTimeouts(create="6s", update="6s", delete="30s")


@pytest.fixture(scope="module")
def hand(kubeconfig: Path) -> Iterator[httpx.Client]:
    """What somebody does behind Pulumi's back."""
    with cluster.client_of(kubeconfig.read_text()) as client:
        yield client


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Iterator[Api]:
    opened = Api(access(kubeconfig.read_text()))
    yield opened
    opened.close()


@dataclass
class Shape:
    """What a test turns of the program."""

    replicas: int = 2
    mode: str = "one"
    memory: str = "64Mi"
    storage: str = "1Gi"
    job_memory: str = "64Mi"


class Program:
    """One of each kind the platform uses, in the provider's namespace."""

    def __init__(self, **provider: Any) -> None:
        self.provider = provider
        self.shape = Shape()

    def turn(self, **fields: Any) -> None:
        self.shape = replace(self.shape, **fields)

    def __call__(self) -> None:
        provider = k8s.Provider("cluster", enable_server_side_apply=True, **self.provider)
        options = pulumi.ResourceOptions(provider=provider, custom_timeouts=FAST)
        self.configuration(options)
        self.deployment(options)
        service = k8s.core.v1.Service(
            "db",
            metadata={"name": "db"},
            spec={"selector": LABELS, "cluster_ip": "None", "ports": [{"port": 5432}]},
            opts=options,
        )
        self.stateful_set(service, options)
        k8s.batch.v1.Job(
            "once",
            spec=self.job(),
            opts=options,
        )

    def configuration(self, options: pulumi.ResourceOptions) -> None:
        k8s.core.v1.ConfigMap("conf", data={"mode": self.shape.mode}, opts=options)
        k8s.core.v1.Secret(
            "password",
            metadata={"name": "password"},
            string_data={"password": PASSWORD},
            opts=options,
        )
        k8s.core.v1.PersistentVolumeClaim("spare", spec=claim("1Gi"), opts=options)

    def stateful_set(self, service: k8s.core.v1.Service, options: pulumi.ResourceOptions) -> None:
        data: Any = {"metadata": {"name": "data"}, "spec": claim(self.shape.storage)}
        made = k8s.apps.v1.StatefulSet(
            "db",
            metadata={"name": "db"},
            spec={
                "service_name": service.metadata.apply(lambda found: found.name),
                "replicas": self.shape.replicas,
                "selector": {"match_labels": LABELS},
                "template": self.template(),
                "volume_claim_templates": [data],
            },
            opts=options,
        )
        pulumi.export("ready", made.status.apply(lambda found: found and found.ready_replicas))

    def deployment(self, options: pulumi.ResourceOptions) -> None:
        spec: Any = {
            "replicas": 1,
            "progress_deadline_seconds": 3,
            "selector": {"match_labels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": containers(self.shape.memory),
            },
        }
        k8s.apps.v1.Deployment("web", spec=spec, opts=options)

    def template(self) -> Any:  # the SDK's types for plain dictionaries are closed ones
        return {"metadata": {"labels": LABELS}, "spec": containers(self.shape.memory)}

    def job(self) -> Any:
        once = {**containers(self.shape.job_memory), "restart_policy": "Never"}
        return {"backoff_limit": 0, "active_deadline_seconds": 2, "template": {"spec": once}}


def claim(size: str) -> Any:
    return {"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def containers(memory: str) -> dict[str, Any]:
    size = {"memory": memory, "cpu": "50m"}
    return {"containers": [{"name": "main", "image": "db:1", "resources": {"requests": size}}]}


@dataclass
class Stack:
    program: Program
    inline: Inline


def namespace_of(api: Api, name: str) -> str:
    """A new one; left to the end of the cluster, as ending one takes it seconds."""
    short = hashlib.sha256(name.encode()).hexdigest()[:8]
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": short}})
    return short


@contextmanager
def stack_in(
    namespace: str, kubeconfig: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Stack]:
    program = Program(kubeconfig=kubeconfig.read_text(), namespace=namespace)
    with running(program, folder, monkeypatch) as made:
        yield Stack(program, made)


def running(
    program: Callable[[], None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AbstractContextManager[Inline]:
    return inline(program, command(os.environ), folder, monkeypatch)  # noqa: TID251 - the user's own Pulumi


def named(version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


class TestOneStack:
    """Steps of one stack: each begins at what the one before it left, and nothing is made twice."""

    @pytest.fixture(scope="class")
    @staticmethod
    def namespace(api: Api) -> str:
        return namespace_of(api, "one stack")

    @pytest.fixture(scope="class")
    @staticmethod
    def stack(
        kubeconfig: Path, namespace: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Stack]:
        with (
            pytest.MonkeyPatch.context() as patch,
            stack_in(namespace, kubeconfig, tmp_path_factory.mktemp("stack"), patch) as stack,
        ):
            assert stack.inline.up() == {"create": 9}
            yield stack

    def test_a_stack_goes_up_and_changes_in_place(self, stack: Stack) -> None:
        assert stack.inline.stack.outputs()["ready"].value == 2
        assert stack.inline.up() == {"same": 9}

        stack.program.turn(replicas=3)
        assert stack.inline.up() == {"same": 8, "update": 1}
        assert stack.inline.stack.outputs()["ready"].value == 3

    def test_drift_is_seen_by_a_refresh_and_mended_by_the_next_up(
        self, stack: Stack, api: Api, namespace: str, hand: httpx.Client
    ) -> None:
        assert stack.inline.refresh() == {"same": 9}

        path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/db"
        merge = {"Content-Type": "application/merge-patch+json"}
        change = '{"metadata": {"labels": {"theirs": "1"}}, "spec": {"replicas": 1}}'
        assert hand.patch(path, content=change, headers=merge).is_success
        secret = f"/api/v1/namespaces/{namespace}/secrets/password"
        assert hand.delete(secret).is_success

        assert stack.inline.refresh() == {"same": 7, "update": 1, "delete": 1}
        assert stack.inline.up() == {"same": 7, "update": 1, "create": 1}
        live = api.get(named("apps/v1", "StatefulSet", namespace, "db"))
        assert live
        assert live["spec"]["replicas"] == 3
        assert live["metadata"]["labels"] == {"theirs": "1"}

    def test_no_secret_is_readable_in_the_state(
        self, stack: Stack, api: Api, namespace: str
    ) -> None:
        live = api.get(named("v1", "Secret", namespace, "password"))
        assert live
        assert base64.b64decode(live["data"]["password"]).decode() == PASSWORD
        assert stack.inline.state()
        assert PASSWORD not in stack.inline.state()
        assert live["data"]["password"] not in stack.inline.state()

    def test_what_cannot_change_in_place_is_made_anew(
        self, stack: Stack, api: Api, namespace: str
    ) -> None:
        before = api.get(named("apps/v1", "StatefulSet", namespace, "db"))

        stack.program.turn(mode="two", storage="2Gi")
        assert stack.inline.preview() == {"same": 7, "replace": 2}
        assert stack.inline.up() == {"same": 7, "replace": 2}

        after = api.get(named("apps/v1", "StatefulSet", namespace, "db"))
        assert before
        assert after
        assert before["metadata"]["uid"] != after["metadata"]["uid"]

    def test_a_destroyed_stack_leaves_nothing(
        self, stack: Stack, namespace: str, hand: httpx.Client
    ) -> None:
        stack.inline.destroy()

        for resource in ("configmaps", "secrets", "services", "pods"):
            items = hand.get(f"/api/v1/namespaces/{namespace}/{resource}").json()["items"]
            left = {item["metadata"]["name"] for item in items}
            assert left <= {"kube-root-ca.crt"}, resource  # Kubernetes' own


@pytest.fixture
def namespace(api: Api) -> str:
    return namespace_of(api, "unscheduled")


@pytest.fixture
def stack(
    kubeconfig: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    with stack_in(namespace, kubeconfig, tmp_path, monkeypatch) as stack:
        yield stack


def test_what_cannot_be_scheduled_fails_with_the_schedulers_reason(
    stack: Stack, namespace: str, hand: httpx.Client
) -> None:
    stack.program.turn(memory=HUGE, job_memory=HUGE)
    with pytest.raises(automation.CommandError) as caught:
        stack.inline.up()

    told = str(caught.value)
    assert f"StatefulSet `{namespace}/db`: not ready within 6 s: 0 of 2 replicas ready" in told
    assert "pod `db-0` is Pending: Unschedulable: 0/3 nodes are available" in told
    assert "failed: DeadlineExceeded" in told
    assert "ProgressDeadlineExceeded" in told

    stack.program.turn(memory="64Mi", job_memory="64Mi")
    with pytest.raises(automation.CommandError, match="pod `db-0` is of a former revision"):
        stack.inline.up()
    assert hand.delete(f"/api/v1/namespaces/{namespace}/pods/db-0").is_success
    stack.inline.up()
    assert stack.inline.up() == {"same": 9}


def test_objects_are_rendered_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rendered"
    (tmp_path / "stack").mkdir()
    program = Program(render_yaml_to_directory=str(folder))
    with running(program, tmp_path / "stack", monkeypatch) as made:
        assert made.up() == {"create": 9}
        assert made.up() == {"same": 9}
        secret, *others = sorted(
            folder.rglob("*.yaml"), key=lambda file: "-secret-" not in file.name
        )
        assert len(others) == 6
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        encoded = base64.b64encode(PASSWORD.encode()).decode()
        assert yaml.safe_load(secret.read_text())["data"] == {"password": encoded}
        assert PASSWORD not in "".join(file.read_text() for file in (secret, *others))
        made.destroy()
    assert list(folder.rglob("*.yaml")) == []


def test_a_helm_chart_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program() -> None:
        k8s.helm.v3.Release("release", chart="anything")

    with (
        running(program, tmp_path, monkeypatch) as made,
        pytest.raises(automation.CommandError, match="Helm charts and releases are not served"),
    ):
        made.up()
