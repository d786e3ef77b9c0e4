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
from validation.benchmarks.lab import Lab

ROUNDS = 5  # that count; the one before them is dropped
SPREAD_MAX = 0.25  # of the per-round ratios: above it there is no result
VOID_MAX = 3  # rounds of a benchmark whose count at the sink was wrong


class Verdict(StrEnum):
    """What a benchmark says about its gate."""

    MET = "met"
    MISSED = "missed"
    NO_RESULT = "no result"
    REPORTED = "reported"
    ABSENT = "absent"


class VoidError(Exception):
    """A timed part did not do what it was timed for: its round does not count."""


class AbsentError(Exception):
    """What the benchmark compares with is not on the machine."""


class Sample(msgspec.Struct, frozen=True):
    """One timed part: its figure in the benchmark's unit, and what an item cost."""

    figure: float
    items: int
    cpu_us: float | None = None  # of one item, in the process that works


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
    """Both ways, ready to be timed."""

    a: Callable[[], Sample]
    b: Callable[[], Sample]
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
    gate: Gate | None  # None: reported only
    prepare: Callable[[Lab], AbstractContextManager[Sides]]
    compared: Literal["ratio", "difference"] = "ratio"
    pairs: int = 2  # A and B alternate so often within a round
    limit: str = ""  # what holds A back where it misses, known from a profile


class Round(msgspec.Struct, frozen=True):
    """Both figures of one round, each the mean of its parts."""

    a: Sample
    b: Sample

    def compared(self, how: Literal["ratio", "difference"]) -> float:
        """A over B, or A less B."""
        if how == "ratio":
            return self.a.figure / self.b.figure
        return self.a.figure - self.b.figure


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One benchmark as it came out, with all a reader needs to judge it."""

    id: str
    title: str
    a: str
    b: str
    unit: str
    counted: str
    compared: Literal["ratio", "difference"]
    gate: str
    verdict: Verdict
    why: str = ""  # there is no result, or the benchmark is absent
    limit: str = ""
    values: tuple[float, ...] = ()  # one a round that counts
    a_figure: float = 0.0
    b_figure: float = 0.0
    a_cpu_us: float | None = None
    b_cpu_us: float | None = None
    asides: tuple[Aside, ...] = ()
    took_s: float = 0.0
    at: str = ""
    commit: str = ""
    load_average: float = 0.0

    @property
    def median(self) -> float:
        """The middle of the rounds; 0 where there is none."""
        return statistics.median(self.values) if self.values else 0.0


def order(pairs: int) -> Iterator[str]:
    """`A B B A A B B A ...`, a round after the other, without an end."""
    letters = "AB"
    while True:
        for _ in range(pairs):
            yield from letters
            letters = letters[::-1]


def mean(samples: Sequence[Sample]) -> Sample:
    """One sample for several parts of a round."""
    costs = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    return Sample(
        figure=statistics.fmean(sample.figure for sample in samples),
        items=sum(sample.items for sample in samples),
        cpu_us=statistics.fmean(costs) if costs else None,
    )


def played(sides: Sides, letters: Iterator[str], pairs: int) -> Round:
    """One round in the order of the letters."""
    found: dict[str, list[Sample]] = {"A": [], "B": []}
    for _ in range(2 * pairs):
        letter = next(letters)
        found[letter].append(sides.a() if letter == "A" else sides.b())
    return Round(mean(found["A"]), mean(found["B"]))


def rounds(
    benchmark: Benchmark, sides: Sides, count: int, *, told: Callable[[], None]
) -> list[Round]:
    """So many rounds after a dropped first one; `VoidError` when too many of them were void."""
    letters = order(benchmark.pairs)
    done: list[Round] = []
    voids = 0
    while len(done) < count + 1:
        try:
            done.append(played(sides, letters, benchmark.pairs))
            told()
        except VoidError:
            voids += 1
            if voids > VOID_MAX:
                raise
            letters = order(benchmark.pairs)
    return done[1:]


def spread(
    values: Sequence[float], gate: Gate | None, compared: Literal["ratio", "difference"]
) -> float:
    """How far apart the rounds are: of their median, or for differences of what is allowed."""
    unit = statistics.median(values)
    if compared == "difference" and gate is not None:
        unit = gate.bound
    return (max(values) - min(values)) / abs(unit) if unit else float("inf")


def verdict(
    values: Sequence[float],
    gate: Gate | None,
    compared: Literal["ratio", "difference"] = "ratio",
    asides: Sequence[Aside] = (),
) -> Verdict:
    """A gate is met only by rounds that agree, and only with every figure beside it."""
    if gate is None:
        return Verdict.REPORTED
    if spread(values, gate, compared) > SPREAD_MAX:
        return Verdict.NO_RESULT
    held = gate.holds(statistics.median(values))
    beside = all(aside.gate.holds(aside.value) for aside in asides)
    return Verdict.MET if held and beside else Verdict.MISSED


def run(benchmark: Benchmark, lab: Lab, count: int, *, told: Callable[[], None]) -> Result:
    """Prepare, play, judge; what this machine lacks is said, never skipped in silence."""
    started = time.monotonic()
    try:
        with benchmark.prepare(lab) as sides:
            found = rounds(benchmark, sides, count, told=told)
            result = _judged(benchmark, sides, found)
    except AbsentError as error:
        result = _empty(benchmark, Verdict.ABSENT, str(error))
    except VoidError as error:
        result = _empty(benchmark, Verdict.NO_RESULT, f"void: {error}")
    except HelixError as error:  # the others are measured all the same
        result = _empty(benchmark, Verdict.NO_RESULT, error.message)
    return msgspec.structs.replace(result, took_s=round(time.monotonic() - started, 1))


def _judged(benchmark: Benchmark, sides: Sides, found: Sequence[Round]) -> Result:
    values = tuple(one.compared(benchmark.compared) for one in found)
    apart = spread(values, benchmark.gate, benchmark.compared)
    judged = verdict(values, benchmark.gate, benchmark.compared, sides.asides)
    return msgspec.structs.replace(
        _empty(benchmark, judged, ""),
        why=f"rounds {apart:.0%} apart" if judged is Verdict.NO_RESULT else "",
        values=tuple(round(value, 4) for value in values),
        a_figure=statistics.median(one.a.figure for one in found),
        b_figure=statistics.median(one.b.figure for one in found),
        a_cpu_us=_middle([one.a.cpu_us for one in found]),
        b_cpu_us=_middle([one.b.cpu_us for one in found]),
        asides=tuple(sides.asides),
    )


def _middle(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return statistics.median(known) if known else None


def _empty(benchmark: Benchmark, judged: Verdict, why: str) -> Result:
    return Result(
        id=benchmark.id,
        title=benchmark.title,
        a=benchmark.a,
        b=benchmark.b,
        unit=benchmark.unit,
        counted=benchmark.counted,
        compared=benchmark.compared,
        gate=str(benchmark.gate) if benchmark.gate else "",
        limit=benchmark.limit,
        verdict=judged,
        why=why,
    )


@contextlib.contextmanager
def frozen_heap() -> Generator[None]:
    """Nothing that lives already is looked at by the collector meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def rate(items: int, work: Callable[[], int]) -> Sample:
    """Items a second of that work; void unless it says that it did them all."""
    with frozen_heap():
        cpu, started = time.process_time(), time.perf_counter()
        done = work()
        took, used = time.perf_counter() - started, time.process_time() - cpu
    counted(done, items)
    return Sample(figure=items / took, items=items, cpu_us=used / items * 1e6)


def lasting(items: int, work: Callable[[], int], *, times: int = 1) -> Sample:
    """Milliseconds of that work, the middle of so many times."""
    took: list[float] = []
    with frozen_heap():
        cpu = time.process_time()
        for _ in range(times):
            started = time.perf_counter()
            done = work()
            took.append(time.perf_counter() - started)
            counted(done, items)
        used = time.process_time() - cpu
    figure = statistics.median(took) * 1e3
    return Sample(figure=figure, items=items * times, cpu_us=used / (items * times) * 1e6)


def counted(done: int, expected: int) -> None:
    """`VoidError` unless exactly so many were done."""
    if done != expected:
        raise VoidError(f"{done} of {expected} were counted")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
