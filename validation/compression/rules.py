"""What `hybrid` is compared with: one rule each, filled greedily into the same budget."""

from collections.abc import Callable

import numpy as np

from helix.domain.compression import (
    PIN_LAST,
    STRATEGIES,
    Bools,
    Strategy,
    compress,
    filled,
)
from helix.domain.ranking import Floats
from validation.compression.corpus import Meeting

RANDOM_SEED = 0
Rule = Callable[[Meeting, int], Bools]


def strategy(name: Strategy) -> Rule:
    """The strategy as the platform serves it: the last turns pinned."""

    def kept(meeting: Meeting, tokens_max: int) -> Bools:
        pinned = sum(message.tokens for message in meeting.history[-PIN_LAST:])
        result = compress(
            meeting.history,
            tokens_max,
            strategy=name,
            pin_last=PIN_LAST if pinned <= tokens_max else 0,
            ranking=meeting.ranking,
        )
        ids = {message.message_id for message in result.kept}
        return np.array([message.message_id in ids for message in meeting.history], np.bool_)

    return kept


def by(worth: Callable[[Meeting], Floats]) -> Rule:
    """The turns of most worth that fit, nothing pinned."""

    def kept(meeting: Meeting, tokens_max: int) -> Bools:
        none = np.zeros(len(meeting.history), np.bool_)
        return filled(worth(meeting), meeting.tokens.astype(np.int64), tokens_max, none)

    return kept


def coverage(meeting: Meeting, tokens_max: int) -> Bools:
    """Always the turn with the most weight of new words a token."""
    ranking, tokens = meeting.ranking, meeting.tokens
    chosen = np.zeros(len(tokens), np.bool_)
    worth = ranking.rarity.copy()
    left = float(tokens_max)
    while True:
        sums = ranking.rows.matrix(worth[ranking.rows.columns]).sum(axis=1)
        sums = np.where(chosen | (tokens > left), -1.0, sums / (tokens + 1))
        turn = int(sums.argmax())
        if sums[turn] < 0:
            return chosen
        chosen[turn] = True
        left -= tokens[turn]
        worth[ranking.rows.of(turn)] = 0


def _order(meeting: Meeting) -> Floats:
    return np.arange(len(meeting.history), dtype=np.float64)


def _density(worth: Callable[[Meeting], Floats]) -> Callable[[Meeting], Floats]:
    return lambda meeting: worth(meeting) / np.maximum(meeting.tokens, 1)


def _chance(meeting: Meeting) -> Floats:
    return np.random.default_rng(RANDOM_SEED).random(len(meeting.history))


def _centroid(meeting: Meeting) -> Floats:
    rows = meeting.ranking.rows.matrix(meeting.ranking.weights)
    lengths = np.sqrt(rows.multiply(rows).sum(axis=1))
    return (rows @ rows.sum(axis=0)) / np.maximum(lengths, 1)


def _rarity(meeting: Meeting) -> Floats:
    return meeting.ranking.rows.matrix(meeting.ranking.weights).sum(axis=1)


def _named(meeting: Meeting) -> Floats:
    return np.array([one.named for one in meeting.ranking.cues], np.float64)


def _rank(meeting: Meeting) -> Floats:
    return meeting.ranking.rank


OURS: dict[str, Rule] = {name: strategy(name) for name in STRATEGIES}
SINGLE: dict[str, Rule] = {
    "newest first": by(_order),
    "oldest first": by(lambda meeting: -_order(meeting)),
    "random": by(_chance),
    "centroid": by(_centroid),
    "rare-term density": by(_density(_rarity)),
    "entity and number density": by(_density(_named)),
    "greedy coverage": coverage,
    "LexRank": by(_rank),
    "LexRank density": by(_density(_rank)),
}
# No rule anyone should use: it shows how far recall by count of turns can be driven alone.
HOLLOW: dict[str, Rule] = {"shortest first": by(lambda meeting: -meeting.tokens)}
