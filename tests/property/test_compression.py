"""Laws of compression: a budget is a bound, a pin stays, an order stays, and none is lost."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix.adapters import tokens
from helix.domain.compression import STRATEGIES, Compressed, Strategy, compress
from helix.domain.ranking import Ranking
from helix.errors import InvalidError
from helix.events import Message, Role
from tests.strategies import ROLES
from validation.meetings import read

WORDS = (
    "Alice",
    "agreed",
    "to",
    "ship",
    "`build_all`",
    "1,024",
    "12 May 2026",
    "the",
    "yeah",
    "Zürich",
    "should",
    "",
)


def turn(role: Role, said: list[str], size: int) -> Message:
    return Message(message_id="", role=role, content=" ".join(said), tokens=size + len(said))


turns = st.builds(
    turn,
    st.sampled_from(ROLES),
    st.lists(st.sampled_from(WORDS), max_size=8) | st.lists(st.text(max_size=9), max_size=3),
    st.integers(0, 3),
)


def numbered(drawn: Sequence[Message]) -> list[Message]:
    return [
        msgspec.structs.replace(message, message_id=f"m{index}")
        for index, message in enumerate(drawn)
    ]


histories = st.lists(turns, max_size=25).map(numbered)
strategies = st.sampled_from(STRATEGIES)


def refusal(
    history: Sequence[Message], budget: int, strategy: Strategy, pins: frozenset[str]
) -> InvalidError | None:
    try:
        compress(history, budget, strategy=strategy, pins=pins)
    except InvalidError as error:
        return error
    return None


def minimum(history: Sequence[Message], strategy: Strategy, pins: frozenset[str]) -> int:
    """The smallest budget that is not refused."""
    refused = refusal(history, 1, strategy, pins)
    return int(str(refused.details["minimum"])) if refused else 1


def lawful(history: Sequence[Message], result: Compressed, tokens_max: int) -> None:
    kept = [message.message_id for message in result.kept]
    everything = [message.message_id for message in history]
    assert sum(message.tokens for message in result.kept) <= tokens_max
    assert sorted(kept + result.dropped) == sorted(everything)
    assert kept == [one for one in everything if one in set(kept)]
    assert result.dropped == [one for one in everything if one in set(result.dropped)]
    shares = msgspec.structs.astuple(result.receipt.survival)
    assert all(share is None or 0 <= share <= 1 for share in shares)
    assert 0 <= result.receipt.quality_score <= 1
    assert result.receipt.compressed_tokens == sum(message.tokens for message in result.kept)


@given(histories, strategies, st.integers(1, 120), st.integers(0, 4), st.text(max_size=12))
def test_a_budget_is_never_exceeded(
    history: list[Message], strategy: Strategy, budget: int, last: int, query: str
) -> None:
    pinned = sum(
        message.tokens
        for index, message in enumerate(history)
        if message.role == "system" or index >= len(history) - last
    )
    budget += pinned

    result = compress(history, budget, strategy=strategy, pin_last=last, query=query)

    lawful(history, result, budget)


@given(histories, strategies, st.integers(1, 120))
def test_a_budget_below_the_pins_is_refused_with_a_larger_one(
    history: list[Message], strategy: Strategy, budget: int
) -> None:
    refused = refusal(history, budget, strategy, frozenset())

    least = minimum(history, strategy, frozenset())
    assert (refused is not None) == (budget < least)
    assert refused is None or refused.details["code"] == "BUDGET_TOO_SMALL"


@given(histories, strategies, st.data())
def test_the_named_minimum_succeeds_and_holds_every_pin(
    history: list[Message], strategy: Strategy, data: st.DataObject
) -> None:
    ids = [message.message_id for message in history]
    pins = data.draw(st.frozensets(st.sampled_from(ids)) if ids else st.just(frozenset[str]()))
    least = minimum(history, strategy, pins)

    result = compress(history, least, strategy=strategy, pins=pins)

    lawful(history, result, least)
    must = {one.message_id for one in history if one.role == "system"} | pins | set(ids[-2:])
    assert must <= {message.message_id for message in result.kept}
    assert result.receipt.pins_kept == len(must)


@given(histories, strategies, st.integers(1, 60))
def test_the_same_history_is_compressed_the_same_way_with_and_without_a_ranking(
    history: list[Message], strategy: Strategy, budget: int
) -> None:
    ranking = Ranking.of(history)

    first = compress(history, budget + 99, strategy=strategy, pin_last=0, ranking=ranking)

    assert first == compress(history, budget + 99, strategy=strategy, pin_last=0)


@given(histories, strategies)
def test_a_budget_that_holds_everything_keeps_everything(
    history: list[Message], strategy: Strategy
) -> None:
    budget = max(1, sum(message.tokens for message in history))

    result = compress(history, budget, strategy=strategy)

    assert result.kept == history
    assert result.receipt.quality_score == 1


@given(histories, st.integers(0, 25))
def test_an_extended_ranking_is_the_ranking_of_the_whole(
    history: list[Message], known: int
) -> None:
    extended = Ranking.of(history[:known]).extended(history)
    whole = Ranking.of(history)

    assert extended.contents == whole.contents
    assert extended.cues == whole.cues
    assert np.allclose(extended.rank, whole.rank, atol=1e-6)
    assert np.allclose(extended.weights, whole.weights, atol=1e-9)
    assert np.array_equal(extended.rows.columns, whole.rows.columns)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=25)
@given(st.data())
def test_a_real_meeting_fits_into_any_budget(strategy: Strategy, data: st.DataObject) -> None:
    budget = data.draw(st.integers(1, int(sum(message.tokens for message in MEETING))))

    result = compress(MEETING, budget, strategy=strategy, pin_last=0)

    lawful(MEETING, result, budget)
    assert sum(tokens.count(message.content) for message in result.kept) <= budget


MEETING = [
    Message(
        message_id=f"m{index}",
        role="user",
        name=turn.speaker,
        content=turn.content,
        tokens=tokens.count(turn.content),
    )
    for index, turn in enumerate(read().turns)
]
