"""The fakes keep the promises of the ports."""

import contextlib
from collections.abc import AsyncGenerator

import pytest

from helix.adapters import fakes
from helix.ports import World
from tests.contract.promises import Connect, WorldPromises


@contextlib.asynccontextmanager
async def _fake() -> AsyncGenerator[World]:
    yield fakes.world()


class TestFakes(WorldPromises):
    @pytest.fixture
    def connect(self) -> Connect:
        return _fake

    @pytest.fixture
    def name(self) -> str:
        return "conversation"
