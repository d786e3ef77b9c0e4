"""Placing: what is ordered, what is refused, what a digest sees."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pulumi
import pytest

from helix.errors import TopologyError
from helix.settings import from_env
from helix.topology.catalog import CATALOG
from helix.topology.model import Service, Topology
from infra import outputs
from infra.composition import services
from infra.launch import Address, Launch
from infra.policies import violations
from infra.provider.secrets import references
from infra.services import bootstrap, registry
from infra.substrates.containers import Container
from infra.substrates.digests import digest
from infra.substrates.placing import chosen, place_all
from infra.substrates.site import LocalSite
from infra.substrates.wanted import Wanted
from tests.unit.violations import VIOLATIONS


def _site(**changes: object) -> LocalSite:
    site = LocalSite(
        topology=CATALOG,
        stack="test",
        home=Path("/home"),
        cache=Path("/cache"),
        root=Path("/checkout"),
        java="/java/bin/java",
        python="/python",
    )
    return msgspec.structs.replace(site, **changes)


HERE = [service for service in CATALOG.services if service.laptop]


class Recorder:
    """A substrate that notes what it is asked to place after what."""

    def __init__(self, *, found: Sequence[str] = ()) -> None:
        self.site = _site()
        self.found = list(found)
        self.after: dict[str, set[str]] = {}
        self._names: dict[int, str] = {}

    def faults(self, services: Sequence[Service]) -> list[str]:
        del services
        return self.found

    def render(self, service: Service) -> Sequence[Launch]:
        return [registry.face(service).process(self.site)]

    def address(self, service: str, port: str) -> Address:
        return self.site.address(service, port)

    def place(
        self, service: Service, after: Sequence[pulumi.Resource]
    ) -> Sequence[pulumi.Resource]:
        return [self._note(service.name, after)]

    def bootstrap(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        return self._note(bootstrap.NAME, after)

    def _note(self, name: str, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        self.after[name] = {self._names[id(resource)] for resource in after}
        resource = object.__new__(pulumi.Resource)
        self._names[id(resource)] = name
        self.__dict__[name] = resource  # kept alive: an identity must not be used twice
        return resource


def _placed(disabled: Sequence[str] = ()) -> dict[str, set[str]]:
    recorder = Recorder()
    place_all(recorder, chosen(HERE, disabled))
    return recorder.after


def test_services_without_needs_wait_for_nothing() -> None:
    after = _placed()

    waiting = {name for name, others in after.items() if others}
    independent = {s.name for s in CATALOG.services if s.laptop and not s.needs}
    assert independent & waiting == set()


def test_programs_and_flink_wait_for_the_bootstrap_and_it_for_the_stores() -> None:
    after = _placed()

    late = {name for name, others in after.items() if bootstrap.NAME in others}
    assert late == {"workers", "control-plane", "flink-jobmanager", "flink-taskmanager"}
    assert after[bootstrap.NAME] == set(bootstrap.NEEDS)


def test_a_store_that_is_switched_off_is_not_waited_for() -> None:
    after = _placed(["neo4j"])

    assert "neo4j" not in after
    assert "neo4j" not in after[bootstrap.NAME]


def test_switching_off_what_another_needs_names_both() -> None:
    with pytest.raises(TopologyError, match=r"`iceberg-rest` needs `minio`"):
        chosen(CATALOG.services, ["minio", "flink-jobmanager", "flink-taskmanager"])


def test_switching_off_a_stranger_names_it() -> None:
    with pytest.raises(TopologyError, match="`postgre`"):
        chosen(CATALOG.services, ["postgre"])


@pytest.mark.parametrize("broken", VIOLATIONS.values(), ids=list(VIOLATIONS))
def test_a_program_that_violates_a_policy_places_nothing(broken: Container) -> None:
    recorder = Recorder(found=violations([broken]))

    with pytest.raises(TopologyError, match="nothing is placed") as refusal:
        place_all(recorder, chosen(HERE, []))
    assert broken.name in refusal.value.message
    assert recorder.after == {}


def test_what_is_absent_here_is_not_placed() -> None:
    assert "grafana" not in {service.name for service in services(Wanted(), _site())}


def test_what_is_adopted_is_not_placed_and_satisfies_who_needs_it() -> None:
    placed = {s.name for s in chosen(CATALOG.services, [], adopted=["postgres"])}

    assert "postgres" not in placed
    assert "iceberg-rest" in placed


def test_ports_move_with_the_stacks_offset() -> None:
    assert str(_site(port_offset=20_000).address("kafka", "broker")) == "127.0.0.1:29092"


def test_accounts_are_switched_only_where_that_is_possible() -> None:
    assert _site(switches_accounts=True).account("postgres") == "postgres"
    assert _site().account("postgres") == ""


def test_a_digest_changes_with_content_and_name_and_not_with_caches(tmp_path: Path) -> None:
    (tmp_path / "code" / "__pycache__").mkdir(parents=True)
    (tmp_path / "code" / "a.py").write_text("1")
    first = digest(tmp_path, ["code"])
    (tmp_path / "code" / "__pycache__" / "a.pyc").write_text("x")
    cached = digest(tmp_path, ["code"])
    (tmp_path / "code" / "a.py").write_text("2")
    edited = digest(tmp_path, ["code"])
    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "b.py")

    assert first == cached
    assert len({first, edited, digest(tmp_path, ["code"])}) == 3


def test_a_new_topic_runs_the_bootstrap_again_and_a_new_server_does_not() -> None:
    def triggers(topology: Topology) -> dict[str, str]:
        return bootstrap.job(_site(topology=topology)).triggers

    topic = msgspec.structs.replace(CATALOG, topics=CATALOG.topics[1:])
    server = msgspec.structs.replace(CATALOG, servers=CATALOG.servers[1:])

    assert triggers(topic)["topics"] != triggers(CATALOG)["topics"]
    assert triggers(server) == triggers(CATALOG)


def test_references_are_found_once_each() -> None:
    assert references("${secret:b} ${secret:a} ${secret:b}") == ["a", "b"]


def test_the_output_document_survives_its_way_through_the_stack() -> None:
    document = outputs.document(_site())

    assert outputs.read(msgspec.json.encode(document).decode()) == document


def test_programs_accept_every_setting_the_document_gives_them() -> None:
    document = outputs.document(_site(port_offset=20_000))
    settings = from_env(document.environment(lambda name: f"the {name}"))

    assert settings.kafka.bootstrap == "127.0.0.1:29092"
    assert settings.postgres.password.reveal() == "the postgres"
    assert document.url == "http://127.0.0.1:27061"


def test_a_document_without_the_control_plane_says_what_to_do() -> None:
    document = outputs.document(_site(disabled=frozenset({"control-plane"})))

    with pytest.raises(TopologyError, match="`disabled`"):
        _ = document.url


def test_a_profile_leaves_out_what_its_nouns_do_not_need() -> None:
    core = Wanted(profile="core", disabled=("redis",))

    assert {"neo4j", "prometheus", "redis"} <= core.off(CATALOG)
    assert core.off(CATALOG).isdisjoint({"kafka", "workers"})
    assert Wanted().off(CATALOG) == frozenset()


def test_a_misspelt_profile_is_told_which_ones_there_are() -> None:
    with pytest.raises(TopologyError, match=r"`profile` is `cor`, .* use one of `full`, `core`"):
        Wanted(profile="cor").off(CATALOG)
