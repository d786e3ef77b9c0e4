"""Adding a service is one record of the catalogue and one file: shown with a toy, everywhere."""

from pathlib import Path

import msgspec
import pytest

import infra.services
from helix.topology.catalog import CATALOG
from helix.topology.check import faults
from helix.topology.model import (
    Debian,
    Exposure,
    Image,
    Kind,
    Noun,
    Placement,
    Port,
    Probe,
    ProbeKind,
    Profile,
    Service,
    Size,
    Volume,
)
from infra.policies import violations
from infra.services.registry import face
from infra.substrates.containers import containers
from infra.substrates.manifests import Namespace, of_instance, of_service
from infra.substrates.plan import plan
from tests.unit.rendered import ADDRESSES, HOSTED, SITE

SIZE = Size(memory_mib=64, cores=0.1)
TOY = Service(
    name="toy",
    kind=Kind.SERVER,
    role="shows what a service is made of",
    image="toy",
    artifact="toy",
    ports=(Port(name="http", number=7063, exposure=Exposure.SERVERS),),
    placements=(Placement(server="server-2", size=SIZE),),
    laptop=SIZE,
    probe=Probe(kind=ProbeKind.HTTP, port="http", path="/", expect="toy"),
    volumes=(Volume(name="data", mount="/toy", size_gib=1),),
)
TOPOLOGY = msgspec.structs.replace(
    CATALOG,
    services=(*CATALOG.services, TOY),
    nouns=(*CATALOG.nouns, Noun(name="toys", services=("toy",))),
    profiles=(*CATALOG.profiles, Profile(name="playing", purpose="a test", nouns=("toys",))),
    artifacts=(*CATALOG.artifacts, Debian(name="toy", version="1", packages=("toy",))),
    images=(
        *CATALOG.images,
        Image(name="toy", reference="toy:1.2", uid=1000, parts={"toy/bin": "/bin"}),
    ),
)
MODULE = '''"""A toy."""

from infra.launch import Launch, Site, check, lines
from infra.services import health

NAME = "toy"


def files(site: Site) -> dict[str, str]:
    """Where it listens."""
    conf = site.conf(site.topology.service(NAME))
    return {str(conf / "toy.conf"): lines({"listen": site.listen(NAME, "http")})}


def process(site: Site) -> Launch:
    """One process."""
    service = site.topology.service(NAME)
    return Launch(
        name=NAME,
        argv=(str(site.part(NAME, "bin/toy")), str(site.conf(service) / "toy.conf")),
        check=check(site, service),
        cwd=str(site.data(service)),
        files=files(site),
        health=health.page(site.listen(NAME, "http"), "/", "toy"),
    )
'''


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one file, where the registry looks for it."""
    (tmp_path / "toy.py").write_text(MODULE)
    monkeypatch.setattr(infra.services, "__path__", [*infra.services.__path__, str(tmp_path)])


def test_the_catalogue_with_the_toy_is_sound() -> None:
    assert faults(TOPOLOGY) == []


def test_the_toy_is_a_process_of_the_local_stack() -> None:
    site = msgspec.structs.replace(SITE, topology=TOPOLOGY)
    launch = face(TOY).process(site)

    assert launch.argv == ("/usr/bin/toy", "/home/conf/toy/toy.conf")
    assert launch.files == {"/home/conf/toy/toy.conf": "listen=127.0.0.1:27063\n"}


def test_the_toy_is_a_container_of_its_server() -> None:
    instances = plan(TOPOLOGY)
    site = msgspec.structs.replace(
        HOSTED,
        topology=TOPOLOGY,
        instances=instances,
        hosts={one.name: ADDRESSES[one.server] for one in instances},
    )
    (one,) = containers(site, TOY)

    assert (one.name, one.instance.server, one.reference) == ("toy", "server-2", "toy:1.2")
    assert one.launch.argv[2:] == ("/bin/toy", "/etc/helix/toy/toy.conf")  # after its script
    assert one.launch.files["/etc/helix/toy/toy.conf"] == "listen=10.0.0.2:7063\n"
    assert violations([one]) == []


def test_the_toy_is_a_stateful_set_with_a_claim_and_an_address() -> None:
    instances = plan(TOPOLOGY)
    site = msgspec.structs.replace(
        HOSTED,
        topology=TOPOLOGY,
        instances=instances,
        hosts={one.name: f"{one.name}.helix.svc" for one in instances},
        bound="0.0.0.0",
    )
    (one,) = containers(site, TOY)
    where = Namespace(name="helix", stack="test")
    found = {m["kind"]: m for m in (*of_instance(where, one), *of_service(where, TOY, [one]))}

    assert set(found) == {"ConfigMap", "Service", "StatefulSet"}
    data = found["ConfigMap"]["data"]
    assert data["etc.helix.toy.toy.conf"] == "listen=0.0.0.0:7063\n"
    assert found["Service"]["metadata"]["name"] == "toy"
    assert violations([one]) == []
