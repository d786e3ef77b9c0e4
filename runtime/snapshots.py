"""Takes snapshots of conversations from the warm copy, and drops names nobody retries any more."""

import functools
import threading
import time
from typing import Protocol

import structlog

from helix.adapters import clickhouse, postgres
from helix.adapters.postgres import Due
from helix.domain import snapshots
from helix.domain.compression import compress, enough
from helix.domain.conversations import Snapshot
from helix.domain.positions import Position, Stored
from helix.errors import HelixError, UnavailableError
from helix.events import Message
from helix.ports import Clock
from helix.settings import Settings
from runtime.meters import Meters

LOOK_S = 1.0
IDLE_S = 60
TOKENS_MAX = 4_096
CONVERSATIONS_MAX = 16  # of one look
NAMES_DAYS = 7
NAMES_MAX = 2_000  # forgotten at one look

log = structlog.get_logger()


class Store(Protocol):
    """Where snapshots are kept, and what is due is known."""

    def due(self, *, idle_since: int, limit: int) -> list[Due]: ...

    def get(self, tenant: str, conversation_id: str) -> Snapshot | None: ...

    def save(self, snapshot: Snapshot) -> None: ...

    def passed(self, due: Due) -> None: ...

    def forget_names(self, *, days: int, limit: int) -> None: ...


class Warm(Protocol):
    """The warm copy's events of one conversation, in order."""

    def __call__(
        self, tenant: str, conversation_id: str, *, before: Position, first: Position | None
    ) -> list[Stored]: ...


class Snapshots:
    """Looks again and again for conversations whose snapshot is behind, and takes it."""

    def __init__(
        self, store: Store, warm: Warm, *, clock: Clock, stop: threading.Event, meters: Meters
    ) -> None:
        self._store = store
        self._warm = warm
        self._clock = clock
        self._stop = stop
        self._meters = meters

    def run(self) -> None:
        """Work until told to stop; a store that is away is waited for."""
        blocked = ""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.look()
                blocked = ""
            except HelixError as error:
                if error.message != blocked:
                    log.warning("snapshots_blocked", why=error.message)
                blocked = error.message
            took_s = time.monotonic() - began
            # However much is due, half of the time is left to the pipelines.
            self._stop.wait(max(took_s, LOOK_S - took_s))

    def look(self) -> int:
        """Take what is due now, a bounded number of conversations; how many snapshots were kept."""
        idle_since = self._clock() - IDLE_S * 1_000_000
        kept = 0
        for due in self._store.due(idle_since=idle_since, limit=CONVERSATIONS_MAX):
            if not self._stop.is_set():
                kept += self._kept(due)
        self._store.forget_names(days=NAMES_DAYS, limit=NAMES_MAX)
        return kept

    def _kept(self, due: Due) -> bool:
        """Whether a snapshot was kept; one that cannot be made holds up no other."""
        try:
            found = self._taken(due)
        except UnavailableError:
            raise
        except Exception:
            log.exception("snapshot_skipped", tenant=due.tenant, conversation=due.conversation_id)
            self._store.passed(due)
            return False
        if found is None:
            if due.whole:  # what it lacks has left the warm copy: there is nothing to wait for
                self._store.passed(due)
            return False
        self._store.save(found)
        self._meters.snapshots.inc()
        return True

    def _taken(self, due: Due) -> Snapshot | None:
        """The snapshot up to where the warm copy is complete; None where that adds nothing."""
        upto = Position(due.epoch, due.partition, due.next)
        before = self._store.get(due.tenant, due.conversation_id)
        events = self._events(due, upto, before)
        if before is not None and snapshots.reaches_back(events):
            before, events = None, self._events(due, upto, None)
        if not events:
            return None
        return snapshots.taken(
            before, events, upto=upto, made_at=self._clock(), compress=compressed
        )

    def _events(self, due: Due, upto: Position, before: Snapshot | None) -> list[Stored]:
        first = before.upto if before else None
        return self._warm(due.tenant, due.conversation_id, before=upto, first=first)


def connected(
    settings: Settings, *, clock: Clock, stop: threading.Event, meters: Meters
) -> Snapshots:
    """`Snapshots` over the stores the settings name; they are met at the first look."""
    store = postgres.Snapshots(postgres.Session(settings.postgres))
    warm = functools.partial(clickhouse.events_of, clickhouse.Engine(settings.clickhouse))
    return Snapshots(store, warm, clock=clock, stop=stop, meters=meters)


def compressed(said: list[Message]) -> list[Message]:
    """What a resume starts from: within the bound, or what is pinned where that alone is more."""
    return compress(said, enough(said, TOKENS_MAX), strategy="hybrid").kept
