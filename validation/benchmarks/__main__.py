"""`python -m validation.benchmarks`: measure, show, keep; exit 1 where a gate is missed."""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from helix.errors import HelixError, InvalidError
from helix.settings import from_env
from validation.benchmarks import api, clickhouse, compression, kafka, record, replay
from validation.benchmarks.lab import Lab
from validation.benchmarks.machine import commit, load_average, machine
from validation.benchmarks.runner import ROUNDS, Benchmark, Result, Verdict, run

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
    Verdict.NO_RESULT: "yellow",
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
    benchmarks: Sequence[Benchmark], lab: Lab, rounds: int, console: Console
) -> list[Result]:
    """Every result, with what the machine was doing meanwhile."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    results: list[Result] = []
    with Progress(*columns, console=console) as progress:
        for benchmark in benchmarks:
            shown = f"{benchmark.id} {benchmark.title}"
            task = progress.add_task(escape(shown), total=rounds + 1)
            result = run(benchmark, lab, rounds, told=lambda task=task: progress.advance(task))
            results.append(
                msgspec.structs.replace(
                    result,
                    at=datetime.now(UTC).isoformat(timespec="minutes"),  # noqa: TID251 - the composition root
                    commit=commit(),
                    load_average=load_average(),
                )
            )
            progress.update(task, completed=rounds + 1)
    return results


def table(results: Sequence[Result]) -> Table:
    """One row a benchmark."""
    rows = Table(box=None)
    for name in ("id", "what", "gate", "A / B", "lowest to highest", "A", "B", "verdict"):
        rows.add_column(name, overflow="fold")
    for result in results:
        rows.add_row(
            result.id,
            escape(result.title),
            record.gate(result),
            record.compared(result),
            record.bounds(result),
            f"{record.figure(result.a_figure)} {result.unit}",
            f"{record.figure(result.b_figure)} {result.unit}",
            f"[{COLOURS[result.verdict]}]{escape(record.judged(result))}[/]",
        )
    return rows


@click.command(help=__doc__)
@click.option("--only", default="", help="Ids separated by commas: K1,K2.")
@click.option("--rounds", default=ROUNDS, show_default=True, type=click.IntRange(min=1))
@click.option("--list", "listed", is_flag=True, help="Say what there is, measure nothing.")
@click.option("--out", default=record.RECORD, type=click.Path(path_type=Path), show_default=True)
def main(*, only: str, rounds: int, listed: bool, out: Path) -> None:
    """Exit 1 where a gate is missed, 2 where nothing could be measured."""
    console = Console()
    console.width = max(console.width, WIDTH_MIN)
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
        results = measure(benchmarks, lab, rounds, console)
    except HelixError as error:
        console.print(f"{error.message}", style="red", highlight=False)
        sys.exit(2)
    here = machine()
    kept = record.merged(record.read(out), here, results, [benchmark.id for benchmark in ALL])
    record.write(kept, out)
    console.print(table(results))
    sys.exit(any(result.verdict is Verdict.MISSED for result in results))


if __name__ == "__main__":
    main()
