"""What the platform is on Kubernetes: manifests as values, judged by Kubernetes' own schemas.

After a wanted change: `HELIX_GOLDEN=write python -m pytest tests/unit/test_manifests.py`.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.model import Exposure, Service
from infra import outputs
from infra.provider.secrets import OPENING
from infra.stack import way_in
from infra.substrates import manifests
from infra.substrates.containers import Container, containers, job
from infra.substrates.hosted import Hosted
from infra.substrates.manifests import CHECKSUM, INSTANCE, SERVICE, STACK, Manifest, Namespace
from infra.substrates.plan import plan
from infra.substrates.wanted import Wanted
from tests.manifests import faults

GOLDEN = Path(__file__).parent / "golden" / "kubernetes"
WHERE = Namespace(name="helix", stack="golden")
PUBLISHED = Namespace(name="helix", stack="golden", ingress="api.example.org")
CONFIGMAP_BYTES_MAX = 1 << 20  # what Kubernetes allows
NAME_CHARS_MAX = 63  # of what becomes a label or a part of a host name
PORT_NAME_CHARS_MAX = 15


class StableHosted(Hosted, frozen=True):
    """A cluster that is nowhere."""

    def digest(self, *paths: str, without: str = "") -> str:  # noqa: ARG002 - the protocol has it
        return f"digest of {' '.join(paths)}"


def _site(*, servers: int = 3, laptop: bool = False, engines: bool = False) -> StableHosted:
    instances = plan(CATALOG, servers=servers, laptop=laptop)
    return StableHosted(
        topology=CATALOG,
        stack="golden",
        checkout=Path("/checkout"),
        instances=instances,
        hosts={one.name: f"{one.name}.helix.svc" for one in instances},
        bound="0.0.0.0",
        engines=engines,
        operator=Path("/operator"),
    )


def _every(site: Hosted, where: Namespace) -> Iterator[Manifest]:
    """All that a stack applies."""
    yield from manifests.shared(where)
    for service in CATALOG.services:
        instances = containers(site, service)
        for one in instances:
            yield from manifests.of_instance(where, one)
        yield from manifests.of_service(where, service, instances)
    yield from manifests.task(where, job(site))


SITE = _site()
CONTAINERS = [one for service in CATALOG.services for one in containers(SITE, service)]
EVERY = list(_every(SITE, PUBLISHED))


def _of(kind: str, rendered: Sequence[Manifest] = EVERY) -> dict[str, Manifest]:
    return {item["metadata"]["name"]: item for item in rendered if item["kind"] == kind}


def _one(name: str, site: Hosted = SITE) -> Container:
    rendered = (one for s in CATALOG.services for one in containers(site, s) if one.name == name)
    return next(rendered)


def _workload(one: Container, fingerprint: str = "") -> Manifest:
    *_, found = manifests.of_instance(WHERE, one, fingerprint)
    return found


def _pods(rendered: Sequence[Manifest] = EVERY) -> dict[str, Manifest]:
    kinds = {"StatefulSet", "Deployment", "Job"}
    return {
        item["metadata"]["name"]: item["spec"]["template"]
        for item in rendered
        if item["kind"] in kinds
    }


def _checksum(workload: Manifest) -> str:
    return workload["spec"]["template"]["metadata"]["annotations"][CHECKSUM]


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("where", [WHERE, PUBLISHED], ids=["inside", "published"])
def test_three_versions_of_kubernetes_take_every_manifest(servers: int, where: Namespace) -> None:
    for laptop, engines in itertools.product([False, True], repeat=2):
        rendered = _every(_site(servers=servers, laptop=laptop, engines=engines), where)

        assert [fault for item in rendered for fault in faults(item)] == []


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and no references between equal values."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _shown(rendered: Sequence[Manifest]) -> str:
    return yaml.dump_all(rendered, Dumper=_Dumper, sort_keys=False, width=120)


def _golden(name: str, rendered: Sequence[Manifest]) -> None:
    path, text = GOLDEN / f"{name}.yaml", _shown(rendered)
    if os.environ.get("HELIX_GOLDEN") == "write":  # noqa: TID251 - a switch of this test
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert path.read_text() == text
    assert list(yaml.safe_load_all(text)) == list(rendered)


@pytest.mark.parametrize("one", CONTAINERS, ids=lambda one: one.name)
def test_an_instance_renders_as_recorded(one: Container) -> None:
    _golden(one.name, manifests.of_instance(WHERE, one))


def test_what_services_share_renders_as_recorded() -> None:
    shared = [
        item
        for service in CATALOG.services
        for item in manifests.of_service(PUBLISHED, service, containers(SITE, service))
    ]

    _golden("stack", [*manifests.shared(PUBLISHED), *shared])
    _golden("bootstrap", manifests.task(WHERE, job(SITE)))


def test_every_recorded_instance_is_still_in_the_catalogue() -> None:
    recorded = {path.stem for path in GOLDEN.glob("*.yaml")}

    assert recorded == {one.name for one in CONTAINERS} | {"stack", "bootstrap"}


def test_no_two_objects_have_the_same_name() -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in EVERY]

    assert len(names) == len(set(names))
    assert max(len(name) for _, name in names) <= NAME_CHARS_MAX


def test_all_but_the_namespace_are_in_it_and_carry_the_stacks_name() -> None:
    namespace, *others = EVERY

    assert namespace["kind"] == "Namespace"
    assert {item["metadata"]["namespace"] for item in others} == {"helix"}
    assert {item["metadata"]["labels"][STACK] for item in EVERY} == {"golden"}


def test_a_secret_is_referred_to_in_objects_of_kind_secret_alone() -> None:
    holding = {item["kind"] for item in EVERY if OPENING in msgspec.json.encode(item).decode()}

    assert holding == {"Secret"}


def test_no_configuration_is_larger_than_kubernetes_allows() -> None:
    sizes = {
        name: sum(len(text.encode()) for text in item["data"].values())
        for name, item in _of("ConfigMap").items()
    }

    assert max(sizes.values()) < CONFIGMAP_BYTES_MAX / 2, sizes


@pytest.mark.parametrize("one", CONTAINERS, ids=lambda one: one.name)
def test_every_file_of_an_instance_reaches_its_path(one: Container) -> None:
    template = _workload(one)["spec"]["template"]["spec"]
    mount = template["containers"][0]["volumeMounts"][0]
    sources = template["volumes"][0]["projected"]["sources"]
    items = [item for source in sources for kind in source.values() for item in kind["items"]]

    paths = {f"{mount['mountPath']}/{item['path']}" for item in items}
    assert paths == {*one.launch.files, *one.launch.binaries}
    assert len({item["key"] for item in items}) == len(items)


def test_a_file_outside_the_configuration_is_refused_by_name() -> None:
    redis = _one("redis")
    launch = msgspec.structs.replace(redis.launch, files={"/data/redis.conf": ""})

    with pytest.raises(TopologyError, match=r"`redis` wants a file at `/data/redis\.conf`"):
        manifests.of_instance(WHERE, msgspec.structs.replace(redis, launch=launch))


def test_no_pod_is_more_than_the_restricted_profile_allows() -> None:
    for name, template in _pods().items():
        spec = template["spec"]
        (container,) = spec["containers"]
        context = container["securityContext"]

        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert "hostNetwork" not in spec, name


def test_every_pod_says_what_it_needs_and_how_much_memory_it_may_take() -> None:
    for name, template in _pods().items():
        resources = template["spec"]["containers"][0]["resources"]

        assert resources["requests"]["memory"] == resources["limits"]["memory"], name
        assert int(resources["requests"]["cpu"].removesuffix("m")) > 0, name


def test_every_server_is_asked_whether_it_works_and_a_task_is_not() -> None:
    probes = {"startupProbe", "readinessProbe", "livenessProbe"}
    for name, template in _pods().items():
        asked = probes & set(template["spec"]["containers"][0])

        assert asked == (set() if name.startswith("bootstrap") else probes), name


def test_a_workload_selects_exactly_its_own_pods() -> None:
    pods = {name: template["metadata"]["labels"] for name, template in _pods().items()}
    for item in EVERY:
        selector = item.get("spec", {}).get("selector")
        if item["kind"] == "Service":
            wanted = selector
        elif item["kind"] in {"StatefulSet", "Deployment"}:
            wanted = selector["matchLabels"]
        else:
            continue
        chosen = [name for name, labels in pods.items() if wanted.items() <= labels.items()]

        assert chosen == [item["metadata"]["name"]]


def test_what_holds_data_is_a_set_of_one_that_keeps_its_claim() -> None:
    sets = _of("StatefulSet")

    assert set(sets) == {one.name for one in CONTAINERS if one.volumes}
    for item in sets.values():
        assert item["spec"]["replicas"] == 1
        assert set(item["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
        assert item["spec"]["podManagementPolicy"] == "Parallel"


def test_only_the_autoscaler_says_how_many_control_planes_there_are() -> None:
    unsaid = {name for name, item in _of("Deployment").items() if "replicas" not in item["spec"]}

    assert unsaid == set(_of("HorizontalPodAutoscaler")) == {"control-plane"}
    assert "clusterIP" not in _of("Service")["control-plane"]["spec"]


def test_members_of_a_quorum_never_share_a_node_and_go_one_at_a_time() -> None:
    for name in ("kafka", "zookeeper"):
        spec = _workload(_one(f"{name}-1"))["spec"]["template"]["spec"]
        rule = spec["affinity"]["podAntiAffinity"]
        (term,) = rule["requiredDuringSchedulingIgnoredDuringExecution"]

        assert term["labelSelector"]["matchLabels"] == {STACK: "golden", SERVICE: name}
        assert _of("PodDisruptionBudget")[name]["spec"]["maxUnavailable"] == 1


def test_a_headless_name_answers_before_its_pod_is_ready() -> None:
    headless = [s for s in _of("Service").values() if s["spec"].get("clusterIP") == "None"]

    assert len(headless) == len(CONTAINERS) - 1
    assert all(item["spec"]["publishNotReadyAddresses"] for item in headless)


def test_a_loopback_port_is_reachable_by_no_name() -> None:
    alone = {
        port.name
        for port in CATALOG.service("rabbitmq").ports
        if port.exposure is Exposure.LOOPBACK
    }
    named = {port["name"] for port in _of("Service")["rabbitmq"]["spec"]["ports"]}

    assert alone
    assert named & alone == set()


def test_port_names_fit() -> None:
    names = {port["name"] for s in _of("Service").values() for port in s["spec"]["ports"]}

    assert max(map(len, names)) <= PORT_NAME_CHARS_MAX


def _admitted(service: Service) -> set[int]:
    """Ports that others than the stack reach."""
    policy = _of("NetworkPolicy").get(f"{service.name}-clients")
    rules = policy["spec"]["ingress"] if policy else []
    return {port["port"] for rule in rules for port in rule["ports"]}


@pytest.mark.parametrize("service", CATALOG.services, ids=lambda service: service.name)
def test_strangers_reach_the_ports_for_clients_alone(service: Service) -> None:
    numbers = {
        port.number
        for one in containers(SITE, service)
        for port in one.ports
        if port.exposure is Exposure.CLIENTS
    }

    assert _admitted(service) == numbers


def test_nobody_but_the_stack_reaches_a_pod_without_a_policy_that_says_so() -> None:
    spec = _of("NetworkPolicy")["stack-only"]["spec"]

    assert spec["podSelector"] == {"matchLabels": {STACK: "golden"}}
    assert spec["ingress"] == [{"from": [{"podSelector": {"matchLabels": {STACK: "golden"}}}]}]
    assert spec["policyTypes"] == ["Ingress"]


def test_configuration_code_and_secrets_roll_a_pod_and_an_equal_rendering_does_not() -> None:
    redis = _one("redis")
    path, text = next(iter(redis.launch.files.items()))
    configured = msgspec.structs.replace(
        redis.launch, files=redis.launch.files | {path: f"{text}\n"}
    )
    coded = msgspec.structs.replace(redis.launch, digest="another")
    launches = [msgspec.structs.replace(redis, launch=launch) for launch in (configured, coded)]
    changed = [_checksum(_workload(one)) for one in launches]
    rotated = _checksum(_workload(redis, "another"))

    assert len({_checksum(_workload(redis)), *changed, rotated}) == 4
    assert _checksum(_workload(redis)) == _checksum(_workload(_one("redis", _site())))


def test_another_size_changes_the_workload_and_no_configuration_of_others() -> None:
    larger = msgspec.structs.replace(
        SITE, instances=plan(CATALOG, memory_mib={"redis": 1024}), hosts=SITE.hosts
    )
    before = {(i["kind"], i["metadata"]["name"]): i for i in EVERY}
    after = {(i["kind"], i["metadata"]["name"]): i for i in _every(larger, PUBLISHED)}

    assert before.keys() == after.keys()
    assert [key for key in before if before[key] != after[key]] == [("StatefulSet", "redis")]


def test_other_triggers_make_another_job() -> None:
    one = job(SITE)
    *_, first = manifests.task(WHERE, one)
    *_, other = manifests.task(WHERE, msgspec.structs.replace(one, triggers="f" * 64))

    assert first["metadata"]["name"] != other["metadata"]["name"]
    assert first["spec"]["template"]["metadata"]["labels"][INSTANCE] == "bootstrap"


def test_the_api_is_published_under_a_name_by_tls_alone() -> None:
    (ingress,) = _of("Ingress").values()

    assert _of("Ingress", list(_every(SITE, WHERE))) == {}
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]
    assert _of("Service")["control-plane"]["spec"]["ports"][0]["appProtocol"] == "https"


@pytest.mark.parametrize(
    ("ingress", "url"),
    [("", "https://localhost:7061"), ("api.example.org", "https://api.example.org")],
)
def test_the_api_is_reached_by_a_forwarded_port_or_its_public_name(ingress: str, url: str) -> None:
    assert way_in(Wanted(ingress=ingress), outputs.document(SITE))["HELIX_URL"] == url
