"""A run as a table for people and as a record for later."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtest.arrivals import Plan
from loadtest.machine import Machine
from loadtest.verdict import Figures, Sample, errors, faults, figures

WIDTH_MIN = 120  # of a terminal; less would break the rows


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found in one run."""

    started_at: datetime
    url: str
    plan: Plan
    machine: Machine
    planned: int
    sent: int
    rate: float  # requests per second, measured
    generator_cpu: float  # of one core; near 1 the generator itself is the bottleneck
    routes: list[Figures]
    errors: list[tuple[str, int]]
    faults: list[str]  # why the run fails; empty if it passes


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is besides its samples."""

    started_at: datetime
    url: str
    plan: Plan
    machine: Machine
    planned: int
    generator_cpu: float


def record(samples: Sequence[Sample], run: Circumstances) -> Record:
    """The run, judged."""
    return Record(
        **{name: getattr(run, name) for name in Circumstances.__struct_fields__},
        sent=len(samples),
        rate=len(samples) / (run.plan.total_s - run.plan.ramp_s),
        routes=figures(samples),
        errors=errors(samples),
        faults=faults(samples, planned=run.planned),
    )


def show(found: Record, console: Console) -> None:
    """The table, the errors, and the verdict in the last lines."""
    console.width = max(console.width, WIDTH_MIN)
    console.print(_table(found.routes))
    for text, count in found.errors:
        console.print(f"{count} x {escape(text)}")
    console.print(
        f"{found.sent} of {found.planned} requests, {found.rate:.1f}/s by {found.plan.users} users"
        f" at a time; the generator took {found.generator_cpu:.0%} of a core"
    )
    for fault in found.faults:
        console.print(f"[red]missed:[/] {escape(fault)}")
    if not found.faults:
        console.print("[green]every budget is met[/]")


def _table(rows: Sequence[Figures]) -> Table:
    table = Table(box=None, title="milliseconds from the moment a request was due")
    table.add_column("route", no_wrap=True)
    for name in ("requests", "errors", "p50", "p95", "p99", "max", "p95 once sent", "budget"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            row.route,
            str(row.count),
            str(row.errors),
            *(f"{ms:.1f}" for ms in (row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms)),
            f"{row.service_p95_ms:.1f}",
            f"{row.p95_ms_gate:.0f}",
            "[green]met[/]" if row.met else "[red]missed[/]",
        )
    return table
