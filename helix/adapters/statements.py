"""The statements of `sql/`: every query has a name and a purpose, every migration a number."""

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from helix.errors import TopologyError

SQL = pathlib.Path(__file__).parents[2] / "sql"
HEADER = re.compile(r"^(?:--|//) (\w+) --\n(?:--|//) [^\n]+\n", re.MULTILINE)
COMMENT = re.compile(r"^(?:--|//)[^\n]*\n", re.MULTILINE)
MIGRATION = re.compile(r"(\d{4})_(\w+)\.(?:sql|cypher)")


class Statements:
    """The queries of one store, by name: `queries.conversation_get`."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def __getattr__(self, name: str) -> str:
        if name not in self._texts:
            raise AttributeError(f"no statement `{name}`: see sql/*/queries")
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


class Migration(msgspec.Struct, frozen=True):
    """One step of a store's schema; once applied anywhere, its text never changes again."""

    version: int
    name: str
    digest: str
    statements: tuple[str, ...]


def load(store: str) -> Statements:
    """Every query of that store; a name given twice is refused."""
    texts: dict[str, str] = {}
    for path in sorted((SQL / store / "queries").iterdir()):
        for name, text in _parts(path.read_text(encoding="utf-8")):
            if name in texts:
                raise TopologyError(f"two statements named `{name}` in {path.name}: rename one")
            texts[name] = text
    return Statements(texts)


def migrations(store: str) -> tuple[Migration, ...]:
    """Every migration of that store, in order."""
    return tuple(_migration(path) for path in sorted((SQL / store / "migrations").iterdir()))


def outstanding(
    wanted: tuple[Migration, ...], applied: dict[int, str], *, store: str
) -> list[Migration]:
    """The migrations still to run; `TopologyError` where one that ran was edited since."""
    for migration in wanted:
        if applied.get(migration.version, migration.digest) != migration.digest:
            raise TopologyError(
                f"migration `{migration.version:04}_{migration.name}` of {store} was edited after "
                "it ran: restore it and add a new one"
            )
    return [migration for migration in wanted if migration.version not in applied]


def carry_out(
    todo: Iterable[Migration],
    run: Callable[[str], object],
    *,
    record: Callable[[dict[str, object]], object],
) -> list[str]:
    """Each migration statement by statement, then its record; the names of those that ran."""
    ran: list[str] = []
    for migration in todo:
        for text in migration.statements:
            run(text)
        record({"version": migration.version, "name": migration.name, "digest": migration.digest})
        ran.append(f"{migration.version:04}_{migration.name}")
    return ran


def _parts(text: str) -> Iterator[tuple[str, str]]:
    headers = list(HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, end in zip(headers, ends, strict=True):
        yield header[1], text[header.end() : end].strip().removesuffix(";")


def _migration(path: pathlib.Path) -> Migration:
    named = MIGRATION.fullmatch(path.name)
    if named is None:
        raise TopologyError(f"`{path.name}` is no migration: name it like 0002_what.sql")
    text = path.read_text(encoding="utf-8")
    bare = COMMENT.sub("", text)
    return Migration(
        version=int(named[1]),
        name=named[2],
        digest=hashlib.sha256(text.encode()).hexdigest(),
        statements=tuple(part.strip() for part in bare.split(";\n") if part.strip()),
    )
