"""Every service renders the same way twice, from the catalogue alone, and holds no secret.

After a wanted change: `HELIX_GOLDEN=write python -m pytest tests/unit/test_services.py`.
"""

import os
import re
from pathlib import Path

import msgspec
import pytest

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.model import Service
from infra.launch import Launch
from infra.policies import violations
from infra.provider.secrets import REFERENCE
from infra.services import kafka, registry
from infra.substrates.containers import Container
from tests.unit.rendered import CONTAINERS, OFFSET, SITE

GOLDEN = Path(__file__).parent / "golden"
HERE = [service for service in CATALOG.services if service.laptop]
PORT = re.compile(r"127\.0\.0\.1:(\d{4,5})\b|port\"?[ =:]+\"?(\d{4,5})\b", re.IGNORECASE)


def _launch(service: Service) -> Launch:
    return registry.face(service).process(SITE)


def _text(record: Launch | Container) -> str:
    """The launch for reading: its fields, then each file."""
    fields = msgspec.to_builtins(record)
    launch = fields["launch"] if isinstance(record, Container) else fields
    files = launch.pop("files")
    head = msgspec.json.format(msgspec.json.encode(fields)).decode()
    return "\n".join([head, *(f"=== {path}\n{text}" for path, text in files.items())])


def _id(service: Service) -> str:
    return service.name


@pytest.mark.parametrize("service", HERE, ids=_id)
def test_a_service_renders_as_recorded(service: Service) -> None:
    _compare(GOLDEN / "local" / f"{service.name}.txt", _text(_launch(service)))


@pytest.mark.parametrize("one", CONTAINERS, ids=lambda one: one.name)
def test_a_container_renders_as_recorded(one: Container) -> None:
    _compare(GOLDEN / "docker" / f"{one.name}.txt", _text(one))


def _compare(path: Path, text: str) -> None:
    if os.environ.get("HELIX_GOLDEN") == "write":  # noqa: TID251 - a switch of this test
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert path.read_text() == text


def test_every_recorded_service_is_still_in_the_catalogue() -> None:
    local = {path.stem for path in (GOLDEN / "local").glob("*.txt")}
    docker = {path.stem for path in (GOLDEN / "docker").glob("*.txt")}

    assert local == {service.name for service in HERE}
    assert docker == {one.name for one in CONTAINERS}


@pytest.mark.parametrize("one", CONTAINERS, ids=lambda one: one.name)
def test_a_container_breaks_no_policy(one: Container) -> None:
    assert violations([one]) == []


@pytest.mark.parametrize("service", HERE, ids=_id)
def test_a_service_listens_on_its_own_address_alone(service: Service) -> None:
    text = _text(_launch(service))

    assert "0.0.0.0" not in text
    assert "[::]" not in text


@pytest.mark.parametrize("service", HERE, ids=_id)
def test_every_port_comes_from_the_catalogue(service: Service) -> None:
    known = {port.number + OFFSET for other in CATALOG.services for port in other.ports}
    found = {int(a or b) for a, b in PORT.findall(_text(_launch(service)))}

    assert found
    assert found <= known


@pytest.mark.parametrize("service", HERE, ids=_id)
def test_passwords_are_references_and_in_no_argument(service: Service) -> None:
    launch = _launch(service)
    password = re.compile(
        r"(?:password|passwd|requirepass|default_pass|secret[-_.]?key|api_key)\"?\s*[=: ]\s*\"?'?"
        r"(?!\$\{secret:|')([\w.-]+)",
        re.IGNORECASE,
    )
    arguments = [*launch.argv, *(word for init in launch.init for word in init.argv)]

    assert not [found for found in password.findall(_text(launch)) if found != "args"]
    assert not [word for word in arguments if REFERENCE.search(word)]


@pytest.mark.parametrize("service", HERE, ids=_id)
def test_a_service_refers_to_the_secrets_it_declares(service: Service) -> None:
    launch = _launch(service)
    used = {found[1] for found in REFERENCE.finditer(_text(launch))}

    assert used >= set(service.secrets)


def test_a_cluster_id_is_stable_and_the_stacks_own() -> None:
    assert kafka.cluster_id("one") == kafka.cluster_id("one")
    assert kafka.cluster_id("one") != kafka.cluster_id("two")
    assert len(kafka.cluster_id("one")) == 22


def test_prometheus_scrapes_every_service_that_has_figures() -> None:
    config = msgspec.json.decode(
        registry.face(CATALOG.service("prometheus")).files(SITE)[
            "/home/conf/prometheus/prometheus.yml"
        ]
    )
    scraped = {job["job_name"] for job in config["scrape_configs"]}

    assert scraped == {service.name for service in HERE if service.metrics}


def test_a_service_that_is_switched_off_is_neither_scraped_nor_named_to_programs() -> None:
    without = msgspec.structs.replace(SITE, disabled=frozenset({"redis", "redis-exporter"}))
    prometheus = registry.face(CATALOG.service("prometheus")).files(without)
    plane = registry.face(CATALOG.service("control-plane")).process(without)

    assert "redis" not in prometheus["/home/conf/prometheus/prometheus.yml"]
    assert not [name for name in plane.env if name.startswith("HELIX__REDIS__")]


def test_a_service_without_a_module_is_named_with_the_file_to_write() -> None:
    stranger = msgspec.structs.replace(CATALOG.service("redis"), name="no-such")

    with pytest.raises(TopologyError, match=r"`infra/services/no_such\.py`"):
        registry.face(stranger)
