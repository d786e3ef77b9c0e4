"""What was measured, kept as a file and shown as a page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from validation.benchmarks.machine import ROOT, Machine
from validation.benchmarks.runner import SPREAD_MAX, Result, Verdict

RECORD = ROOT / "docs" / "reference" / "benchmarks.json"
INTRODUCTION = f"""\
Absolute figures belong to a machine and a moment; ratios travel better. So a gate is a ratio of two
ways to do the same, A over B, that alternate in one run as A B B A: the first round is dropped, the
median of the others' ratios is judged, and what was done is counted within every timed part. Where
the rounds are more than {SPREAD_MAX:.0%} apart there is no result, whatever the median says.
`make bench` measures again.
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


def write(record: Record, path: Path) -> None:
    """Keep it, one value a line, so that a change is readable."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def page(record: Record) -> str:
    """The record as Markdown."""
    parts = [INTRODUCTION, _machine(record.machine), _table(record.results)]
    return "\n".join(parts) + "".join(f"\n{_details(result)}" for result in record.results)


def compared(result: Result) -> str:
    """The median as a reader wants it."""
    if not result.values:
        return ""
    return _value(result, result.median)


def bounds(result: Result) -> str:
    """The lowest and the highest round."""
    if not result.values:
        return ""
    return f"{_value(result, min(result.values))} to {_value(result, max(result.values))}"


def judged(result: Result) -> str:
    """The verdict, with the reason where there is no figure to judge."""
    return f"{result.verdict} ({result.why})" if result.why else str(result.verdict)


def gate(result: Result) -> str:
    """What must come out."""
    if result.compared == "difference" and result.gate:
        return f"A - B {result.gate} {result.unit}"
    return result.gate or "none"


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
    head = ("id", "what", "gate", "A / B", "lowest to highest", "verdict", "A", "B")
    rows = [head, tuple("---" for _ in head), *(_row(result) for result in results)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.id,
        result.title,
        gate(result),
        compared(result),
        bounds(result),
        judged(result),
        _side(result, result.a_figure, result.a_cpu_us),
        _side(result, result.b_figure, result.b_cpu_us),
    )


def _side(result: Result, value: float, cpu_us: float | None) -> str:
    if not result.values:
        return ""
    cost = f", {figure(cpu_us)} µs CPU" if cpu_us is not None else ""
    return f"{figure(value)} {result.unit}{cost}"


def _details(result: Result) -> str:
    lines = [
        f"### {result.id}: {result.title}\n",
        f"- A: {result.a}",
        f"- B: {result.b}",
        f"- Counted: {result.counted}",
        *(
            f"- Beside it: {aside.name} {figure(aside.value)}, must be {aside.gate}"
            for aside in result.asides
        ),
    ]
    if result.verdict is Verdict.MISSED and result.limit:
        lines.append(f"- What limits it: {result.limit}")
    if result.at:
        lines.append(
            f"- {result.at}, commit `{result.commit}`, load average {result.load_average:g},"
            f" {len(result.values)} rounds in {result.took_s:.0f} s"
        )
    return "\n".join(lines) + "\n"
