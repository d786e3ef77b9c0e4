"""Two stacks of this machine, brought up by the commands a user has: all of it, and its core."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from helix.adapters.kafka import client_config
from helix.client.rest import Client
from tests.integration.running import SCRATCH_PARTITIONS, Running, copy_of, stack_named
from tests.tree import ROOT

FULL_OFFSET, CORE_OFFSET = 20_000, 10_000


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the checkout, so that a test may edit code as a developer would."""
    return copy_of(ROOT, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def core_stack(checkout: Path) -> Iterator[Running]:
    """What conversations need and nothing else."""
    yield from brought_up(
        stack_named("test-core", root=checkout, offset=CORE_OFFSET, profile="core")
    )


@pytest.fixture(scope="session")
def full_stack(checkout: Path) -> Iterator[Running]:
    """Everything that runs on one machine."""
    yield from brought_up(stack_named("test", root=checkout, offset=FULL_OFFSET, profile="full"))


def brought_up(stack: Running) -> Iterator[Running]:
    """Bring a stack up, and take it away with its data afterwards."""
    try:
        stack.up()
        yield stack
    finally:
        take_away(stack)


def take_away(stack: Running) -> None:
    """Purge a stack: no process, no port and no file of it is left."""
    stack.purge()
    stack.assert_stopped()
    assert not stack.stack.home.exists()


@pytest.fixture
def api(stack: Running) -> Iterator[Client]:
    """A client of the stack's API with a key that may do everything."""
    with Client(stack.url, stack.api_key) as client:
        yield client


@pytest.fixture
def scratch(stack: Running) -> Iterator[str]:
    """A topic of the test's own, with as many partitions as conversations have."""
    admin = AdminClient(client_config(stack.settings.kafka), logger=None)
    topic = f"scratch-{secrets.token_hex(4)}"
    admin.create_topics([NewTopic(topic, SCRATCH_PARTITIONS)])[topic].result(30)
    yield topic
    admin.delete_topics([topic])[topic].result(30)
