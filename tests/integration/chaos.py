"""Real meetings told by several clients while the platform's servers are killed one by one."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from helix.client.rest import Client
from helix.client.wire import NewMessage
from helix.errors import UnavailableError
from tests.integration.running import Running
from tests.waiting import until

VICTIMS = ("workers", "clickhouse", "kafka", "postgres", "redis", "control-plane")
BATCH_ROWS_MAX = 12
PATIENCE_MIN, PATIENCE_MAX = 1, 40  # calls for one batch before its client goes on without it
BACK_S_MAX = 90.0


class Turn(msgspec.Struct, frozen=True):
    """Who said what."""

    speaker: str
    content: str


class Meeting(msgspec.Struct, frozen=True):
    """The turns of a meeting in order."""

    meeting_transcripts: tuple[Turn, ...]


@dataclass
class Told:
    """A meeting as it was told: which of its turns were acknowledged, which are in doubt."""

    conversation_id: str
    turns: Sequence[Turn]
    acknowledged: list[int] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)

    def differences(self, replayed: Sequence[tuple[int, str, str]]) -> list[str]:
        """What a replay has wrong: lost, doubled, out of order, or other words."""
        numbers = [number for number, _, _ in replayed]
        lost = sorted(set(self.acknowledged) - set(numbers))
        right = [(n, self.turns[n].speaker, self.turns[n].content) for n in numbers]
        found = [f"lost {lost}"] if lost else []
        if numbers != sorted(set(numbers)):
            doubled = [n for n, count in Counter(numbers).items() if count > 1]
            found.append(f"doubled {doubled}" if doubled else f"out of order: {numbers}")
        if list(replayed) != right:
            found.append("other words")
        return [f"{self.conversation_id}: {what}" for what in found]


class Progress:
    """How many turns were handled, of how many, by all clients together."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self.over = threading.Event()

    def add(self, turns: int) -> None:
        """So many more are handled."""
        with self._lock:
            self._done += turns
            if self._done >= self._total:
                self.over.set()

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self._done / self._total


class Teller:
    """A client that tells meetings, each batch under a key of its own, again until acknowledged."""

    def __init__(self, stack: Running, api_key: str, progress: Progress, seed: str) -> None:
        self._key = ""
        self._api = Client(stack.url, api_key, keys=lambda: self._key, ca=stack.ca)
        self._progress = progress
        self._random = random.Random(seed)

    def tell(self, meetings: Sequence[Told]) -> None:
        """All of them, one after another."""
        with self._api:
            for meeting in meetings:
                self._one(meeting)

    def _one(self, meeting: Told) -> None:
        start = 0
        while start < len(meeting.turns):
            end = min(start + self._random.randint(1, BATCH_ROWS_MAX), len(meeting.turns))
            numbers = range(start, end)
            patience = self._random.choice((PATIENCE_MIN, PATIENCE_MAX, PATIENCE_MAX))
            kept = meeting.acknowledged if self._batch(meeting, numbers, patience) else None
            (meeting.doubtful if kept is None else kept).extend(numbers)
            self._progress.add(len(numbers))
            start = end

    def _batch(self, meeting: Told, numbers: Sequence[int], patience: int) -> bool:
        """Whether it was acknowledged."""
        self._key = f"{meeting.conversation_id}-{numbers[0]}"
        batch = [
            NewMessage(
                role="user",
                content=meeting.turns[number].content,
                name=meeting.turns[number].speaker,
                metadata={"number": number},
            )
            for number in numbers
        ]
        for _ in range(patience):
            try:
                self._api.add_messages(meeting.conversation_id, batch)
            except UnavailableError:
                continue
            return True
        return False


class Killer:
    """Kills servers at moments of the progress that its seed chose."""

    def __init__(self, stack: Running, kills: int, seed: str) -> None:
        chosen = random.Random(seed)
        victims = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
        chosen.shuffle(victims)
        moments = sorted(chosen.random() * 0.95 for _ in range(kills))
        self._stack = stack
        self._plan = list(zip(moments, victims, strict=True))
        self.kills: Counter[str] = Counter()

    def run(self, progress: Progress) -> None:
        """Until the plan is carried out or there is nothing left to disturb."""
        for moment, victim in self._plan:
            while progress.share < moment and not progress.over.wait(0.05):
                pass
            until(lambda victim=victim: self._stack.alive(victim), what=victim, s_max=BACK_S_MAX)
            self._stack.kill(victim)
            self.kills[victim] += 1
