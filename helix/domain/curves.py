"""How much of what is asked later is kept: measured points, and the choice among them."""

from typing import Literal

import msgspec

from helix.domain.compression import Strategy
from helix.errors import InvalidError


class Estimate(msgspec.Struct, frozen=True):
    """A mean over meetings and its 95 % interval, by bootstrap over the meetings."""

    mean: float
    low: float
    high: float


class Choice(msgspec.Struct, frozen=True):
    """A strategy at a ratio, and the evidence recall measured there."""

    strategy: Strategy
    ratio: float
    recall: Estimate


class Source(msgspec.Struct, frozen=True):
    """What a curve was measured on."""

    data_set: str
    sha256: str
    split: Literal["held_out"]
    meetings: int
    queries: int


class Curve(msgspec.Struct, frozen=True):
    """The points of every strategy, with what they were measured on."""

    source: Source
    points: tuple[Choice, ...]

    def choose(self, recall: float) -> Choice:
        """The smallest ratio whose recall is that high even at the lower bound of its interval."""
        reaching = [point for point in self.points if point.recall.low >= recall]
        if not reaching:
            best = max(self.points, key=lambda point: point.recall.low)
            raise InvalidError(
                f"`recall` {recall} was reached by nothing measured: ask for"
                f" {best.recall.low:.2f} or less (`{best.strategy}` at ratio {best.ratio})",
                code="RECALL_OUT_OF_REACH",
                field="recall",
                maximum=best.recall.low,
            )
        return min(reaching, key=lambda point: (point.ratio, -point.recall.low))
