"""How sure a figure is: an interval for the middle of paired rounds, and when it is narrow enough.

Rounds are paired: each holds both sides, alternated, so that what the machine does meanwhile falls
on both. A round gives one value, the logarithm of the sides' ratio or their difference. Where what
disturbs falls on either side alike, these values are symmetric about the truth, and that is all
the interval assumes: it is Wilcoxon's signed-rank interval around the Hodges-Lehmann estimate
(J. L. Hodges and E. L. Lehmann, 1963), exact, without a normal distribution. One round of a hiccup
moves neither the estimate nor, with enough rounds, the interval.

Whoever looks after every round and stops when he likes what he sees deceives himself. So there are
few looks, at counts of rounds that triple, and a last one when the time is up; each has an interval
of 99 %, so that the one that was stopped at is right in 95 of 100 runs, however many were taken.
"""

import bisect
import functools
import itertools
import math
from collections.abc import Sequence

import msgspec

LOOKS = (8, 24, 72, 216)  # rounds after which one looks; below eight there is no interval of 99 %
CONFIDENCE = 0.99  # of one look; with four and a last one at least 95 % of all together
ROUNDS_MIN, ROUNDS_MAX = LOOKS[0], LOOKS[-1]


class Interval(msgspec.Struct, frozen=True):
    """An estimate and the bounds it lies between, as sure as `CONFIDENCE` says."""

    low: float
    middle: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether the value may be the true one."""
        return self.low <= value <= self.high


def difference_interval(values: Sequence[float]) -> Interval | None:
    """Return the interval of paired differences; None where there are too few for one."""
    rank = critical_rank(len(values))
    if rank is None:
        return None
    pairs = itertools.combinations_with_replacement(values, 2)
    averages = sorted((one + other) / 2 for one, other in pairs)
    half = len(averages) // 2
    middle = (averages[half] + averages[-half - 1]) / 2
    return Interval(averages[rank], middle, averages[-rank - 1])


def ratio_interval(values: Sequence[float]) -> Interval | None:
    """Return the interval of paired ratios, found on their logarithms; None if too few."""
    found = difference_interval([math.log(value) for value in values])
    if found is None:
        return None
    return Interval(math.exp(found.low), math.exp(found.middle), math.exp(found.high))


@functools.cache
def critical_rank(count: int) -> int | None:
    """Return how many averages lie outside the interval at each end; None if it has no end.

    The signed-rank sum of so many values is at most this in half of what `CONFIDENCE` leaves.
    """
    ways = [1]  # in how many ways signs give each sum of ranks
    for rank in range(1, count + 1):
        longer = [0] * rank + ways
        ways = [
            longer[total] + (ways[total] if total < len(ways) else 0)
            for total in range(len(longer))
        ]
    allowed = (1 - CONFIDENCE) / 2 * 2**count
    outside = bisect.bisect_right(list(itertools.accumulate(ways)), allowed)
    return outside - 1 if outside else None
