"""One stack of this machine, brought up by the commands a user has: small at first, then whole."""

import secrets
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from helix.adapters.kafka import client_config
from helix.client.rest import Client
from tests.integration.running import SCRATCH_PARTITIONS, Running, copy_of, stack_named
from tests.tree import ROOT

OFFSET = 20_000


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """What conversations need and nothing else, from a checkout that a test may edit."""
    checkout = copy_of(ROOT, tmp_path_factory.mktemp("checkout"))
    stack = stack_named("test", root=checkout, offset=OFFSET, profile="core")
    try:
        stack.up()
        yield stack
    finally:
        stack.purge()
    stack.assert_gone()


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
