"""The stack that the tests of this folder are given."""

import pytest

from tests.integration.running import Running


@pytest.fixture(scope="session")
def stack(core: Running) -> Running:
    """Give a test what conversations need."""
    return core
