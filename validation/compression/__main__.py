"""`python -m validation.compression`: split a corpus, measure the strategies, render the page."""

from pathlib import Path

import click
import msgspec

from helix.adapters import curves
from validation.compression import corpus
from validation.compression.measuring import Record, measured
from validation.compression.page import page

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "compression.md"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def program() -> None:
    """How much of what is asked later the compression strategies keep."""


@program.command()
@click.option("--corpus", "path", type=FILE, required=True, help="QMSum, one meeting a line.")
def split(path: Path) -> None:
    """Print the split of a corpus; the committed one was made so before anything was tuned."""
    found = corpus.divided(*corpus.read(path))
    click.echo(msgspec.json.format(msgspec.json.encode(found)))


@program.command()
@click.option("--corpus", "path", type=FILE, required=True, help="QMSum, one meeting a line.")
def measure(path: Path) -> None:
    """Measure every strategy and rule; write the record and its page."""
    record = measured(*corpus.meetings(path))
    curves.FILE.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    _render(record)


@program.command()
def render() -> None:
    """Write the page of the record as it is."""
    _render(msgspec.json.decode(curves.FILE.read_bytes(), type=Record))


def _render(record: Record) -> None:
    PAGE.write_text(page(record))
    click.echo(f"{PAGE.name}: {record.source.meetings} meetings, {len(record.points)} points")


if __name__ == "__main__":
    program()
