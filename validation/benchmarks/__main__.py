"""`python -m validation.benchmarks`: measure, show, keep; exit 1 where a gate is missed."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from helix.errors import HelixError, InvalidError
from helix.settings import from_env
from validation.benchmarks import api, clickhouse, compression, kafka, record, replay
from validation.benchmarks.lab import Lab
from validation.benchmarks.machine import ROOT, commit, load_average, machine
from validation.benchmarks.runner import SECONDS_MAX, Benchmark, Result, Verdict, run

ALL: tuple[Benchmark, ...] = (
    *kafka.BENCHMARKS,
    *clickhouse.BENCHMARKS,
    *replay.BENCHMARKS,
    *api.BENCHMARKS,
    *compression.BENCHMARKS,
)
WIDTH_MIN = 120
COLOURS = {
    Verdict.MET: "green",
    Verdict.MISSED: "red",
    Verdict.UNDECIDED: "yellow",
    Verdict.REPORTED: "cyan",
    Verdict.ABSENT: "dim",
}


def chosen(names: str) -> Sequence[Benchmark]:
    """Those of that comma-separated list, all where it is empty."""
    wanted = [name.strip().upper() for name in names.split(",") if name.strip()]
    known = {benchmark.id: benchmark for benchmark in ALL}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidError(f"no benchmark `{unknown[0]}`: choose among {', '.join(known)}")
    return [known[name] for name in wanted] if wanted else ALL


def measure(
    benchmarks: Sequence[Benchmark], lab: Lab, seconds_max: float, console: Console
) -> Iterator[Result]:
    """Yield every result as it comes, with what the machine was doing meanwhile."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} rounds"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for benchmark in benchmarks:
            shown = f"{benchmark.id} {benchmark.title}"
            task = progress.add_task(escape(shown), total=None)
            result = run(benchmark, lab, seconds_max, tell=lambda task=task: progress.advance(task))
            progress.remove_task(task)
            progress.print(f"{benchmark.id:4}{escape(record.judged(result))}")
            yield msgspec.structs.replace(
                result,
                at=datetime.now(UTC).isoformat(timespec="minutes"),  # noqa: TID251 - the composition root
                commit=commit(),
                load_average=load_average(),
            )


def table(results: Sequence[Result]) -> Table:
    """One row a benchmark."""
    rows = Table(box=None)
    for name in ("id", "what", "gate", "A / B", "interval", "A", "B", "of the limit", "verdict"):
        rows.add_column(name, overflow="fold")
    for result in results:
        rows.add_row(
            result.id,
            f"{escape(result.title)} ({result.judged_by})",
            record.gate(result),
            record.compared(result),
            record.bounds(result),
            record.side(result, result.a_figure, result.a_cpu_us),
            record.side(result, result.b_figure, result.b_cpu_us),
            record.reach(result),
            f"[{COLOURS[result.verdict]}]{escape(record.judged(result))}[/]",
        )
    return rows


def keep(results: Sequence[Result], folder: Path) -> None:
    """Put the results in place of older ones in the folder's record, and write its page."""
    before = None
    with contextlib.suppress(msgspec.ValidationError):  # another release's, of another shape
        before = record.read(folder / record.FILE)
    ids = [benchmark.id for benchmark in ALL]
    record.write(record.merged(before, machine(), results, ids), folder)


@click.command(help=__doc__)
@click.option("--only", default="", help="Ids separated by commas: K1,K2.")
@click.option(
    "--seconds",
    default=SECONDS_MAX,
    show_default=True,
    type=click.FloatRange(min=0),
    help="After which the rounds of a benchmark end, decided or not.",
)
@click.option("--list", "listed", is_flag=True, help="Say what there is, measure nothing.")
@click.option("--record", "recorded", is_flag=True, help="Renew the committed record and page.")
def main(*, only: str, seconds: float, listed: bool, recorded: bool) -> None:
    """Exit 1 where a gate is missed, 2 where nothing could be measured."""
    console = Console()
    console.width = max(console.width, WIDTH_MIN)
    folders = [record.SCRATCH, *([record.REFERENCE] if recorded else [])]
    try:
        benchmarks = chosen(only)
        if listed:
            for benchmark in benchmarks:
                gate = f" (gate: {benchmark.gate})" if benchmark.gate else ""
                console.print(f"{benchmark.id:4}{escape(benchmark.title)}{gate}", highlight=False)
            return
        settings = from_env(os.environ)  # noqa: TID251 - the composition root of this command
        lab = Lab(settings)
        lab.clean()
        results: list[Result] = []
        for result in measure(benchmarks, lab, seconds, console):
            results.append(result)
            for folder in folders:  # one by one: who interrupts the rest keeps what there is
                keep([result], folder)
    except HelixError as error:
        console.print(f"{error.message}", style="red", highlight=False)
        sys.exit(2)
    console.print(table(results))
    console.print(record.summary(results), highlight=False)
    for folder in folders:
        shown = folder.relative_to(ROOT)
        console.print(f"wrote `{shown / record.FILE}`, `{shown / record.PAGE}`", highlight=False)
    sys.exit(any(result.verdict is Verdict.MISSED for result in results))


if __name__ == "__main__":
    main()
