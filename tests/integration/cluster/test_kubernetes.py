"""The platform's own `pulumi up` against the control plane of a real cluster.

API server, controllers and scheduler are the real ones: what they admit, order, place, bind and
wait for is proved here. Nodes are played and no container runs: whether a server works in its pod
is not proved here.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from helix.topology.catalog import CATALOG
from infra.kube import cluster
from infra.services import bootstrap
from infra.substrates import claims
from infra.substrates.manifests import INSTANCE, REPLICAS_MIN, SERVICE, STACK
from infra.substrates.plan import plan
from infra.substrates.wanted import Wanted
from tests.integration.running import Running, copy_of, stack_named
from tests.manifests import faults
from tests.tree import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

NAME = "kube"
RENDERED = "kube-rendered"
NAMESPACE = "platform"
SETTLE_S_MAX = 60.0
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
KAFKA = ["kafka-1", "kafka-2", "kafka-3"]
INSTANCES = {one.name: one for one in plan(CATALOG)}
MIGRATION = "sql/postgres/migrations/9999_a_test.sql"
PEM = "LS0tLS1CRUdJTi"  # as base64 of `-----BEGIN`
FEW = {"kafka", "postgres", "clickhouse", "workers", "control-plane"}
NO_CHANGE = "--expect-no-changes"

Object = dict[str, Any]


@dataclass(frozen=True)
class Platform:
    """The stack, the checkout it runs from, and what somebody may ask of its cluster."""

    running: Running
    hand: httpx.Client

    def pulumi(self, *words: str) -> str:
        return self.running.run("infra.stack", "pulumi", *self.running.chosen, "--", *words)

    def up(self) -> str:
        return self.running.run("infra.stack", "up", *self.running.chosen)

    def items(self, path: str) -> list[Object]:
        answer = self.hand.get(path)
        assert answer.is_success, answer.text
        return answer.json()["items"]

    def pods(self) -> dict[str, Object]:
        """Those that are not on their way out, by their workload's name; equals by number."""
        found: dict[str, Object] = {}
        for pod in self.items(PODS):
            name = pod["metadata"]["labels"][INSTANCE]
            if "deletionTimestamp" not in pod["metadata"]:
                found[f"{name}+" if name in found else name] = pod
        return found

    def uids(self) -> dict[str, str]:
        return {name: pod["metadata"]["uid"] for name, pod in self.pods().items()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of(ROOT, tmp_path_factory.mktemp("checkout"))


def configured(running: Running, **settings: str) -> None:
    """As its user configures a stack, with Pulumi's own commands."""
    pairs = [word for k, v in settings.items() for word in ("--plaintext", f"helix:{k}={v}")]
    for words in (["stack", "select", "--create"], ["config", "set-all", *pairs]):
        running.run("infra.stack", "pulumi", *running.chosen, "--", *words)


@pytest.fixture(scope="module")
def platform(checkout: Path, kubeconfig: Path) -> Iterator[Platform]:
    running = stack_named(NAME, root=checkout, offset=0)
    with cluster.client_of(kubeconfig.read_text()) as hand:
        made = Platform(running, hand)
        try:
            configured(
                running,
                substrate="kubernetes",
                kubeconfig=str(kubeconfig),
                namespace=NAMESPACE,
                ingress="api.example.org",
            )
            made.up()
            yield made
        finally:
            running.purge()


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def working(pod: Object | None) -> bool:
    return pod is not None and pod["status"]["phase"] in {"Running", "Succeeded"}


def ready_at(pod: Object) -> datetime:
    rows = pod["status"]["conditions"]
    return next(at(row["lastTransitionTime"]) for row in rows if row["type"] == "Ready")


def created_at(item: Object) -> datetime:
    return at(item["metadata"]["creationTimestamp"])


def test_every_instance_runs_on_its_server_of_the_plan(platform: Platform) -> None:
    until(
        lambda: working(platform.pods().get("control-plane+")),
        s_max=SETTLE_S_MAX,
        what="a second control plane, by the autoscaler",
    )
    pods = platform.pods()
    nodes = {name: pod["spec"]["nodeName"] for name, pod in pods.items()}
    scaled = {nodes.pop("control-plane"), nodes.pop("control-plane+")}
    nodes.pop(bootstrap.NAME)
    sides = {name: one.server for name, one in INSTANCES.items() if name != "control-plane"}

    assert nodes == sides
    assert len(scaled) == REPLICAS_MIN
    assert all(working(pod) for pod in pods.values())


def test_stores_come_before_the_bootstrap_and_programs_after_it(platform: Platform) -> None:
    (job,) = platform.items(JOBS)
    pods = platform.pods().values()
    stores = [p for p in pods if p["metadata"]["labels"][SERVICE] in bootstrap.NEEDS]
    apps = {service.name for service in CATALOG.services if service.kind == "app"}
    programs = [p for p in pods if p["metadata"]["labels"][INSTANCE] in apps]

    assert len(stores) >= len(bootstrap.NEEDS)
    assert max(map(ready_at, stores)) <= created_at(job)
    assert len(programs) >= len(apps)
    assert at(job["status"]["completionTime"]) <= min(map(created_at, programs))


def test_a_second_up_would_change_nothing(platform: Platform) -> None:
    assert "unchanged" in platform.pulumi("preview", NO_CHANGE)


def test_the_namespace_lets_nobody_in_but_for_what_is_said(platform: Platform) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
    policies = {item["metadata"]["name"]: item["spec"] for item in platform.items(path)}
    everyone = {"matchLabels": {STACK: NAME}}

    assert policies["stack-only"]["podSelector"] == everyone
    assert policies["stack-only"]["ingress"] == [{"from": [{"podSelector": everyone}]}]
    assert all(STACK in pod["metadata"]["labels"] for pod in platform.pods().values())
    assert "prometheus-clients" not in policies


def test_the_namespace_takes_no_pod_that_runs_as_root(platform: Platform) -> None:
    pod = {
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "root", "image": "root:1"}]},
    }
    answer = platform.hand.post(PODS, params={"dryRun": "All"}, json=pod)

    assert answer.status_code == httpx.codes.FORBIDDEN
    assert 'violates PodSecurity "restricted' in answer.json()["message"]


def test_no_secret_is_readable_in_the_state(platform: Platform) -> None:
    state = platform.pulumi("stack", "export")
    secrets = platform.items(f"/api/v1/namespaces/{NAMESPACE}/secrets")
    values = [value for item in secrets for value in item["data"].values()]

    assert PEM in "".join(values)
    assert PEM not in state
    assert [value for value in values if value in state] == []


def test_a_size_and_a_migration_change_their_pods_alone_and_a_quorum_rolls(
    platform: Platform,
) -> None:
    before, (job,) = platform.uids(), platform.items(JOBS)
    sizes = json.dumps({"kafka": 4096, "redis": 768})
    platform.pulumi("config", "set", "helix:memory_mib", sizes)
    (platform.running.root / MIGRATION).write_text("SELECT 1;\n")
    platform.up()
    pods, after, (rerun,) = platform.pods(), platform.uids(), platform.items(JOBS)

    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {*KAFKA, "redis", bootstrap.NAME}
    assert rerun["metadata"]["name"] != job["metadata"]["name"]
    for earlier, later in itertools.pairwise(KAFKA):
        assert ready_at(pods[earlier]) <= created_at(pods[later])
    assert pods["redis"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "768Mi"}
    bound = {
        claim["metadata"]["name"]: claim["status"]["phase"] for claim in platform.items(CLAIMS)
    }
    assert set(bound.values()) == {"Bound"}


def test_up_mends_what_somebody_changed_though_its_pod_can_never_start(platform: Platform) -> None:
    huge = {"requests": {"memory": "4Ti"}, "limits": {"memory": "4Ti"}}
    containers = [{"name": "redis", "resources": huge}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    kind = {"Content-Type": "application/strategic-merge-patch+json"}
    answer = platform.hand.patch(f"{SETS}/redis", content=json.dumps(patch), headers=kind)
    assert answer.is_success, answer.text
    until(
        lambda: any(pod["status"]["phase"] == "Pending" for pod in platform.pods().values()),
        s_max=SETTLE_S_MAX,
        what="a pod that fits nowhere",
    )
    platform.up()

    assert working(platform.pods()["redis"])


def test_env_says_how_to_reach_the_api_from_outside(platform: Platform) -> None:
    told = platform.running.run("infra.stack", "env", *platform.running.chosen)

    assert "export HELIX_URL=https://api.example.org\n" in told
    assert "export HELIX_API_KEY=" in told


def test_down_keeps_the_claims_and_purge_nothing_but_what_is_not_ours(
    platform: Platform, kubeconfig: Path
) -> None:
    claimed = {claim["metadata"]["name"] for claim in platform.items(CLAIMS)}
    told = platform.running.down()
    left = {claim["metadata"]["name"] for claim in platform.items(CLAIMS)}
    pods = platform.items(PODS)
    theirs = {"metadata": {"name": "theirs"}}
    assert platform.hand.post(CONFIGMAPS, json=theirs).is_success
    told_of_end = platform.running.purge()
    stayed = [item["metadata"]["name"] for item in platform.items(CONFIGMAPS)]
    assert platform.hand.delete(f"{CONFIGMAPS}/theirs").is_success
    deleted = claims.delete(Wanted(kubeconfig=str(kubeconfig), namespace=NAMESPACE), NAME, {})

    assert f"namespace `{NAMESPACE}` and the claims in it are kept" in told
    assert (left, pods) == (claimed, [])
    assert all(f"deleted claim {name}" in told_of_end for name in claimed)
    assert "theirs" in stayed
    assert deleted == [f"namespace {NAMESPACE}"]


def test_manifests_are_written_where_no_cluster_is(checkout: Path, tmp_path: Path) -> None:
    running = stack_named(RENDERED, root=checkout, offset=0)
    folder = tmp_path / "manifests"
    try:
        off = [service.name for service in CATALOG.services if service.name not in FEW]
        settings = {"render": str(folder), "servers": "1", "disabled": json.dumps(off)}
        configured(running, substrate="kubernetes", **settings)
        told = running.run("infra.stack", "up", *running.chosen)
        rendered = [yaml.safe_load(path.read_text()) for path in folder.rglob("*.yaml")]

        assert f"the manifests are in `{folder}`" in told
        workloads = {
            item["metadata"]["name"] for item in rendered if "template" in item.get("spec", {})
        }
        assert workloads >= FEW
        assert [fault for item in rendered for fault in faults(item)] == []
    finally:
        running.purge()
