"""What was measured against what must hold: pure, from samples to sentences."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from helix.budgets import ERRORS_RATIO_MAX, ROUTE_BUDGETS, RouteBudget

SENT_RATIO_MIN = 0.99  # of the planned requests; fewer, and the generator was the bottleneck
KINDS_MAX = 10  # of errors that are told one by one


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One request: how late after its intended moment it was answered, and how long that took."""

    route: str
    latency_ms: float  # from the moment it was meant to be sent
    service_ms: float  # from the moment it was sent
    error: str = ""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A route's samples in numbers, beside its budget."""

    route: str
    count: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    service_p95_ms: float
    p95_ms_gate: float
    p95_ms_aim: float

    @property
    def met(self) -> bool:
        """Whether the gate holds."""
        return self.p95_ms <= self.p95_ms_gate


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(samples: Sequence[Sample]) -> list[Figures]:
    """One row a route that was asked; a route without a budget is a mistake of ours."""
    budgets = {budget.route: budget for budget in ROUTE_BUDGETS}
    by_route: dict[str, list[Sample]] = {}
    for sample in samples:
        by_route.setdefault(sample.route, []).append(sample)
    return [_figures(budgets[route], found) for route, found in sorted(by_route.items())]


def faults(samples: Sequence[Sample], *, planned: int) -> list[str]:
    """Why the run fails, a sentence each; empty if everything that must hold does."""
    if not samples:
        return ["nothing was measured: give more `--minutes`"]
    found = [
        f"`{row.route}` p95 {row.p95_ms:.0f} ms is over its budget of {row.p95_ms_gate:.0f} ms"
        for row in figures(samples)
        if not row.met
    ]
    if len(samples) < SENT_RATIO_MIN * planned:
        found.append(f"{len(samples)} of {planned} planned requests were sent: lower `--rate`")
    errors = sum(1 for sample in samples if sample.error)
    if errors > ERRORS_RATIO_MAX * len(samples):
        share = errors / len(samples)
        found.append(f"{share:.1%} of the requests failed, more than {ERRORS_RATIO_MAX:.0%}")
    return found


def errors(samples: Sequence[Sample]) -> list[tuple[str, int]]:
    """The commonest errors and how often each occurred."""
    counted = Counter(f"{sample.route}: {sample.error}" for sample in samples if sample.error)
    return counted.most_common(KINDS_MAX)


def _figures(budget: RouteBudget, samples: Sequence[Sample]) -> Figures:
    latencies = [sample.latency_ms for sample in samples]
    return Figures(
        route=budget.route,
        count=len(samples),
        errors=sum(1 for sample in samples if sample.error),
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        max_ms=max(latencies),
        service_p95_ms=percentile([sample.service_ms for sample in samples], 0.95),
        p95_ms_gate=budget.p95_ms_gate,
        p95_ms_aim=budget.p95_ms_aim,
    )
