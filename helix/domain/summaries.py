"""A model's summary in place of old turns: what it is asked, and whether its answer is fit."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from helix.domain.compression import (
    PIN_LAST,
    Compressed,
    Size,
    affordable,
    pinned_turns,
    receipt,
    survival,
)
from helix.domain.cues import Cues, cues
from helix.events import Message

FACTS_MAX = 20  # a summary that must name more is a list
SHARE_MIN = 0.05  # of its budget: below that a summary of a long history says nothing
TOKENS_MIN = 16  # a budget below that holds no sentence
TOKENS_FEW_MAX = 24  # that many are always enough words
STRATEGY = "summary"


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays word for word, what a model is to summarise, and in how many tokens."""

    history: list[Message]
    pinned: list[Message]
    source: list[Message]  # never empty
    facts: tuple[str, ...]  # numbers, dates and code that the summary must name
    tokens_max: int
    text: str

    @property
    def summary_tokens_max(self) -> int:
        """What is left for the summary beside the pins."""
        return self.tokens_max - Size.of(self.pinned).tokens


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a summary is not used."""

    code: str
    reason: str


def planned(
    history: Sequence[Message],
    tokens_max: int,
    *,
    pins: frozenset[str] = frozenset(),
    pin_last: int = PIN_LAST,
) -> Plan | Refusal:
    """What to ask a model for; a refusal where there is nothing to summarise or no room."""
    kept = pinned_turns(history, pins, pin_last=pin_last)
    pinned = [message for message, keep in zip(history, kept, strict=True) if keep]
    source = [message for message, keep in zip(history, kept, strict=True) if not keep]
    room = tokens_max - Size.of(pinned).tokens
    affordable(tokens_max - room, tokens_max)
    if not source:
        return Refusal("NOTHING_TO_SUMMARISE", "every turn is pinned")
    if room < TOKENS_MIN:
        return Refusal("NO_ROOM", f"the pins leave {room} tokens, a summary needs {TOKENS_MIN}")
    facts = _facts(source)
    return Plan(list(history), pinned, source, facts, tokens_max, _asked(source, facts))


def accepted(
    summary: str, *, tokens: int, tokens_max: int, facts: Sequence[str] = ()
) -> str | Refusal:
    """The summary without its margins, or why it is refused; `tokens` is its exact count."""
    text = summary.strip()
    enough = min(SHARE_MIN * tokens_max, TOKENS_FEW_MAX)
    lost = [fact for fact in facts if not _names(text, fact)]
    if not text:
        return Refusal("EMPTY", "the summary is empty")
    if tokens > tokens_max:
        return Refusal("TOO_LONG", f"the summary has {tokens} tokens of {tokens_max}")
    if tokens < enough:
        return Refusal("TOO_SHORT", f"the summary has {tokens} tokens, {enough:.0f} are needed")
    if lost:
        return Refusal("PINS_LOST", f"the summary does not name `{lost[0]}`")
    return text


def concluded(plan: Plan, summary: str, *, tokens: int, message_id: str) -> Compressed | Refusal:
    """The pinned turns with the summary before them, if it is fit; it cites what it stands for."""
    text = accepted(summary, tokens=tokens, tokens_max=plan.summary_tokens_max, facts=plan.facts)
    if isinstance(text, Refusal):
        return text
    cited = [message.message_id for message in plan.source]
    told = Message(
        message_id=message_id,
        role="system",
        content=text,
        tokens=tokens,
        created_at=plan.source[-1].created_at,
        metadata={"cites": cited},
    )
    first = plan.history.index(plan.source[0])
    kept = [*plan.history[:first], told, *plan.pinned[first:]]
    return Compressed(
        kept=kept,
        dropped=cited,
        receipt=receipt(
            STRATEGY,
            plan.tokens_max,
            sizes=(Size.of(plan.history), Size.of(kept)),
            pins_kept=len(plan.pinned),
            survival=survival(_cues(plan.history), _cues(kept)),
        ),
    )


def _names(text: str, fact: str) -> bool:
    """Whether the text has the fact as a word of its own; `1,000` names `1000`."""
    alone = re.compile(rf"(?<!\w){re.escape(fact)}(?!\w)", re.IGNORECASE)
    return bool(alone.search(text) or alone.search(text.replace(",", "")))


def _cues(messages: Sequence[Message]) -> list[Cues]:
    return [cues(message.content) for message in messages]


def _facts(source: Sequence[Message]) -> tuple[str, ...]:
    """The numbers, dates and code of turns that decide something, the most named first."""
    deciding = [one for one in _cues(source) if one.decisions]
    named = Counter(fact for one in deciding for fact in one.numbers | one.dates | one.code)
    ranked = sorted(named, key=lambda fact: (-named[fact], fact))
    return tuple(ranked[:FACTS_MAX])


def _asked(source: Sequence[Message], facts: Sequence[str]) -> str:
    names = [f"Name each of these exactly as written: {', '.join(facts)}", ""] if facts else []
    turns = [f"{message.name or message.role}: {message.content}" for message in source]
    return "\n".join([*names, *turns])
