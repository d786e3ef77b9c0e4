"""What a compression keeps, what it says of it, and what it refuses."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from helix.adapters import curves
from helix.domain import ranking as rankings
from helix.domain.compression import Size, Strategy, compress, enough, quality, survival
from helix.domain.cues import cues
from helix.domain.curves import Choice, Curve, Estimate, Source
from helix.domain.ranking import Ranking, lexrank, words
from helix.domain.summaries import FACTS_MAX, Plan, Refusal, accepted, concluded, planned
from helix.errors import InvalidError
from helix.events import Message, Survival
from tests.tree import ROOT
from validation.compression import corpus, measuring, rules
from validation.compression.page import page


def said(*contents: str, tokens: int = 10) -> list[Message]:
    return [
        Message(message_id=f"m{index}", role="user", content=content, tokens=tokens)
        for index, content in enumerate(contents)
    ]


def ids(kept: list[Message]) -> list[str]:
    return [message.message_id for message in kept]


HISTORY = said(
    "We met Alice Moore at 10:30 on 12 May 2026 about ticket OPS-42.",
    "yeah",
    "The pump pressure of the northern line keeps falling at night.",
    "okay",
    "Falling pressure in the northern pump line means a leak at night.",
    "mm",
    "Lunch was fine.",
    "right",
)


def test_a_window_keeps_the_newest_turns_without_a_hole() -> None:
    history = [*said("a", "b", "c", "d")]
    history[1] = msgspec.structs.replace(history[1], tokens=25)

    result = compress(history, 40, strategy="window")

    assert ids(result.kept) == ["m2", "m3"]
    assert result.dropped == ["m0", "m1"]


def test_entity_keeps_the_turn_that_names_most() -> None:
    result = compress(HISTORY, 10, strategy="entity", pin_last=0)

    assert ids(result.kept) == ["m0"]


def test_full_keeps_what_most_of_the_rest_resembles() -> None:
    history = said("pump leak", "pump valve", "pump leak valve night", "night owl", "lunch")

    result = compress(history, 10, strategy="full", pin_last=0)

    assert ids(result.kept) == ["m2"]


def test_hybrid_does_not_say_the_same_twice() -> None:
    same = "The budget of the harbour crane is settled"
    history = said(same, same, same, "Owls hunt beside frozen rivers in winter")

    result = compress(history, 20, strategy="hybrid", pin_last=0)

    assert "m3" in ids(result.kept)


def test_a_query_draws_what_it_asks_for_into_the_budget() -> None:
    history = said(*(f"subject{n} matter{n} detail{n}" for n in range(20)))

    result = compress(history, 30, strategy="hybrid", pin_last=0, query="matter7 detail7")

    assert "m7" in ids(result.kept)


def test_system_messages_named_messages_and_the_last_turns_are_pinned() -> None:
    history = said("rules", "b", "c", "d", "e", "f")
    history[0] = msgspec.structs.replace(history[0], role="system")

    result = compress(history, 40, strategy="hybrid", pins=frozenset({"m2"}))

    assert ids(result.kept) == ["m0", "m2", "m4", "m5"]
    assert result.receipt.pins_kept == 4


def test_a_budget_below_the_pins_is_refused_with_the_minimum() -> None:
    with pytest.raises(InvalidError) as refused:
        compress(HISTORY, 19, strategy="full")

    assert refused.value.details == {
        "code": "BUDGET_TOO_SMALL",
        "field": "max_tokens",
        "minimum": 20,
    }


def test_an_aim_below_the_pins_gives_way_to_them() -> None:
    tokens_max = enough(HISTORY, 19)

    assert tokens_max == 20
    assert ids(compress(HISTORY, tokens_max, strategy="full").kept) == ["m6", "m7"]


def test_an_aim_that_holds_the_pins_stands() -> None:
    assert enough(HISTORY, 35, pins=frozenset({"m0"}), ceiling=50) == 35


def test_no_aim_goes_above_the_ceiling() -> None:
    assert enough(HISTORY, 10, pin_last=8, ceiling=50) == 50


def test_a_budget_of_nothing_is_refused_even_without_messages() -> None:
    with pytest.raises(InvalidError, match="give 1 or more"):
        compress([], 0, strategy="window")


def test_a_pin_that_names_no_message_is_refused() -> None:
    with pytest.raises(InvalidError, match="`nobody`"):
        compress(HISTORY, 99, strategy="window", pins=frozenset({"nobody"}))


def test_a_negative_number_of_last_turns_is_refused() -> None:
    with pytest.raises(InvalidError, match="`pin_last` is negative"):
        compress(HISTORY, 99, strategy="window", pin_last=-1)


def test_an_empty_history_stays_empty() -> None:
    result = compress([], 1, strategy="hybrid", query="anything")

    assert (result.kept, result.dropped, result.receipt.quality_score) == ([], [], 1)


def test_a_history_without_words_is_compressed_all_the_same() -> None:
    result = compress(said("", "...", "?"), 10, strategy="hybrid", pin_last=0, query="what")

    assert len(result.kept) == 1


def test_the_receipt_is_measured() -> None:
    receipt = compress(HISTORY, 30, strategy="window", pin_last=1).receipt

    assert (receipt.original_messages, receipt.compressed_messages) == (8, 3)
    assert (receipt.original_tokens, receipt.compressed_tokens) == (80, 30)
    assert receipt.survival == Survival(entities=0.0, numbers=0.0, dates=0.0)
    assert receipt.quality_score == pytest.approx(0.4)


def test_classes_that_do_not_occur_do_not_weigh() -> None:
    assert quality(Survival(numbers=0.5), pins=None, otherwise=0) == pytest.approx(0.5)
    assert quality(Survival(entities=0.5), pins=1, otherwise=0) == pytest.approx(0.55 / 0.7)
    assert quality(Survival(), pins=None, otherwise=0.25) == 0.25


def test_survival_counts_distinct_things() -> None:
    before = [cues("Call 7 7 8"), cues("call 7")]

    assert survival(before, before[1:]) == Survival(numbers=0.5)


def test_cues_find_what_is_named() -> None:
    found = cues(
        "today Ada Lovelace asked @bob about parse_all and `x = 1` of OPS-42 at a@b.org,"
        " https://x.org/y: 1,024 rows, 37% by 2026-05-12 or May 14th, 2026. We must decide."
    )

    assert {"ada lovelace", "@bob", "parse_all", "x = 1", "ops-42", "a@b.org"} <= found.entities
    assert found.numbers >= {"1024", "37%"}
    assert found.dates == {"2026-05-12", "may 14th, 2026"}
    assert found.code == {"OPS-42", "parse_all", "x = 1", "a@b.org", "https://x.org/y"}
    assert found.decisions == 2


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("see parseAll now", {"parseAll"}, 1),
        ("of AB-12", {"AB-12"}, 1),
        ("run `make`", {"make"}, 1),
        ("is my_name there", {"my_name"}, 1),
        ("mail a@b.org", {"a@b.org"}, 1),
        ("at http://x.org/y.", {"http://x.org/y"}, 1),
        ("a well-known AB-x", set[str](), 2),
        ("in May 2026 we #ship", set[str](), 2),
        ("She said. Alice Moore and the NASA came", set[str](), 2),
        ("Monday is fine", set[str](), 0),
    ],
)
def test_a_cue_is_found_by_the_character_it_cannot_do_without(
    text: str, code: set[str], named: int
) -> None:
    found = cues(text)

    assert (found.code, found.named) == (code, named)


def test_deciding_is_found_in_capitals_too() -> None:
    assert cues("DECISION: we Must agree").decisions == 3


def test_words_are_those_that_say_something() -> None:
    assert words("Um, yeah: the Pump_line's 3 valves!") == ["pump", "line", "3", "valves"]


def test_lexrank_is_the_solution_of_the_dense_system() -> None:
    contents = [message.content for message in HISTORY]
    ranking = Ranking.of(HISTORY)
    dense = ranking.rows.matrix(ranking.weights).toarray()
    lengths = np.linalg.norm(dense, axis=1)
    dense /= np.where(lengths == 0, 1, lengths)[:, None]
    graph = dense @ dense.T
    degrees = np.where(graph.sum(axis=1) == 0, 1, graph.sum(axis=1))
    wanted = np.linalg.solve(np.eye(8) - 0.85 * graph / degrees[None, :], np.full(8, 0.15))

    assert np.allclose(lexrank(contents), wanted, atol=1e-8)


def test_a_ranking_is_extended_twice_from_the_same_base() -> None:
    base = Ranking.of(HISTORY[:3])
    other = [*HISTORY[:3], *said("quite different vocabulary")]
    base.extended(HISTORY)

    assert np.allclose(base.extended(other).rank, Ranking.of(other).rank, atol=1e-6)


def test_a_ranking_of_the_same_history_is_itself() -> None:
    base = Ranking.of(HISTORY)

    assert base.extended(HISTORY) is base


@pytest.fixture
def unranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants the words of a turn fails."""

    def wanted(_: str) -> list[str]:
        raise AssertionError

    monkeypatch.setattr(rankings, "words", wanted)


@pytest.mark.usefixtures("unranked")
@pytest.mark.parametrize("strategy", ["window", "entity"])
def test_a_strategy_that_heeds_no_rank_pays_for_none(strategy: Strategy) -> None:
    assert compress(HISTORY, 40, strategy=strategy).dropped


@pytest.mark.usefixtures("unranked")
def test_what_fits_whole_is_not_ranked() -> None:
    assert not compress(HISTORY, 80, strategy="hybrid", query="pump").dropped


def test_a_ranking_that_was_put_off_is_that_of_the_whole() -> None:
    base = Ranking.of(HISTORY[:2])
    compress(HISTORY[:2], 10, strategy="window", pin_last=0, ranking=base)
    put_off = base.extended(HISTORY[:5]).extended(HISTORY)

    assert put_off.cues == Ranking.of(HISTORY).cues
    assert np.allclose(put_off.rank, Ranking.of(HISTORY).rank, atol=1e-6)


def test_a_changed_history_is_ranked_anew() -> None:
    changed = [*said("edited"), *HISTORY[1:]]

    assert Ranking.of(HISTORY).extended(changed).contents[0] == "edited"


def test_relevance_is_highest_where_the_rare_word_is() -> None:
    relevance = Ranking.of(HISTORY).relevance("any leak?")

    assert relevance.argmax() == 4
    assert relevance.max() == 1
    assert not Ranking.of(HISTORY).relevance("zeppelin").any()


# The measured curve


def curve(*points: Choice) -> Curve:
    return Curve(Source("d", "", "held_out", 1, 1), points)


def test_the_cheapest_point_whose_lower_bound_reaches_is_chosen() -> None:
    points = (
        Choice("full", 0.2, Estimate(0.6, 0.4, 0.7)),
        Choice("window", 0.3, Estimate(0.6, 0.51, 0.7)),
        Choice("hybrid", 0.3, Estimate(0.6, 0.55, 0.7)),
        Choice("hybrid", 0.4, Estimate(0.8, 0.75, 0.9)),
    )

    assert curve(*points).choose(0.5) is points[2]


def test_a_recall_that_nothing_reached_is_refused_with_the_best_there_is() -> None:
    with pytest.raises(InvalidError) as refused:
        curve(Choice("full", 0.2, Estimate(0.6, 0.4, 0.7))).choose(0.5)

    assert refused.value.details["maximum"] == 0.4


def record() -> measuring.Record:
    return msgspec.json.decode(curves.FILE.read_bytes(), type=measuring.Record)


def test_the_shipped_curve_is_of_the_held_out_meetings() -> None:
    source = curves.measured().source

    assert source.sha256 == corpus.split().sha256
    assert source.meetings == len(corpus.split().held_out)
    assert curves.measured().choose(0.5).strategy == "hybrid"


def test_no_meeting_both_tunes_and_judges() -> None:
    split = corpus.split()

    assert not set(split.tune) & set(split.held_out)


def test_hybrid_keeps_more_than_the_window_and_no_less_than_the_best_single_rule() -> None:
    against = {one.rule: one.turns for one in record().differences}

    assert against["window"].mean >= 0.15
    assert against[record().best_single].low >= -0.02


def test_the_page_is_that_of_the_record() -> None:
    shown = (ROOT / "docs" / "reference" / "compression.md").read_text()

    assert shown == page(record())


def meeting() -> corpus.Meeting:
    return corpus.Meeting(
        meeting_id="",
        history=HISTORY,
        ranking=Ranking.of(HISTORY),
        tokens=np.full(8, 10.0),
        words=[frozenset(words(message.content)) for message in HISTORY],
        gold=[np.array([2, 3, 4, 5])],
    )


def test_recall_is_the_share_of_the_turns_that_answer() -> None:
    chosen = np.array([False, False, True, True, False, False, False, False])

    turns, tokens, _ = measuring.shares(meeting(), chosen)

    assert (turns, tokens) == (0.5, 0.5)


@pytest.mark.parametrize("name", [*rules.OURS, *rules.SINGLE, *rules.HOLLOW])
def test_every_rule_stays_within_the_budget(name: str) -> None:
    chosen = {**rules.OURS, **rules.SINGLE, **rules.HOLLOW}[name](meeting(), 35)

    assert chosen.sum() == 3


def test_the_estimate_of_equals_has_no_width() -> None:
    assert measuring.estimate(np.full(5, 0.5)) == Estimate(0.5, 0.5, 0.5)


# Summaries by a model

DECIDED = said("We agreed to spend 1,200 on OPS-42.", "yeah", "fine", "and now?", tokens=30)
FIT = "They agreed to spend 1,200 on OPS-42 and nothing else was settled by anyone."


def plan(tokens_max: int = 100) -> Plan:
    found = planned(DECIDED, tokens_max)
    assert isinstance(found, Plan)
    return found


def test_a_plan_names_the_facts_of_what_was_decided() -> None:
    assert plan().facts == ("1200", "OPS-42")
    assert plan().text.startswith("Name each of these exactly as written: 1200, OPS-42\n")
    assert plan().summary_tokens_max == 40


def test_a_plan_without_facts_asks_for_none() -> None:
    found = planned(said("a b", "c", "d", tokens=30), 100)

    assert isinstance(found, Plan)
    assert found.text == "user: a b"


def test_a_plan_names_no_more_facts_than_a_summary_can_hold() -> None:
    found = planned(said("agreed " + " ".join(map(str, range(100, 200))), "b", "c"), 90)

    assert isinstance(found, Plan)
    assert len(found.facts) == FACTS_MAX


def test_nothing_to_summarise_and_no_room_are_said() -> None:
    nothing, crowded = planned(DECIDED[2:], 99), planned(DECIDED, 61)

    assert isinstance(nothing, Refusal)
    assert isinstance(crowded, Refusal)
    assert (nothing.code, crowded.code) == ("NOTHING_TO_SUMMARISE", "NO_ROOM")


def test_a_plan_below_its_pins_is_refused_with_the_minimum() -> None:
    with pytest.raises(InvalidError) as refused:
        planned(DECIDED, 59)

    assert refused.value.details["minimum"] == 60


@pytest.mark.parametrize(
    ("summary", "tokens", "code"),
    [
        ("", 0, "EMPTY"),
        (" \n", 1, "EMPTY"),
        ("They agreed.", 1, "TOO_SHORT"),
        (FIT, 41, "TOO_LONG"),
        (FIT.replace("1,200", "21,200"), 20, "PINS_LOST"),
        (FIT.replace("OPS-42", "it"), 20, "PINS_LOST"),
    ],
)
def test_an_unfit_summary_is_refused(summary: str, tokens: int, code: str) -> None:
    refused = accepted(summary, tokens=tokens, tokens_max=40, facts=plan().facts)

    assert isinstance(refused, Refusal)
    assert refused.code == code


def test_a_fit_summary_cites_what_it_stands_for_beside_the_pinned_turns() -> None:
    result = concluded(plan(), f" {FIT}\n", tokens=20, message_id="s1")

    assert not isinstance(result, Refusal)
    assert ids(result.kept) == ["s1", "m2", "m3"]
    assert result.kept[0].content == FIT
    assert result.kept[0].metadata == {"cites": ["m0", "m1"]}
    assert result.dropped == ["m0", "m1"]
    assert result.receipt.compressed_tokens == 80
    assert result.receipt.survival.numbers == 1


def test_system_messages_stay_before_the_summary() -> None:
    rules_ = msgspec.structs.replace(DECIDED[0], role="system", message_id="r")
    found = planned([rules_, *DECIDED], 130)
    assert isinstance(found, Plan)

    result = concluded(found, FIT, tokens=20, message_id="s1")

    assert not isinstance(result, Refusal)
    assert ids(result.kept) == ["r", "s1", "m2", "m3"]


def test_an_unfit_summary_concludes_nothing() -> None:
    refused = concluded(replace(plan(), facts=()), "", tokens=0, message_id="s1")

    assert isinstance(refused, Refusal)


def test_sizes_are_sums() -> None:
    assert Size.of(DECIDED) == Size(4, 120)
