"""One stack for every test of this folder, brought up as its user would."""

import secrets
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from helix.adapters.kafka import client_config
from tests.integration.running import SCRATCH_PARTITIONS, Running, copy_of, stack_named
from tests.tree import ROOT

OFFSET = 20_000
NAME = "test"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack beside the user's own, taken down and removed afterwards."""
    clone = copy_of(ROOT, tmp_path_factory.mktemp("checkout"))
    running = stack_named(NAME, root=clone, offset=OFFSET)
    try:
        running.up()
        yield running
    finally:
        running.purge()


@pytest.fixture
def scratch(stack: Running) -> Iterator[str]:
    """A topic of the test's own, with as many partitions as conversations have."""
    admin = AdminClient(client_config(stack.settings.kafka), logger=None)
    topic = f"scratch-{secrets.token_hex(4)}"
    admin.create_topics([NewTopic(topic, SCRATCH_PARTITIONS)])[topic].result(30)
    yield topic
    admin.delete_topics([topic])[topic].result(30)
