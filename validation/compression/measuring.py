"""Evidence recall: the share of the turns that answer a question which a compression kept."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from helix.domain.compression import RATIO, STRATEGIES, Bools
from helix.domain.curves import Choice, Estimate, Source
from helix.domain.ranking import Floats
from validation.compression.corpus import Meeting, Split
from validation.compression.rules import HOLLOW, OURS, SINGLE, Rule

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
RESAMPLES = 10_000
SEED = 0


class Row(msgspec.Struct, frozen=True):
    """One rule at 30 %: the share kept of the answers' turns, their tokens and their words."""

    rule: str
    turns: Estimate
    tokens: Estimate
    words: Estimate


class Comparison(msgspec.Struct, frozen=True):
    """`hybrid` minus another rule, meeting by meeting."""

    rule: str
    turns: Estimate


class Record(msgspec.Struct, frozen=True):
    """Everything one run measured; read as a curve it is the curve alone."""

    source: Source
    points: tuple[Choice, ...]
    ratio: float
    held_out: tuple[Row, ...]
    tune: tuple[Row, ...]
    best_single: str  # by turns, on the meetings that tune
    differences: tuple[Comparison, ...]  # on the held-out meetings


def shares(meeting: Meeting, chosen: Bools) -> tuple[float, float, float]:
    """The share kept of the answers' turns, tokens and distinct words; a mean over questions."""
    rows: list[tuple[float, float, float]] = []
    for gold in meeting.gold:
        kept = gold[chosen[gold]]
        wanted = frozenset[str]().union(*(meeting.words[turn] for turn in gold))
        there = frozenset[str]().union(*(meeting.words[turn] for turn in kept))
        rows.append(
            (
                len(kept) / len(gold),
                float(meeting.tokens[kept].sum() / max(meeting.tokens[gold].sum(), 1)),
                len(there) / max(len(wanted), 1),
            )
        )
    turns, tokens, words = np.mean(rows, axis=0)
    return float(turns), float(tokens), float(words)


def estimate(values: Floats) -> Estimate:
    """The mean and the interval that 95 % of resamplings of the meetings give."""
    draws = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return Estimate(*(round(float(value), 4) for value in (values.mean(), low, high)))


def table(
    meetings: Sequence[Meeting], rules: Mapping[str, Rule], ratio: float
) -> dict[str, Floats]:
    """The shares of every rule at that ratio: one row a meeting."""
    return {
        name: np.array(
            [
                shares(meeting, rule(meeting, int(ratio * meeting.tokens.sum())))
                for meeting in meetings
            ]
        )
        for name, rule in rules.items()
    }


def measured(split: Split, meetings: Sequence[Meeting]) -> Record:
    """One run over the meetings, the held-out ones apart."""
    tuning = [one for one in meetings if one.meeting_id in split.tune]
    judging = [one for one in meetings if one.meeting_id in split.held_out]
    rules = {**OURS, **SINGLE, **HOLLOW}
    tuned, judged = table(tuning, rules, RATIO), table(judging, rules, RATIO)
    best = max(SINGLE, key=lambda name: tuned[name][:, 0].mean())
    turns = {name: shares[:, 0] for name, shares in judged.items()}
    return Record(
        source=Source(
            data_set=split.data_set,
            sha256=split.sha256,
            split="held_out",
            meetings=len(judging),
            queries=sum(len(one.gold) for one in judging),
        ),
        points=tuple(point for ratio in RATIOS for point in _points(judging, ratio)),
        ratio=RATIO,
        held_out=_rows(judged),
        tune=_rows(tuned),
        best_single=best,
        differences=tuple(
            Comparison(name, estimate(turns["hybrid"] - turns[name]))
            for name in ("window", *SINGLE)
        ),
    )


def _points(meetings: Sequence[Meeting], ratio: float) -> list[Choice]:
    found = table(meetings, OURS, ratio)
    return [Choice(name, ratio, estimate(found[name][:, 0])) for name in STRATEGIES]


def _rows(found: Mapping[str, Floats]) -> tuple[Row, ...]:
    return tuple(
        Row(name, *(estimate(values[:, column]) for column in range(3)))
        for name, values in found.items()
    )
