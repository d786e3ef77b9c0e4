"""Who comes when: a schedule made beforehand, so that a slow platform cannot slow its visitors."""

from random import Random

import msgspec

from helix.errors import InvalidError
from loadtest.journeys.conversations import STEPS

USERS_MAX = 10_000
MINUTES_MAX = 24 * 60
GAP_SPREAD = 0.5  # of the mean gap between a visitor's steps, to either side
S_PER_MINUTE = 60


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much load for how long: `rate` requests a second by `users` at a time on average."""

    users: int
    rate: float
    minutes: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not 1 <= self.users <= USERS_MAX:
            raise InvalidError(f"`--users {self.users}` is not between 1 and {USERS_MAX}")
        if not 0 < self.minutes <= MINUTES_MAX:
            raise InvalidError(f"`--minutes {self.minutes:g}` is not between 0 and {MINUTES_MAX}")
        if not self.rate > 0:
            raise InvalidError(f"`--rate {self.rate:g}` is not above 0")

    @property
    def gap_s(self) -> float:
        """Mean time from one step of a visitor to the next."""
        return self.users / self.rate

    @property
    def ramp_s(self) -> float:
        """Until the first have left and as many come as go; not measured."""
        return STEPS * self.gap_s

    @property
    def total_s(self) -> float:
        """The whole run."""
        return self.ramp_s + self.minutes * S_PER_MINUTE


def schedule(plan: Plan, random: Random) -> list[list[float]]:
    """When each visitor means to take each step, in seconds from the start.

    Visitors arrive independently of each other, and no step waits for the answer to another.
    """
    found: list[list[float]] = []
    at = random.expovariate(plan.rate / STEPS)
    while at < plan.total_s:
        found.append(_moments(at, plan, random))
        at += random.expovariate(plan.rate / STEPS)
    return found


def _moments(arrival: float, plan: Plan, random: Random) -> list[float]:
    found = [arrival]
    for _ in range(STEPS - 1):
        found.append(found[-1] + plan.gap_s * random.uniform(1 - GAP_SPREAD, 1 + GAP_SPREAD))
    return found
