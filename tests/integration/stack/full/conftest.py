"""The stack that the tests of this folder are given."""

from dataclasses import replace

import pytest

from tests.integration.running import Running


@pytest.fixture(scope="session")
def before(core: Running) -> str:
    """The conversation that was told while the stack was small."""
    return core.tell()


@pytest.fixture(scope="session")
def stack(core: Running, before: str) -> Running:  # noqa: ARG001 - told first
    """Give a test the whole stack, grown from the small one."""
    whole = replace(core, profile="full")
    whole.up()
    return whole
