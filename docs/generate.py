"""Write docs/reference from what the code and the record say, or say what drifted: `--check`."""

import inspect
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec

from helix.topology.catalog import CATALOG
from helix.topology.model import Record
from helix.topology.tables import Grid, grids
from infra.substrates.wanted import PREFIX, Host, Wanted
from validation.benchmarks import record

REFERENCE = Path(__file__).resolve().parent / "reference"
HEAD = "<!-- Made by `make docs` from helix/topology/catalog.py: edit that. -->\n\n"
SETTINGS = "<!-- Made by `make docs` from infra/substrates/wanted.py: edit that. -->\n\n"

# In the source of a record: a field with the comment beside it, a comment above several fields.
FIELD = re.compile(r" {4}(?P<name>\w+): [^#]+?(?: {2}# (?P<says>.+))?")
SECTION = re.compile(r" {4}# (?P<name>.+)")
WORDS = {str: "text", int: "number", float: "number", bool: "true or false", tuple: "JSON list"}


def markdown(grid: Grid) -> str:
    """The grid as a Markdown table under its title."""
    rows = [grid.columns, tuple("---" for _ in grid.columns), *grid.rows]
    body = "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows
    )
    return f"## {grid.title}\n\n{body}\n"


def settings() -> Iterator[Grid]:
    """Every key of a stack's configuration, and what is said of a server."""
    yield from described(Wanted, title="Every stack", prefix=PREFIX)
    yield from described(Host, title="A server in `hosts`")


def described(kind: type[Record], *, title: str, prefix: str = "") -> Iterator[Grid]:
    """The record's fields, a grid for each comment of the source that stands above several."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    found: dict[str, list[tuple[str, ...]]] = {title: []}
    for line in inspect.getsource(kind).splitlines():
        if section := SECTION.fullmatch(line):
            title = f"Of {section['name']}"
            found[title] = []
        elif (row := FIELD.fullmatch(line)) and row["name"] in fields:
            field = fields[row["name"]]
            cells = (f"`{prefix}{field.name}`", _kind(field.type), _default(field))
            found[title].append((*cells, _meaning(field.type, row["says"])))
    columns = ("key", "value", "default", "meaning")
    return (Grid(title=head, columns=columns, rows=tuple(rows)) for head, rows in found.items())


def _meaning(kind: Any, says: str | None) -> str:
    return says or (inspect.getdoc(kind) or "-" if _chosen(kind) else "-")


def _kind(kind: Any) -> str:
    if _chosen(kind):
        return " or ".join(f"`{member}`" for member in kind)
    return WORDS.get(get_origin(kind) or kind, "JSON object")


def _chosen(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def _default(field: msgspec.structs.FieldInfo) -> str:
    """As `pulumi config set` takes it."""
    if field.required:
        return "must be given"
    default = field.default if field.default_factory is msgspec.NODEFAULT else {}
    written = msgspec.json.encode(default).decode().strip('"')
    return f"`{written}`" if written else "empty"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    made = {
        "topology.md": _page(HEAD, "Topology", grids(CATALOG)),
        "settings.md": _page(SETTINGS, "Settings of a stack", settings()),
    }
    measured = record.read(REFERENCE / record.FILE)
    if measured is not None:
        made[record.PAGE] = record.page(measured)
    return made


def _page(head: str, title: str, tables: Iterator[Grid]) -> str:
    return f"{head}# {title}\n\n{''.join(map(markdown, tables))}".rstrip() + "\n"


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
