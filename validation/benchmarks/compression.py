"""X: what ranking, adding and counting cost in a compression, beside the usual libraries."""

import contextlib
from collections.abc import Generator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
from sumy.summarizers.lex_rank import LexRankSummarizer

from helix.adapters.tokens import count
from helix.domain.conversations import within
from helix.domain.ranking import DAMPING, Ranking, lexrank, words
from helix.events import Message
from validation.benchmarks import speech
from validation.benchmarks.costs import own
from validation.benchmarks.lab import Lab
from validation.benchmarks.runner import Aside, Benchmark, Gate, Sides, counted, lasting

SENTENCES = 1_000
SENTENCE_CHARACTERS = 120
KEPT = 100  # sentences of a summary
MESSAGES = 1_000
ADDED = 2
SHARE = 0.3  # of the tokens, the budget
STEPS = 200
SPEARMAN_MIN = 0.99
TOLERATED = 0.01  # of the tokens, in a budgeted count


class Words:
    """A tokenizer for sumy that needs no data of others."""

    def to_words(self, text: str) -> tuple[str, ...]:
        """The words of the text, as our ranking has them."""
        return tuple(words(text))


def sentences() -> list[str]:
    """So many sentences of the usual length, in the words of a meeting."""
    return [speech.said(number)[:SENTENCE_CHARACTERS] for number in range(SENTENCES)]


def history(messages: int) -> list[Message]:
    """So many messages as they are stored, their tokens counted."""
    return [speech.added(number, "conversation").message for number in range(messages)]


def summarised(texts: Sequence[str]) -> int:
    """How many sentences sumy ranked, tokenising included."""
    tokenizer = Words()
    document = ObjectDocumentModel([Paragraph([Sentence(text, tokenizer) for text in texts])])
    LexRankSummarizer()(document, KEPT)
    return len(document.sentences)


def dense(texts: Sequence[str]) -> NDArray[np.float64]:
    """Continuous LexRank by its definition: the whole graph, walked until nothing moves."""
    said = [words(text) for text in texts]
    vocabulary = {word: column for column, word in enumerate(sorted(set().union(*said)))}
    counts = np.zeros((len(texts), len(vocabulary)))
    for row, found in enumerate(said):
        for word in found:
            counts[row, vocabulary[word]] += 1
    used = (counts > 0).sum(axis=0)
    rarity = np.log((1 + len(texts)) / (1 + used)) + 1
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * rarity
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    unit = weights / np.where(lengths > 0, lengths, 1)
    graph = unit @ unit.T
    degrees = graph.sum(axis=1, keepdims=True)
    moves = graph / np.where(degrees > 0, degrees, 1)  # without words a sentence leads nowhere
    rank = np.ones(len(texts))
    for _ in range(STEPS):
        rank = (1 - DAMPING) + DAMPING * (moves.T @ rank)
    return rank


def spearman(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How far two rankings agree: 1 if they order all alike."""
    ranks = np.vstack([stats.rankdata(some), stats.rankdata(others)])
    return float(np.corrcoef(ranks)[0, 1])


@contextlib.contextmanager
def x1(lab: Lab) -> Generator[Sides]:
    """Our ranking against sumy's."""
    del lab
    texts = sentences()
    agreed = spearman(lexrank(texts), dense(texts))
    yield Sides(
        lambda: lasting(SENTENCES, lambda: summarised(texts), own()),
        lambda: lasting(SENTENCES, lambda: len(lexrank(texts)), own(), times=10),
        asides=[
            Aside("Spearman to LexRank by its definition", agreed, Gate("at least", SPEARMAN_MIN))
        ],
    )


def found(ranking: Ranking) -> None:
    """Ask for all that a ranking finds out only when it is asked."""
    counted(len(ranking.rank), len(ranking.cues))


@contextlib.contextmanager
def x3(lab: Lab) -> Generator[Sides]:
    """One message more against all anew."""
    del lab
    said = history(MESSAGES + ADDED)
    base = Ranking.of(said[:MESSAGES])
    found(base)

    def added() -> int:
        ranking = base
        for length in range(MESSAGES + 1, MESSAGES + ADDED + 1):
            ranking = ranking.extended(said[:length])
            found(ranking)
        return len(ranking.contents) - MESSAGES

    def anew() -> int:
        for length in range(MESSAGES + 1, MESSAGES + ADDED + 1):
            found(Ranking.of(said[:length]))
        return ADDED

    yield Sides(lambda: lasting(ADDED, added, own()), lambda: lasting(ADDED, anew, own()))


@contextlib.contextmanager
def x4(lab: Lab) -> Generator[Sides]:
    """A budget kept with the counts that every message carries, against counting again."""
    del lab
    said = history(MESSAGES)
    tokens_max = int(SHARE * sum(message.tokens for message in said))
    kept = within(said, tokens_max)
    exact = sum(count(message.content) for message in kept)
    error = abs(sum(message.tokens for message in kept) - exact) / exact

    def again() -> int:
        anew = [msgspec.structs.replace(one, tokens=count(one.content)) for one in said]
        return len(within(anew, tokens_max))

    yield Sides(
        lambda: lasting(len(kept), lambda: len(within(said, tokens_max)), own(), times=200),
        lambda: lasting(len(kept), again, own()),
        asides=[Aside("error of the count", error, Gate("at most", TOLERATED))],
    )


ALONE = "this process"
BENCHMARKS = (
    Benchmark(
        id="X1",
        title=f"Ranking {SENTENCES:,} sentences: how much longer a usual library takes",
        a="sumy's LexRank with our words, no data of others",
        b="our LexRank, the words of every sentence found anew",
        unit="ms",
        counted="every sentence ranked",
        processes=ALONE,
        gate=Gate("at least", 100),
        prepare=x1,
    ),
    Benchmark(
        id="X3",
        title=f"Ranking one message more after {MESSAGES:,}",
        a=f"`ranking.extended`, {ADDED} messages one after the other",
        b="`Ranking.of` all of them, as often",
        unit="ms",
        counted="every message ranked",
        processes=ALONE,
        gate=Gate("at most", 0.15),
        prepare=x3,
    ),
    Benchmark(
        id="X4",
        title=f"Keeping to a budget among {MESSAGES:,} messages",
        a="`within`, by the exact counts every message carries",
        b="the same after counting every message with tiktoken",
        unit="ms",
        counted="the same messages kept",
        processes=ALONE,
        gate=Gate("at most", 0.2),
        prepare=x4,
    ),
)
