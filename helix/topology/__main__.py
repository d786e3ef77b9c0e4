"""Print the catalogue as tables or as JSON, or check it."""

import argparse
import sys
from collections.abc import Sequence

import msgspec

from helix.topology import check
from helix.topology.catalog import CATALOG
from helix.topology.tables import Grid, grids, losses


def main(argv: Sequence[str]) -> int:
    """Exit 1 when `--check` finds faults."""
    parser = argparse.ArgumentParser(prog="python -m helix.topology", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the catalogue as one JSON document")
    form.add_argument(
        "--check",
        action="store_true",
        help="every fault of the catalogue, and what each server's loss would stop",
    )
    arguments = parser.parse_args(argv)
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(CATALOG)) + b"\n")
        return 0
    if arguments.check:
        _show(losses(CATALOG))
        return _verdict(check.faults(CATALOG))
    for grid in grids(CATALOG):
        _show(grid)
    return _verdict(check.faults(CATALOG))


def aligned(grid: Grid) -> str:
    """The grid with its columns in line."""
    rows = [grid.columns, *grid.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(grid.columns))]
    return "".join(
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


def _show(grid: Grid) -> None:
    sys.stdout.write(f"{grid.title}\n{aligned(grid)}\n")


def _verdict(faults: list[str]) -> int:
    for fault in faults:
        sys.stdout.write(f"fault: {fault}\n")
    if not faults:
        rows = f"{len(CATALOG.services)} services, {len(CATALOG.topics)} topics"
        sys.stdout.write(f"sound: {rows}, {len(CATALOG.servers)} servers\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
