"""How much each turn says: tf-idf rows and their LexRank, extended a turn at a time."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from helix.domain.cues import Cues, cues
from helix.events import Message

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WORD = re.compile(r"[^\W_]+")
# What people say without saying anything; transcripts' marks of noise are among it.
STOP_WORDS = frozenset(
    """a about after again all also am an and any are as at back be because been before being but
    by can could d did do does doing don down for from get go going good got had has have having
    he her here him his how i if in into is it its just know like ll m me mean more most my no not
    now of off oh ok okay on one only or other our out over really re right s said say see she
    should so some such than that the their them then there these they thing things think this
    those through to too under up us ve very want was way we well were what when where which while
    who why will with would yeah yes you your t
    um uh hmm mm mhm disfmarker vocalsound pause gap comment""".split()  # noqa: SIM905 - a list of 150 literals is 150 lines
)
DAMPING = 0.85
TOLERANCE = 1e-10  # of the residual: a warm start ends where a cold one does, within 1e-6
ITERATIONS_MAX = 200
BM25_K = 1.2
BM25_B = 0.75


@dataclass(frozen=True, slots=True)
class Rows:
    """How often each turn uses each word, as compressed sparse rows."""

    words: dict[str, int]  # grows with every extension: rows hold numbers below their own `width`
    width: int
    starts: Ints
    columns: Ints
    counts: Floats

    @property
    def height(self) -> int:
        """How many turns."""
        return len(self.starts) - 1

    def of(self, turn: int) -> Ints:
        """The distinct words of a turn."""
        return self.columns[self.starts[turn] : self.starts[turn + 1]]

    def matrix(self, data: Floats) -> sparse.csr_array:
        """The rows with other values in the same places."""
        return sparse.csr_array((data, self.columns, self.starts), shape=(self.height, self.width))


@dataclass(frozen=True, slots=True)
class Terms:
    """What the words of turns say of them, as far as the turns go."""

    rows: Rows
    weights: Floats  # tf-idf, one value an entry of the rows, not normalised
    rarity: Floats  # inverse document frequency, one a word
    rank: Floats  # LexRank, one a turn; their mean is 1 where every turn has words

    @classmethod
    def of(cls, rows: Rows, *, near: Floats) -> "Terms":
        """Weights and rank of the rows; the nearer `near` is to the rank, the fewer the steps."""
        used = np.bincount(rows.columns, minlength=rows.width)
        rarity = np.log((1 + rows.height) / (1 + used)) + 1
        weights = (1 + np.log(rows.counts)) * rarity[rows.columns]
        start = np.concatenate((near, np.ones(rows.height - len(near))))
        return cls(rows, weights, rarity, _walked(rows, weights, start))

    def extended(self, later: Sequence[str]) -> "Terms":
        """Those of the same turns with the later ones below them."""
        return Terms.of(_appended(self.rows, later), near=self.rank)


class Ranking:
    """What compressing a history needs to know of it, kept to add later turns cheaply.

    Each part is found when it is first asked for, from what is known of the turns before: a window
    wants no rank. One thread at a time may ask, of this and of what extends it: they share words.
    """

    def __init__(self, contents: list[str], cues: list[Cues], terms: Terms) -> None:
        self.contents = contents
        self._cues = cues
        self._terms = terms

    @classmethod
    def of(cls, history: Sequence[Message]) -> "Ranking":
        """The ranking of that history."""
        return cls([message.content for message in history], [], _no_terms())

    def extended(self, history: Sequence[Message]) -> "Ranking":
        """The ranking of that history: cheaply where it begins with the turns ranked here."""
        contents = [message.content for message in history]
        known = len(self.contents)
        if contents[:known] != self.contents:
            return Ranking.of(history)
        if len(contents) == known:
            return self
        return Ranking(contents, self._cues, self._terms)

    @property
    def cues(self) -> list[Cues]:
        """What each turn names and decides."""
        later = self.contents[len(self._cues) :]
        if later:
            self._cues = [*self._cues, *map(cues, later)]
        return self._cues

    @property
    def terms(self) -> Terms:
        """What the words of each turn say of it."""
        later = self.contents[self._terms.rows.height :]
        if later:
            self._terms = self._terms.extended(later)
        return self._terms

    @property
    def rows(self) -> Rows:
        """How often each turn uses each word."""
        return self.terms.rows

    @property
    def weights(self) -> Floats:
        """How much each entry of the rows says."""
        return self.terms.weights

    @property
    def rarity(self) -> Floats:
        """How much each word says."""
        return self.terms.rarity

    @property
    def rank(self) -> Floats:
        """How much the rest resembles each turn."""
        return self.terms.rank

    def relevance(self, query: str) -> Floats:
        """BM25 of every turn to the query, the best one 1; all 0 where no word is shared."""
        rows, rarity = self.terms.rows, self.terms.rarity
        known = (rows.words.get(word) for word in set(words(query)))
        asked = [word for word in known if word is not None and word < rows.width]
        lengths = np.asarray(rows.matrix(rows.counts).sum(axis=1)).ravel()
        usual = lengths.mean() if lengths.any() else 1.0
        scale = BM25_K * (1 - BM25_B + BM25_B * lengths / usual)
        entry = rows.counts * (BM25_K + 1)
        entry /= rows.counts + np.repeat(scale, np.diff(rows.starts))
        wanted = np.zeros(rows.width)
        wanted[asked] = rarity[asked]
        scores: Floats = rows.matrix(entry) @ wanted
        return scores / scores.max() if scores.any() else scores


def words(text: str) -> list[str]:
    """The words of a text that say something, in order."""
    return [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def lexrank(texts: Sequence[str]) -> Floats:
    """Continuous LexRank of texts without forming their graph; the mean is about 1."""
    return _no_terms().extended(texts).rank


def _no_terms() -> Terms:
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    rows = Rows({}, 0, np.zeros(1, np.int64), none, nothing)
    return Terms(rows, nothing, nothing, nothing)


def _appended(rows: Rows, texts: Sequence[str]) -> Rows:
    """The rows with those of the texts below them."""
    vocabulary = rows.words if len(rows.words) == rows.width else _narrowed(rows)
    starts: list[int] = []
    columns: list[int] = []
    counts: list[int] = []
    for text in texts:
        found: dict[int, int] = {}
        for word in words(text):
            column = vocabulary.setdefault(word, len(vocabulary))
            found[column] = found.get(column, 0) + 1
        columns.extend(found)
        counts.extend(found.values())
        starts.append(len(columns))
    end = rows.starts[-1]
    return Rows(
        words=vocabulary,
        width=len(vocabulary),
        starts=np.concatenate((rows.starts, np.asarray(starts, np.int64) + end)),
        columns=np.concatenate((rows.columns, np.asarray(columns, np.int64))),
        counts=np.concatenate((rows.counts, np.asarray(counts, np.float64))),
    )


def _narrowed(rows: Rows) -> dict[str, int]:
    """The words of these rows alone: others extended the same rows before."""
    return {word: column for word, column in rows.words.items() if column < rows.width}


def _walked(rows: Rows, weights: Floats, start: Floats) -> Floats:
    """Where a random walk over the cosines of the rows ends.

    The graph of n x n cosines is never formed: a step is two products with the sparse rows. The
    end is the solution of a symmetric positive system, which conjugate gradients reach in fewer
    steps than walking does, the fewer the nearer `start` is.
    """
    if not rows.height:
        return start
    turns = np.repeat(np.arange(rows.height), np.diff(rows.starts))
    lengths = np.sqrt(np.bincount(turns, weights * weights, rows.height))
    unit = rows.matrix(weights / lengths[turns])
    across = unit.T.tocsr()
    degrees = unit @ across.sum(axis=1)
    degrees[degrees == 0] = 1  # a turn without words leads nowhere
    roots = np.sqrt(degrees)
    scaled = rows.matrix(unit.data / roots[turns])
    back = scaled.T.tocsr()

    def system(given: Floats) -> Floats:
        return given - DAMPING * (scaled @ (back @ given))

    return _solved(system, (1 - DAMPING) / roots, start / roots) * roots


def _solved(system: Callable[[Floats], Floats], target: Floats, start: Floats) -> Floats:
    """What the symmetric positive system maps to the target, by conjugate gradients."""
    found = start
    rest = target - system(found)
    way = rest
    size = rest @ rest
    enough = TOLERANCE**2 * (target @ target)
    for _ in range(ITERATIONS_MAX):
        if size <= enough:
            break
        along = system(way)
        step = size / (way @ along)
        found = found + step * way
        rest = rest - step * along
        before, size = size, rest @ rest
        way = rest + (size / before) * way
    return found
