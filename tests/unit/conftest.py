"""What several test modules of this folder are given."""

import hashlib
from collections.abc import Iterator

import pytest
from litestar.testing import TestClient

from controlplane.app import create
from controlplane.health import Monitor, Probes, questions
from controlplane.placement import instances
from helix.adapters import fakes
from helix.topology.catalog import CATALOG
from tests.unit.api import KEYS, SETTINGS, Service, asked


@pytest.fixture
def service() -> Iterator[Service]:
    world = fakes.world({hashlib.sha256(key.encode()).hexdigest(): KEYS[key] for key in KEYS})
    placed = instances(CATALOG, SETTINGS, None)
    monitor = Monitor(
        questions(CATALOG, SETTINGS, placed),
        world.clock,
        Probes(ask=asked, lag=lambda _: {"conversation-events": 3.0}),
    )
    app = create(world, SETTINGS, CATALOG, monitor)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Service(client, world)
    monitor.close()
