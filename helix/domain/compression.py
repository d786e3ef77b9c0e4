"""A long history in a small budget: whole turns, kept word for word and in order."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from helix.domain.cues import Cues
from helix.domain.ranking import Floats, Ints, Ranking
from helix.errors import InvalidError
from helix.events import Message, Survival

Strategy = Literal["window", "entity", "full", "hybrid"]
Bools = NDArray[np.bool_]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

RATIO = 0.30  # of the history's tokens, where a strategy is named without a budget
PIN_LAST = 2  # the turns an answer is most likely about
# quality = the share kept of each class that occurs, weighed so
QUALITY = {"pins": 0.4, "entities": 0.3, "numbers": 0.2, "dates": 0.1}

# Of `hybrid`; chosen on the meetings that validation/compression/split.json names to tune.
RECENT_SHARE = 0.05  # of the budget, for the newest turns
# Of any turn, in words of average worth: short answers hold a thread together. The least that is
# not below the best single rule by more than 0.02 there: more of it would buy recall with chaff.
TURN_WORTH = 3.75
RANK_WORTH = 1.0
CUE_WORTH = 0.5
CUES_MAX = 3  # of a turn that count
REPEATED_WORTH = 0.5  # of a word, each time it was kept before
FREQUENCY_POWER = 0.5  # what is spoken of more often matters more
NEIGHBOURS = 2  # standard deviation in turns: what is near to much said is worth more
ASKED_WORTH = 3.0  # of the turn nearest to the query, in times its worth without one


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a compression did to a history, measured."""

    strategy: str
    tokens_max: int
    original_messages: int
    compressed_messages: int
    original_tokens: int
    compressed_tokens: int
    pins_kept: int
    survival: Survival
    quality_score: float


@dataclass(frozen=True, slots=True)
class Compressed:
    """What was kept, the ids of what was not, and the receipt."""

    kept: list[Message]
    dropped: list[str]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class _Task:
    """What a strategy chooses from and how much it may take."""

    ranking: Ranking
    tokens: Ints
    pinned: Bools
    tokens_max: int
    asked: Floats  # 1 for every turn without a query, more the nearer it is to one


def compress(  # noqa: PLR0913 - the promise of the API; everything after the budget is named
    history: Sequence[Message],
    tokens_max: int,
    *,
    strategy: Strategy,
    query: str = "",
    pins: frozenset[str] = frozenset(),
    pin_last: int = PIN_LAST,
    ranking: Ranking | None = None,
) -> Compressed:
    """The turns worth most within the budget, never a token above it, every pin among them.

    Pins are system messages, the ids given and the last turns. `InvalidError` names the
    smallest budget that holds them where this one does not.
    """
    pinned = pinned_turns(history, pins, pin_last=pin_last)
    tokens = np.fromiter((message.tokens for message in history), np.int64, len(history))
    affordable(int(tokens[pinned].sum()), tokens_max)
    ranking = Ranking.of(history) if ranking is None else ranking.extended(history)
    if int(tokens.sum()) <= tokens_max:
        chosen = np.ones(len(history), np.bool_)
    else:
        asked = 1 + ASKED_WORTH * ranking.relevance(query) if query else np.ones(len(history))
        chosen = _CHOOSE[strategy](_Task(ranking, tokens, pinned, tokens_max, asked))
    kept = [message for message, keep in zip(history, chosen, strict=True) if keep]
    found = [one for one, keep in zip(ranking.cues, chosen, strict=True) if keep]
    return Compressed(
        kept=kept,
        dropped=[one.message_id for one, keep in zip(history, chosen, strict=True) if not keep],
        receipt=receipt(
            strategy,
            tokens_max,
            sizes=(Size.of(history), Size.of(kept)),
            pins_kept=int(pinned.sum()),
            survival=survival(ranking.cues, found),
        ),
    )


def pinned_turns(history: Sequence[Message], pins: frozenset[str], *, pin_last: int) -> Bools:
    """Which turns must stay: system messages, those named and the last; all named must exist."""
    unknown = pins.difference(message.message_id for message in history)
    if unknown:
        raise InvalidError(
            f"`pins` names `{min(unknown)}`, which is no message of the conversation:"
            " give ids that a replay shows",
            code="UNKNOWN_PIN",
            field="pins",
        )
    if pin_last < 0:
        raise InvalidError("`pin_last` is negative: give 0 or more", field="pin_last")
    first = len(history) - pin_last
    return np.fromiter(
        (
            index >= first or message.role == "system" or message.message_id in pins
            for index, message in enumerate(history)
        ),
        np.bool_,
        len(history),
    )


def enough(
    history: Sequence[Message],
    tokens_max: int,
    *,
    pins: frozenset[str] = frozenset(),
    pin_last: int = PIN_LAST,
    ceiling: int | None = None,
) -> int:
    """The budget aimed at, or more where what must stay needs it; never more than the ceiling."""
    kept = pinned_turns(history, pins, pin_last=pin_last)
    pinned = sum(message.tokens for message, keep in zip(history, kept, strict=True) if keep)
    least = max(tokens_max, pinned)
    return least if ceiling is None else min(least, ceiling)


def affordable(tokens: int, tokens_max: int) -> None:
    """Refuse a budget that what must stay does not fit into, naming one that it does."""
    if tokens_max < max(tokens, 1):
        raise InvalidError(
            f"`max_tokens` is {tokens_max} and what must stay has {tokens}:"
            f" give {max(tokens, 1)} or more, or pin less",
            code="BUDGET_TOO_SMALL",
            field="max_tokens",
            minimum=max(tokens, 1),
        )


@dataclass(frozen=True, slots=True)
class Size:
    """How many turns and tokens."""

    messages: int
    tokens: int

    @classmethod
    def of(cls, history: Sequence[Message]) -> "Size":
        """The size of those messages."""
        return cls(len(history), sum(message.tokens for message in history))


def receipt(
    strategy: str, tokens_max: int, *, sizes: tuple[Size, Size], pins_kept: int, survival: Survival
) -> Receipt:
    """The receipt of a compression from the first size to the second; every pin was kept."""
    before, after = sizes
    return Receipt(
        strategy=strategy,
        tokens_max=tokens_max,
        original_messages=before.messages,
        compressed_messages=after.messages,
        original_tokens=before.tokens,
        compressed_tokens=after.tokens,
        pins_kept=pins_kept,
        survival=survival,
        quality_score=quality(
            survival,
            pins=1.0 if pins_kept else None,
            otherwise=after.tokens / before.tokens if before.tokens else 1.0,
        ),
    )


def survival(before: Sequence[Cues], after: Sequence[Cues]) -> Survival:
    """The share of the distinct entities, numbers and dates before that are there after."""
    return Survival(
        entities=_survived([one.entities for one in before], [one.entities for one in after]),
        numbers=_survived([one.numbers for one in before], [one.numbers for one in after]),
        dates=_survived([one.dates for one in before], [one.dates for one in after]),
    )


def quality(survival: Survival, *, pins: float | None, otherwise: float) -> float:
    """What survived, each class by its weight among those that occur; else `otherwise`."""
    shares = {"pins": pins, **msgspec.structs.asdict(survival)}
    there = {name: share for name, share in shares.items() if share is not None}
    if not there:
        return otherwise
    total = sum(QUALITY[name] * share for name, share in there.items())
    return total / sum(QUALITY[name] for name in there)


def filled(worth: Floats, tokens: Ints, tokens_max: int, chosen: Bools) -> Bools:
    """The turns chosen and, the worthiest first, those that still fit; the newest of equals."""
    chosen = chosen.copy()
    left = tokens_max - int(tokens[chosen].sum())
    for turn in np.lexsort((-np.arange(len(worth)), -worth)):
        if not chosen[turn] and tokens[turn] <= left:
            chosen[turn] = True
            left -= int(tokens[turn])
    return chosen


def _survived(before: list[frozenset[str]], after: list[frozenset[str]]) -> float | None:
    wanted = frozenset[str]().union(*before)
    kept = frozenset[str]().union(*after)
    return len(wanted & kept) / len(wanted) if wanted else None


def _newest(task: _Task, tokens_max: int) -> Bools:
    """The pins and, from the last turn back, every turn until one does not fit."""
    chosen = task.pinned.copy()
    left = tokens_max - int(task.tokens[chosen].sum())
    for turn in np.flatnonzero(~chosen)[::-1]:
        if task.tokens[turn] > left:
            break
        chosen[turn] = True
        left -= int(task.tokens[turn])
    return chosen


def _window(task: _Task) -> Bools:
    return _newest(task, task.tokens_max)


def _entity(task: _Task) -> Bools:
    named = np.array([one.named for one in task.ranking.cues], np.float64)
    return filled(_dense(task, named), task.tokens, task.tokens_max, task.pinned)


def _full(task: _Task) -> Bools:
    return filled(_dense(task, task.ranking.rank), task.tokens, task.tokens_max, task.pinned)


def _hybrid(task: _Task) -> Bools:
    """The newest turns, then always the turn that adds most a token to what is kept already.

    A turn adds a constant, its rank, its cues, and its words, each worth less the more often
    it was kept. That sum only shrinks while others are chosen, so a queue of old sums finds
    the best turn without adding all up again.
    """
    rows, tokens = task.ranking.rows, task.tokens
    spent = int(tokens[task.pinned].sum())
    share = max(spent, int(RECENT_SHARE * task.tokens_max))
    chosen = _newest(task, share)
    left = task.tokens_max - int(tokens[chosen].sum())
    words = _word_worth(task.ranking)
    for turn in np.flatnonzero(chosen):
        words[rows.of(int(turn))] *= REPEATED_WORTH
    fixed = _turn_worth(task.ranking)
    each = task.asked * _surroundings(task) / (tokens + 1)
    sums = (fixed + rows.matrix(words[rows.columns]).sum(axis=1)) * each
    queue = [(-float(sums[turn]), int(turn)) for turn in np.flatnonzero(~chosen)]
    heapq.heapify(queue)
    while queue:
        worth, turn = queue[0]
        if tokens[turn] > left:
            heapq.heappop(queue)
            continue
        now = -float((fixed[turn] + words[rows.of(turn)].sum()) * each[turn])
        if now > worth:
            heapq.heapreplace(queue, (now, turn))
            continue
        heapq.heappop(queue)
        chosen[turn] = True
        left -= int(tokens[turn])
        words[rows.of(turn)] *= REPEATED_WORTH
    return chosen


def _dense(task: _Task, worth: Floats) -> Floats:
    return task.asked * worth / (task.tokens + 1)


def _word_worth(ranking: Ranking) -> Floats:
    """What keeping a word for the first time is worth; their mean is 1."""
    used = np.bincount(ranking.rows.columns, ranking.rows.counts, ranking.rows.width)
    worth = ranking.rarity * used**FREQUENCY_POWER
    return worth / worth.mean() if len(worth) else worth


def _turn_worth(ranking: Ranking) -> Floats:
    """What keeping a turn is worth, its words apart."""
    named = np.array([min(one.named, CUES_MAX) for one in ranking.cues], np.float64)
    decided = np.array([min(one.decisions, CUES_MAX) for one in ranking.cues], np.float64)
    return TURN_WORTH + RANK_WORTH * ranking.rank + CUE_WORTH * (named + decided)


def _surroundings(task: _Task) -> Floats:
    """How much is said a token around each turn; the mean is 1 where anything is said."""
    rows = task.ranking.rows
    said = _smoothed(rows.matrix(task.ranking.weights).sum(axis=1))
    around = said / _smoothed(task.tokens.astype(np.float64) + 1)
    return around / around.mean() if around.any() else np.ones(len(around))


def _smoothed(values: Floats) -> Floats:
    """Each value with its neighbours', weighed by a bell curve."""
    reach = 3 * NEIGHBOURS
    places = np.arange(-reach, reach + 1, dtype=np.float64)
    bell = np.exp(-0.5 * (places / NEIGHBOURS) ** 2)
    return np.convolve(values, bell)[reach : reach + len(values)]


_CHOOSE: dict[Strategy, Callable[[_Task], Bools]] = {
    "window": _window,
    "entity": _entity,
    "full": _full,
    "hybrid": _hybrid,
}
