"""What Pulumi's Automation API leaves open when an inline program fails, and who closes it."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import pytest


@contextmanager
def closed_loops(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Every event loop that is made meanwhile is closed at the end."""
    opened: list[asyncio.AbstractEventLoop] = []
    new = asyncio.new_event_loop

    def tracked() -> asyncio.AbstractEventLoop:
        opened.append(new())
        return opened[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", tracked)
    asyncio.set_event_loop(tracked())
    yield
    asyncio.set_event_loop(None)
    for loop in opened:
        loop.close()
