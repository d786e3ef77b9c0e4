"""What was measured, kept as a file and shown as a page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from validation.benchmarks.machine import ROOT, Machine
from validation.benchmarks.runner import WIDTH_MAX, Interval, Result, Verdict
from validation.benchmarks.statistic import ROUNDS_MAX, ROUNDS_MIN

REFERENCE = ROOT / "docs" / "reference"  # the committed record and its page
SCRATCH = ROOT / ".bench"  # where every run leaves its own, out of git's sight
FILE, PAGE = "benchmarks.json", "benchmarks.md"
HEAD = "<!-- Made from benchmarks.json, which `make bench RECORD=1` writes. -->\n\n# Benchmarks\n\n"
INTRODUCTION = f"""\
Absolute figures belong to a machine and a moment; ratios travel better. So a gate is a ratio of two
ways to do the same, A over B, that alternate in one run as A B B A; the first round is dropped, and
what was done is counted within every timed part.

Where both sides are bound by the processor, the ratio is of *CPU time*: of work done a second of
processor time, user and system, of all processes named, or of the milliseconds of it. That is what
a machine that does other things meanwhile can measure; the wall time's ratio stands beside it. A
time that somebody waits for is judged by the *wall time*, with the ratio of CPU time beside it.

The interval is Wilcoxon's signed-rank interval of the rounds' paired ratios (of their logarithms),
each look at 99 %, of all looks together at 95 %. There are {ROUNDS_MIN} to {ROUNDS_MAX} rounds,
until the interval is narrower than {WIDTH_MAX:.0%} with the gate outside of it, or the time is up.
Then it decides if the gate is outside of it, a wall time only if it is as narrow as well; else the
benchmark is *undecided*, whatever its middle says. *Of the limit* is how near A comes to a
way that does the least that physics lets it, decoding and promising nothing: recorded, not judged.
"""


class Record(msgspec.Struct, frozen=True):
    """Results and the machine they are from."""

    machine: Machine
    results: tuple[Result, ...] = ()


def read(path: Path) -> Record | None:
    """What the file holds, None where there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else None


def merged(
    before: Record | None, machine: Machine, results: Iterable[Result], ids: Sequence[str]
) -> Record:
    """New results in place of old ones of the same machine, in the order of the ids."""
    known = before.results if before is not None and before.machine == machine else ()
    found = {result.id: result for result in (*known, *results)}
    return Record(machine, tuple(found[name] for name in ids if name in found))


def write(record: Record, folder: Path) -> None:
    """Write the record, one value a line so that a change is readable, and its page."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    (folder / FILE).write_bytes(encoded)
    (folder / PAGE).write_text(page(record), encoding="utf-8")


def page(record: Record) -> str:
    """The record as Markdown."""
    parts = [HEAD + INTRODUCTION, _machine(record.machine), _table(record.results)]
    return "\n".join(parts) + "".join(f"\n{_details(result)}" for result in record.results)


def summary(results: Sequence[Result]) -> str:
    """How many gates were decided, and which were not."""
    gated = [result for result in results if result.gate]
    decided = [result for result in gated if result.verdict.is_decided]
    others = ", ".join(result.id for result in gated if not result.verdict.is_decided)
    return f"{len(decided)} of {len(gated)} gates decided" + (f", not {others}" if others else "")


def compared(result: Result) -> str:
    """The estimate of what is judged."""
    return _value(result, result.interval.middle) if result.interval else ""


def bounds(result: Result) -> str:
    """The interval of what is judged."""
    return _bounds(result, result.interval)


def _bounds(result: Result, interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{_value(result, interval.low)} to {_value(result, interval.high)}"


def judged(result: Result) -> str:
    """The verdict, with the reason where there is no figure to judge."""
    return f"{result.verdict} ({result.why})" if result.why else str(result.verdict)


def gate(result: Result) -> str:
    """What must come out."""
    if result.compared == "difference" and result.gate:
        return f"A - B {result.gate} {result.unit}"
    return result.gate or "none"


def reach(result: Result) -> str:
    """How near A comes to the limit; empty where none was measured."""
    return "" if result.reach is None else figure(result.reach)


def figure(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _value(result: Result, value: float) -> str:
    return f"{figure(value)} {result.unit}" if result.compared == "difference" else figure(value)


def _machine(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
    return (
        f"Measured on {machine.cores} cores of {machine.cpu}, {machine.memory_gib:g} GiB, Linux"
        f" {machine.kernel}, Python {machine.python}, everything on this one machine, its stack"
        f" running beside it.\nVersions: {versions}.\n"
    )


def _table(results: Sequence[Result]) -> str:
    head = (
        *("id", "what", "judged by", "gate", "A / B", "interval", "verdict"),
        *("A", "B", "of the limit"),
    )
    rows = [head, tuple("---" for _ in head), *(_row(result) for result in results)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.id,
        result.title,
        result.judged_by,
        gate(result),
        compared(result),
        bounds(result),
        judged(result),
        side(result, result.a_figure, result.a_cpu_us),
        side(result, result.b_figure, result.b_cpu_us),
        reach(result),
    )


def side(result: Result, value: float, cpu_us: float) -> str:
    """One side's figure by the clock, and what an item costs."""
    return f"{figure(value)} {result.unit}, {figure(cpu_us)} µs CPU" if result.values else ""


def _details(result: Result) -> str:
    lines = [
        f"### {result.id}: {result.title}\n",
        f"- A: {result.a}",
        f"- B: {result.b}",
        *_limit(result),
        f"- Counted: {result.counted}; CPU time of {result.processes}",
        *_beside(result),
        *(
            f"- Beside it: {aside.name} {figure(aside.value)}, must be {aside.gate}"
            for aside in result.asides
        ),
    ]
    if result.verdict is Verdict.MISSED and result.why_missed:
        lines.append(f"- What limits it: {result.why_missed}")
    if result.at:
        lines.append(
            f"- {result.at}, commit `{result.commit}`, load average {result.load_average:g},"
            f" {len(result.values)} rounds in {result.took_s:.0f} s"
        )
    return "\n".join(lines) + "\n"


def _limit(result: Result) -> list[str]:
    if not result.limit:
        return []
    cost = f"{figure(result.limit_cpu_us)} µs CPU" if result.reach is not None else "not measured"
    return [f"- The limit: {result.limit}: {cost}"]


def _beside(result: Result) -> list[str]:
    if result.beside is None:
        return []
    other = "wall time" if result.judged_by == "CPU time" else "CPU time"
    shown = replace_unit(result, other)
    return [f"- By {other}: {_value(shown, result.beside.middle)}, {_bounds(shown, result.beside)}"]


def replace_unit(result: Result, measure: str) -> Result:
    """Return the result as the other measure names its differences."""
    unit = "ms CPU" if measure == "CPU time" and result.unit == "ms" else result.unit
    return msgspec.structs.replace(result, unit=unit)
