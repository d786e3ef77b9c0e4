"""The catalogue holds, and the ancestor's plan does not."""

import ast
from pathlib import Path

import msgspec
import pytest

from helix.topology import __main__ as command
from helix.topology import check
from helix.topology.catalog import CATALOG
from helix.topology.model import (
    Exposure,
    Image,
    Kind,
    Noun,
    Placement,
    Port,
    Probe,
    ProbeKind,
    Profile,
    Queue,
    Server,
    Service,
    Size,
    Topology,
)
from helix.topology.tables import losses
from tests.unit.ancestor import ANCESTOR

DATA_ONLY = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
LOGIC = (ast.If, ast.For, ast.While, ast.FunctionDef, ast.Lambda, ast.comprehension, ast.IfExp)


def with_service(**changes: object) -> Topology:
    """The catalogue with its first service changed."""
    first, *rest = CATALOG.services
    return msgspec.structs.replace(
        CATALOG, services=(msgspec.structs.replace(first, **changes), *rest)
    )


def placed(server: str) -> Placement:
    return Placement(server=server, size=Size(memory_mib=1, cores=0))


def bare(name: str, *placements: Placement) -> Service:
    """A service with nothing but a name and a place."""
    return Service(
        name=name,
        kind=Kind.SERVER,
        role="",
        image="x:1",
        probe=Probe(kind=ProbeKind.TEXT, port="p"),
        ports=(Port(name="p", number=1, exposure=Exposure.LOOPBACK),),
        placements=placements,
    )


def test_the_catalogue_is_sound() -> None:
    assert check.faults(CATALOG) == []


def test_the_catalogue_is_data_only() -> None:
    tree = ast.parse(Path("helix/topology/catalog.py").read_text())

    assert all(isinstance(node, DATA_ONLY) for node in tree.body)
    assert not [node for node in ast.walk(tree) if isinstance(node, LOGIC)]


@pytest.mark.parametrize(
    "fault",
    [
        "the whole plan asks for 80 GiB of 80 GiB and keeps no reserve",
        "`server-1` is over-booked: 15 GiB asked of 14.4 (16 less a tenth in reserve)",
        "`server-2` is over-booked: 32 GiB asked of 28.8 (32 less a tenth in reserve)",
        "`server-3` is over-booked: 33 GiB asked of 28.8 (32 less a tenth in reserve)",
        "port 9000 is claimed by `clickhouse.native` and `minio.s3`",
        "the image of `minio` is not pinned: `minio/minio:latest`",
        "the image of `qdrant` is not pinned: `qdrant/qdrant:latest`",
        "the image of `iceberg-rest` is not pinned: `tabulario/iceberg-rest:latest`",
        "`spark-master` uses a discontinued image: `bitnami/spark:3.5`",
        "topic `helixagent.relationships.updates` is read by nobody",
        "replication factor 3 is asked of 1 broker(s)",
    ],
)
def test_the_ancestors_plan_is_refused_for(fault: str) -> None:
    assert fault in check.faults(ANCESTOR)


def test_the_ancestors_plan_has_no_other_faults_than_the_published_ones() -> None:
    kinds = {
        "over-booked",
        "the whole plan",
        "claimed by",
        "not pinned",
        "discontinued",
        "read by nobody",
        "replication factor",
    }

    assert [fault for fault in check.faults(ANCESTOR) if not any(k in fault for k in kinds)] == []


def test_a_heap_larger_than_its_memory_is_named() -> None:
    size = Size(memory_mib=100, cores=1, heap_mib=90, cache_mib=20)

    found = check.faults(with_service(placements=(Placement(server="server-1", size=size),)))

    assert "`zookeeper` asks for 110 MiB of heap, cache and overhead in 100 MiB" in found


def test_a_circle_of_needs_is_named() -> None:
    found = check.faults(with_service(needs=("flink-jobmanager",)))

    assert any("in a circle" in fault for fault in found)


def test_an_unknown_need_is_named() -> None:
    assert "`zookeeper` needs `oracle`, which is not in the catalogue" in check.faults(
        with_service(needs=("oracle",))
    )


def test_a_probe_on_an_undeclared_port_is_named() -> None:
    probe = Probe(kind=ProbeKind.TEXT, port="back-door")

    assert "the probe of `zookeeper` asks port `back-door`, not declared" in check.faults(
        with_service(probe=probe)
    )


def test_a_literal_secret_is_named() -> None:
    probe = Probe(kind=ProbeKind.HTTP, port="client", path="/?password=hunter2")

    assert any("literal secret" in fault for fault in check.faults(with_service(probe=probe)))


def test_a_different_major_of_image_and_artifact_is_named() -> None:
    newer = Image(name="newer", reference="zookeeper:4.0.0", uid=1000)
    changed = msgspec.structs.replace(
        with_service(image=newer.name), images=(*CATALOG.images, newer)
    )

    assert "`zookeeper` runs major 4 as image and 3 as local artifact" in check.faults(changed)


def test_a_service_with_an_unknown_image_is_named() -> None:
    fault = "`zookeeper` runs image `no-such`, which is not in the catalogue"

    assert fault in check.faults(with_service(image="no-such"))


def test_an_image_that_runs_as_root_is_named() -> None:
    images = (Image(name="x", reference="x:1", uid=0),)
    root = msgspec.structs.replace(CATALOG, images=(*CATALOG.images, *images))

    assert "the image of `x` runs as root: give it a `uid`" in check.faults(root)


def test_a_name_given_twice_is_named() -> None:
    doubled = msgspec.structs.replace(
        CATALOG, queues=(*CATALOG.queues, Queue(name="helixagent.jobs", purpose="again"))
    )

    assert "queue `helixagent.jobs` stands 2 times in the catalogue" in check.faults(doubled)


def test_a_service_for_an_unknown_server_is_named() -> None:
    size = Size(memory_mib=1, cores=0)

    found = check.faults(with_service(placements=(Placement(server="server-9", size=size),)))

    assert "`server-9` is placed on but is no server of the catalogue" in found


def test_losing_a_server_stops_what_has_no_instance_elsewhere_and_what_needs_it() -> None:
    here, there = placed("a"), placed("b")
    services = (
        bare("single", here),
        bare("double", here, there),
        msgspec.structs.replace(bare("user", there), needs=("single",)),
    )
    servers = (
        Server(name="a", role="", memory_gib=1, cores=1),
        Server(name="b", role="", memory_gib=1, cores=1),
    )
    topology = msgspec.structs.replace(CATALOG, services=services, servers=servers)

    assert check.stopped_with(topology, "a") == {"single"}
    assert check.impaired_without(topology, "a") == {"user"}
    assert check.stopped_with(topology, "b") == {"user"}
    assert check.impaired_without(topology, "b") == set()


def test_a_loss_parts_what_stops_what_lacks_it_and_what_goes_on() -> None:
    without = {row[0]: row[1:] for row in losses(CATALOG).rows}

    stops, lacks, goes_on = (names.split(", ") for names in without["server-2"])

    assert "postgres" in stops
    assert "control-plane" in lacks
    assert "kafka" in goes_on


def test_the_check_says_what_stops_with_each_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check"]) == 0

    said = capsys.readouterr().out
    for server, stops, *_ in losses(CATALOG).rows:
        assert f"  {server}  {stops}  " in said


def test_a_smaller_cluster_holds_the_replicas_it_can() -> None:
    assert check.replication(CATALOG, 3) == (3, 2)
    assert check.replication(CATALOG, 2) == (2, 1)
    assert check.replication(CATALOG, 1) == (1, 1)


def test_two_instances_on_one_server_take_neighbouring_ports() -> None:
    worker = CATALOG.service("spark-worker")

    assert [check.instance(worker, index) for index in (0, 1)] == [0, 1]


def test_the_core_is_what_conversations_need_and_nothing_else() -> None:
    services = {"kafka", "postgres", "clickhouse", "redis", "workers", "control-plane"}

    assert CATALOG.served("core") == services
    assert CATALOG.served("full") == {service.name for service in CATALOG.services}


def test_a_service_of_no_noun_and_a_noun_of_no_service_are_named() -> None:
    nouns = tuple(noun for noun in CATALOG.nouns if noun.name != "monitoring")
    odd = msgspec.structs.replace(CATALOG, nouns=(*nouns, Noun(name="x", services=("oracle",))))
    profiles = (Profile(name="core", purpose="", nouns=("conversations",)),)
    small = msgspec.structs.replace(CATALOG, profiles=profiles)

    assert "noun `x` names `oracle`, which is not in the catalogue" in check.faults(odd)
    assert "profile `full` names `monitoring`, which is not in the catalogue" in check.faults(odd)
    assert "`neo4j` serves no noun of any profile: nobody would run it" in check.faults(small)
