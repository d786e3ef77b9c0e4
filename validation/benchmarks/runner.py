"""Ratios of two ways to do the same: alternated in one run, counted at the sink, never guessed."""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import msgspec

from helix.errors import HelixError
from validation.benchmarks.costs import Processes, Spent
from validation.benchmarks.errors import AbsentError, VoidError
from validation.benchmarks.lab import Lab
from validation.benchmarks.statistic import (
    LOOKS,
    ROUNDS_MAX,
    ROUNDS_MIN,
    Interval,
    difference_interval,
    ratio_interval,
)

SECONDS_MAX = 20.0  # after which the rounds of a benchmark end, at `ROUNDS_MIN` at the earliest
WIDTH_MAX = 0.10  # of an interval: of its lower end, or of what a difference may be
VOID_MAX = 3  # rounds of a benchmark whose count at the sink was wrong

Comparison = Literal["ratio", "difference"]
Measure = Literal["CPU time", "wall time"]


class Verdict(StrEnum):
    """What a benchmark says about its gate."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    REPORTED = "reported"
    ABSENT = "absent"

    @property
    def is_decided(self) -> bool:
        """Whether a gate was judged."""
        return self in {Verdict.MET, Verdict.MISSED}


class Sample(msgspec.Struct, frozen=True):
    """One timed part: its figure in the benchmark's unit, by the clock and by processor time."""

    figure: float
    spent: float  # the figure as it were, had the clock run only while our processes did
    items: int
    cpu_us: float  # of one item, in all processes that are counted


class Gate(msgspec.Struct, frozen=True):
    """What a figure must reach, or must not pass."""

    sense: Literal["at least", "at most"]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value >= self.bound if self.sense == "at least" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}"


class Aside(msgspec.Struct, frozen=True):
    """A figure beside the ratio that must hold as well."""

    name: str
    value: float
    gate: Gate


@dataclass(frozen=True, slots=True)
class Sides:
    """Both ways, ready to be timed, and where it is known the way that cannot be beaten."""

    a: Callable[[], Sample]
    b: Callable[[], Sample]
    limit: Callable[[], Sample] | None = None
    asides: Sequence[Aside] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What is compared with what, what must come out, and how it is known to have happened."""

    id: str
    title: str
    a: str
    b: str
    unit: str  # of the figures: `events/s`, `ms`
    counted: str  # what is checked within every timed part
    processes: str  # whose processor time is counted
    gate: Gate | None  # None: reported only
    prepare: Callable[[Lab], AbstractContextManager[Sides]]
    judged_by: Measure = "CPU time"
    compared: Comparison = "ratio"
    pairs: int = 1  # A and B alternate so often within a round
    limit: str = ""  # what does the least that physics lets it: recorded beside, never judged
    why_missed: str = ""  # what holds A back where it misses, known from a profile


class Round(msgspec.Struct, frozen=True):
    """The figures of one round, each the mean of its parts."""

    a: Sample
    b: Sample
    limit: Sample | None = None

    def compare(self, how: Comparison, measure: Measure) -> float:
        """Return A over B, or A less B."""
        a, b = figure_of(self.a, measure), figure_of(self.b, measure)
        return a / b if how == "ratio" else a - b

    def reach(self, measure: Measure) -> float | None:
        """Return A over the limit; None where there is none."""
        if self.limit is None:
            return None
        return figure_of(self.a, measure) / figure_of(self.limit, measure)


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One benchmark as it came out, with all a reader needs to judge it."""

    id: str
    title: str
    a: str
    b: str
    unit: str
    counted: str
    processes: str
    judged_by: Measure
    compared: Comparison
    gate: str
    verdict: Verdict
    why: str = ""  # it is undecided, or absent
    limit: str = ""
    why_missed: str = ""
    interval: Interval | None = None  # of what is judged
    beside: Interval | None = None  # of the other of both measures
    reach: float | None = None  # A over the limit, the middle of the rounds
    values: tuple[float, ...] = ()  # what is judged, one a round
    a_figure: float = 0.0
    b_figure: float = 0.0
    a_cpu_us: float = 0.0
    b_cpu_us: float = 0.0
    limit_cpu_us: float = 0.0
    asides: tuple[Aside, ...] = ()
    took_s: float = 0.0
    at: str = ""
    commit: str = ""
    load_average: float = 0.0


def figure_of(sample: Sample, measure: Measure) -> float:
    """Return the sample's figure by that measure."""
    return sample.spent if measure == "CPU time" else sample.figure


def order(pairs: int) -> Iterator[str]:
    """Yield `A B B A A B B A ...`, a round after the other, without an end."""
    letters = "AB"
    while True:
        for _ in range(pairs):
            yield from letters
            letters = letters[::-1]


def mean(samples: Sequence[Sample]) -> Sample:
    """Return one sample for several parts of a round."""
    return Sample(
        figure=statistics.fmean(sample.figure for sample in samples),
        spent=statistics.fmean(sample.spent for sample in samples),
        items=sum(sample.items for sample in samples),
        cpu_us=statistics.fmean(sample.cpu_us for sample in samples),
    )


def play_round(
    sides: Sides, letters: Iterator[str], pairs: int, *, with_limit: bool = True
) -> Round:
    """Play one round in the order of the letters, the limit after them."""
    samples: dict[str, list[Sample]] = {"A": [], "B": []}
    for _ in range(2 * pairs):
        letter = next(letters)
        samples[letter].append(sides.a() if letter == "A" else sides.b())
    limit = sides.limit() if sides.limit and with_limit else None
    return Round(mean(samples["A"]), mean(samples["B"]), limit)


def play_rounds(
    benchmark: Benchmark, sides: Sides, seconds_max: float, *, tell: Callable[[], None]
) -> list[Round]:
    """Play rounds until they settle the matter or the time is up; the first one is dropped.

    `VoidError` when too many of them were void.
    """
    play_valid_round = _repeat_void_rounds(benchmark, sides)
    play_valid_round(with_limit=True)
    tell()
    until = time.monotonic() + seconds_max
    rounds: list[Round] = []
    while len(rounds) < ROUNDS_MAX:
        # The limit decides nothing: a few rounds tell how far it is.
        rounds.append(play_valid_round(with_limit=len(rounds) < ROUNDS_MIN))
        tell()
        values = compare_all(benchmark, rounds)
        if len(rounds) in LOOKS and not doubt(benchmark, values, precise=True):
            break
        if len(rounds) >= ROUNDS_MIN and time.monotonic() > until:
            break
    return rounds


def _repeat_void_rounds(benchmark: Benchmark, sides: Sides) -> Callable[..., Round]:
    voids = 0
    letters = order(benchmark.pairs)

    def play(*, with_limit: bool) -> Round:
        nonlocal voids, letters
        while True:
            try:
                return play_round(sides, letters, benchmark.pairs, with_limit=with_limit)
            except VoidError:
                voids += 1
                if voids > VOID_MAX:
                    raise
                letters = order(benchmark.pairs)

    return play


def compare_all(
    benchmark: Benchmark, rounds: Sequence[Round], measure: Measure | None = None
) -> list[float]:
    """Return each round's ratio or difference, by what is judged unless a measure is given."""
    return [one.compare(benchmark.compared, measure or benchmark.judged_by) for one in rounds]


def interval_of(values: Sequence[float], compared: Comparison) -> Interval | None:
    """Return the interval of the rounds' values; None where there are too few."""
    return ratio_interval(values) if compared == "ratio" else difference_interval(values)


def width(interval: Interval, gate: Gate | None, compared: Comparison) -> float:
    """Return the interval's width: of its lower end, or for differences of what is allowed."""
    if compared == "ratio":
        return interval.high / interval.low - 1
    return (interval.high - interval.low) / abs(gate.bound if gate else interval.middle)


def doubt(benchmark: Benchmark, values: Sequence[float], *, precise: bool) -> str:
    """Return why the values decide nothing, or are not precise; empty where there is no doubt."""
    interval = interval_of(values, benchmark.compared)
    if interval is None:
        return f"{len(values)} rounds are too few"
    wide = width(interval, benchmark.gate, benchmark.compared)
    if precise and wide > WIDTH_MAX:
        return f"its interval is {wide:.0%} wide"
    if benchmark.gate and interval.holds(benchmark.gate.bound):
        return "the gate lies within its interval"
    return ""


def verdict(
    benchmark: Benchmark, values: Sequence[float], asides: Sequence[Aside] = ()
) -> tuple[Verdict, str]:
    """Judge the gate, or say why not: met only beyond doubt, with every figure beside it.

    Processor time decides once the gate is outside of the interval. A latency has to be precise as
    well: what else the machine does falls on it whole.
    """
    if benchmark.gate is None:
        return Verdict.REPORTED, ""
    interval = interval_of(values, benchmark.compared)
    why = doubt(benchmark, values, precise=benchmark.judged_by == "wall time")
    if interval is None or why:
        return Verdict.UNDECIDED, why
    held = benchmark.gate.holds(interval.middle)
    beside = all(aside.gate.holds(aside.value) for aside in asides)
    return (Verdict.MET if held and beside else Verdict.MISSED), ""


def run(benchmark: Benchmark, lab: Lab, seconds_max: float, *, tell: Callable[[], None]) -> Result:
    """Prepare, play, judge; what this machine lacks is said, never skipped in silence."""
    started = time.monotonic()
    try:
        with benchmark.prepare(lab) as sides, frozen_heap():
            rounds = play_rounds(benchmark, sides, seconds_max, tell=tell)
            result = _judge(benchmark, sides, rounds)
    except AbsentError as error:
        result = _without_figures(benchmark, Verdict.ABSENT, str(error))
    except VoidError as error:
        result = _without_figures(benchmark, Verdict.UNDECIDED, f"void: {error}")
    except HelixError as error:  # the others are measured all the same
        result = _without_figures(benchmark, Verdict.UNDECIDED, error.message)
    return msgspec.structs.replace(result, took_s=round(time.monotonic() - started, 1))


def _judge(benchmark: Benchmark, sides: Sides, rounds: Sequence[Round]) -> Result:
    values = compare_all(benchmark, rounds)
    other: Measure = "wall time" if benchmark.judged_by == "CPU time" else "CPU time"
    reached = [reach for one in rounds if (reach := one.reach(benchmark.judged_by)) is not None]
    limits = [one.limit.cpu_us for one in rounds if one.limit is not None]
    judged, why = verdict(benchmark, values, sides.asides)
    return msgspec.structs.replace(
        _without_figures(benchmark, judged, why),
        interval=interval_of(values, benchmark.compared),
        beside=interval_of(compare_all(benchmark, rounds, other), benchmark.compared),
        reach=statistics.median(reached) if reached else None,
        values=tuple(round(value, 4) for value in values),
        a_figure=statistics.median(one.a.figure for one in rounds),
        b_figure=statistics.median(one.b.figure for one in rounds),
        a_cpu_us=statistics.median(one.a.cpu_us for one in rounds),
        b_cpu_us=statistics.median(one.b.cpu_us for one in rounds),
        limit_cpu_us=statistics.median(limits) if limits else 0.0,
        asides=tuple(sides.asides),
    )


def _without_figures(benchmark: Benchmark, judged: Verdict, why: str) -> Result:
    return Result(
        id=benchmark.id,
        title=benchmark.title,
        a=benchmark.a,
        b=benchmark.b,
        unit=benchmark.unit,
        counted=benchmark.counted,
        processes=benchmark.processes,
        judged_by=benchmark.judged_by,
        compared=benchmark.compared,
        gate=str(benchmark.gate) if benchmark.gate else "",
        limit=benchmark.limit,
        why_missed=benchmark.why_missed,
        verdict=judged,
        why=why,
    )


@contextlib.contextmanager
def frozen_heap() -> Generator[None]:
    """Keep the collector from whatever lives already, in all rounds of a benchmark."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def throughput(items: int, spent: Spent) -> Sample:
    """Return items a second, of wall time and of processor time."""
    return Sample(
        figure=items / spent.took_s,
        spent=items / spent.cpu_s,
        items=items,
        cpu_us=spent.cpu_s / items * 1e6,
    )


def rate(items: int, work: Callable[[], int], processes: Processes) -> Sample:
    """Return items a second of that work; void unless it says that it did them all."""
    gc.collect()
    start = processes.read()
    done = work()
    spent = processes.since(start)
    counted(done, items)
    return throughput(items, spent)


def lasting(items: int, work: Callable[[], int], processes: Processes, *, times: int = 1) -> Sample:
    """Return the milliseconds of that work, the mean of so many times."""
    gc.collect()
    start = processes.read()
    for _ in range(times):
        counted(work(), items)
    spent = processes.since(start)
    return Sample(
        figure=spent.took_s / times * 1e3,
        spent=spent.cpu_s / times * 1e3,
        items=items * times,
        cpu_us=spent.cpu_s / (items * times) * 1e6,
    )


def latency(took_ms: Sequence[float], spent: Spent, *, warm: int) -> Sample:
    """Return the 95th percentile after so many warm ones, and what an item cost in all."""
    used_ms = spent.cpu_s / len(took_ms) * 1e3
    return Sample(
        figure=percentile(took_ms[warm:], 0.95),
        spent=used_ms,
        items=len(took_ms),
        cpu_us=used_ms * 1e3,
    )


def counted(done: int, expected: int) -> None:
    """Raise `VoidError` unless exactly so many were done."""
    if done != expected:
        raise VoidError(f"{done} of {expected} were counted")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
