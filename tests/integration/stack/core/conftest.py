"""The stack that the tests of this folder are given."""

import pytest

from tests.integration.running import Running


@pytest.fixture(scope="session")
def stack(core_stack: Running) -> Running:
    """Give a test the small stack."""
    return core_stack
