"""Each policy stops the rendering that violates it, in words that name the instance."""

import re
from collections.abc import Mapping

import msgspec
import pytest

from helix.topology.catalog import CATALOG
from helix.topology.model import Exposure, Port, Server
from infra.policies import over_booked, violations
from infra.substrates.plan import plan
from tests.unit.violations import SOUND, VIOLATIONS, container, launched


@pytest.mark.parametrize("sentence", VIOLATIONS)
def test_a_violation_is_named_with_its_instance(sentence: str) -> None:
    found = violations([VIOLATIONS[sentence]])

    assert [fault for fault in found if sentence in fault and "`redis`" in fault]


def test_a_sound_container_violates_nothing() -> None:
    assert violations([SOUND]) == []


def test_a_digest_pins_an_image_whatever_its_tag() -> None:
    digest = f"redis:latest@sha256:{'0' * 64}"

    assert violations([container(reference=digest)]) == []


def test_a_fence_lets_an_instance_without_clients_listen_everywhere() -> None:
    ports = (Port(name="metrics", number=1, exposure=Exposure.SERVERS),)
    open_wide = launched(files={"/etc/x": "bind 0.0.0.0"})

    assert violations([msgspec.structs.replace(open_wide, ports=ports)])
    assert not violations([msgspec.structs.replace(open_wide, ports=ports, fenced=True)])


def test_a_server_that_is_asked_for_more_than_it_has_is_named() -> None:
    servers = {s.name: s for s in CATALOG.servers}
    small: Mapping[str, Server] = {
        name: msgspec.structs.replace(server, memory_gib=4.0) for name, server in servers.items()
    }

    assert over_booked(plan(CATALOG), servers) == []
    assert len(over_booked(plan(CATALOG), small)) == 3
    assert re.match(r"`server-1` is over-booked: [\d.]+ GiB", over_booked(plan(CATALOG), small)[0])


def test_everything_on_one_server_of_the_plan_is_over_booked() -> None:
    servers = {s.name: s for s in CATALOG.servers}

    assert over_booked(plan(CATALOG, servers=1), servers)
    assert over_booked(plan(CATALOG, servers=1, laptop=True), servers, weighed=True) == []
