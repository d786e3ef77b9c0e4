"""A history fitted into a budget for one request: by which strategy, within how many tokens."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from helix.adapters.curves import measured
from helix.adapters.tokens import count
from helix.client.wire import ReplayRequest
from helix.domain.compression import (
    PIN_LAST,
    RATIO,
    Compressed,
    Ranking,
    Strategy,
    compress,
    enough,
)
from helix.domain.curves import Choice
from helix.domain.summaries import Plan, Refusal, concluded, planned
from helix.errors import InvalidError, UnavailableError
from helix.events import Message
from helix.ports import Summariser

AT_ONCE_MAX = 2  # a compression keeps a core busy
RANKED_MESSAGES_MAX = 40_000  # whose rankings are kept, to be extended by what came since


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens, by which strategy; more only for what must stay, and within the ceiling."""

    strategy: Strategy
    tokens_max: int
    ceiling: int | None  # the client's own bound
    curve: Choice | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What fits, and what was measured meanwhile; of a summary, whose it is or why it is not."""

    compressed: Compressed
    budget: Budget
    took_us: int
    model: str = ""
    summary_id: str = ""
    refused: str | None = None


def budget(data: ReplayRequest, said: Sequence[Message]) -> Budget | None:
    """What the request asks for; None for the complete replay, else `InvalidError` or a budget."""
    if data.recall is not None:
        return _for_recall(data, said, data.recall)
    if data.max_tokens is not None:
        strategy = data.compression_strategy or ("hybrid" if data.query else "window")
        return Budget(strategy, data.max_tokens, ceiling=data.max_tokens)
    if data.compression_strategy is not None:
        return Budget(data.compression_strategy, _share(said, RATIO), ceiling=None)
    _refuse_without_budget(data)
    return None


async def summarised(
    fitted: Fitted,
    said: Sequence[Message],
    data: ReplayRequest,
    *,
    summariser: Summariser,
    message_id: str,
) -> Fitted:
    """With the model's summary in place of what was dropped; what fits stands if it is unfit."""
    if not fitted.compressed.dropped:
        return replace(fitted, refused="everything fits without a summary")
    started_at = time.monotonic_ns()
    tokens_max = fitted.compressed.receipt.tokens_max
    plan = await asyncio.to_thread(
        planned, said, tokens_max, pins=frozenset(data.pins), pin_last=_pin_last(data)
    )
    found = await _concluded(plan, summariser, message_id)
    took_us = fitted.took_us + (time.monotonic_ns() - started_at) // 1000
    if isinstance(found, Refusal):
        return replace(fitted, refused=found.reason, took_us=took_us)
    return replace(
        fitted,
        compressed=found,
        took_us=took_us,
        model=summariser.model,
        summary_id=message_id,
    )


async def _concluded(
    plan: Plan | Refusal, summariser: Summariser, message_id: str
) -> Compressed | Refusal:
    if isinstance(plan, Refusal):
        return plan
    try:
        told = await summariser.summarise(plan.text, tokens_max=plan.summary_tokens_max)
    except UnavailableError as error:
        return Refusal("UNAVAILABLE", error.message)
    return await asyncio.to_thread(_judged, plan, told, message_id)


def _judged(plan: Plan, told: str, message_id: str) -> Compressed | Refusal:
    tokens = count(told.strip())
    return concluded(plan, told, tokens=tokens, message_id=message_id)


class Compressor:
    """Compresses in threads, a few at once, and remembers rankings from one time to the next."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._rankings: OrderedDict[str, Ranking] = OrderedDict()

    async def fit(
        self, said: Sequence[Message], wanted: Budget, data: ReplayRequest, *, name: str
    ) -> Fitted:
        """The history within the budget; `name` is whose ranking it may extend, empty for none."""
        async with self._slots:
            started_at = time.monotonic_ns()
            # Taken out meanwhile: a ranking shares its vocabulary with the one it extends, and the
            # thread goes on though its request was given up.
            known = self._rankings.pop(name, None)
            ranking, compressed = await asyncio.to_thread(_compressed, said, wanted, data, known)
            if name:
                self._remember(name, ranking)
        took_us = (time.monotonic_ns() - started_at) // 1000
        return Fitted(compressed, wanted, took_us)

    def _remember(self, name: str, ranking: Ranking) -> None:
        self._rankings[name] = ranking
        self._rankings.move_to_end(name)
        while sum(len(kept.contents) for kept in self._rankings.values()) > RANKED_MESSAGES_MAX:
            self._rankings.popitem(last=False)


def _compressed(
    said: Sequence[Message], wanted: Budget, data: ReplayRequest, known: Ranking | None
) -> tuple[Ranking, Compressed]:
    pins, pin_last = frozenset(data.pins), _pin_last(data)
    # A strategy's aim is no bound: what must stay, stays.
    tokens_max = enough(
        said, wanted.tokens_max, pins=pins, pin_last=pin_last, ceiling=wanted.ceiling
    )
    ranking = Ranking.of(said) if known is None else known.extended(said)
    compressed = compress(
        said,
        tokens_max,
        strategy=wanted.strategy,
        query=data.query,
        pins=pins,
        pin_last=pin_last,
        ranking=ranking,
    )
    return ranking, compressed


def _pin_last(data: ReplayRequest) -> int:
    return PIN_LAST if data.pin_last is None else data.pin_last


def _for_recall(data: ReplayRequest, said: Sequence[Message], recall: float) -> Budget:
    if data.compression_strategy is not None:
        raise InvalidError(
            "`recall` chooses the strategy itself: leave `compression_strategy` out",
            field="compression_strategy",
        )
    choice = measured().choose(recall)
    needed = _share(said, choice.ratio)
    if data.max_tokens is not None and needed > data.max_tokens:
        raise InvalidError(
            f"`max_tokens` is too few for that recall: give {needed} or more, or ask for less",
            code="BUDGET_TOO_SMALL",
            field="max_tokens",
            minimum=needed,
        )
    return Budget(choice.strategy, needed, ceiling=data.max_tokens, curve=choice)


def _refuse_without_budget(data: ReplayRequest) -> None:
    """Nothing that only a compression heeds is ignored in silence."""
    asked = {"query": data.query, "pins": data.pins, "summarise": data.summarise}
    asked["pin_last"] = data.pin_last is not None
    field = next((name for name, given in asked.items() if given), "")
    if field:
        raise InvalidError(
            f"`{field}` is for compressed replays: give `max_tokens`, `compression_strategy` or"
            " `recall` as well",
            field=field,
        )


def _share(said: Sequence[Message], ratio: float) -> int:
    return max(1, math.floor(ratio * sum(message.tokens for message in said)))
