"""Write docs/reference from the catalogue and the record, or say what drifted: `--check`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helix.topology.catalog import CATALOG
from helix.topology.tables import Grid, grids
from validation.benchmarks import record

REFERENCE = Path(__file__).resolve().parent / "reference"
HEAD = "<!-- Made by `make docs` from helix/topology/catalog.py: edit that. -->\n\n"
MEASURED = "<!-- Made by `make docs` from benchmarks.json, which `make bench` writes. -->\n\n"


def markdown(grid: Grid) -> str:
    """The grid as a Markdown table under its title."""
    rows = [grid.columns, tuple("---" for _ in grid.columns), *grid.rows]
    body = "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows
    )
    return f"## {grid.title}\n\n{body}\n"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    tables = "".join(markdown(grid) for grid in grids(CATALOG))
    made = {"topology.md": f"{HEAD}# Topology\n\n{tables}".rstrip() + "\n"}
    measured = record.read(record.RECORD)
    if measured is not None:
        made["benchmarks.md"] = f"{MEASURED}# Benchmarks\n\n{record.page(measured)}"
    return made


def main() -> int:
    """Exit 1 when `--check` finds a page that is not what its source says."""
    drifted = [
        name
        for name, text in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
    ]
    if "--check" in sys.argv[1:]:
        for name in drifted:
            sys.stdout.write(f"`docs/reference/{name}` has drifted: run `make docs`\n")
        return 1 if drifted else 0
    REFERENCE.mkdir(exist_ok=True)
    for name in drifted:
        (REFERENCE / name).write_text(pages()[name])
        sys.stdout.write(f"wrote docs/reference/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
