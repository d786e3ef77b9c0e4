"""The collections: shards on disk that stay durable, indexed and answerable."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import qdrant_edge as engine
import structlog

from infra.engines.qdrant.config import Config
from infra.engines.qdrant.errors import QdrantError, conflict, missing, unsupported, wrong
from infra.engines.qdrant.filters import field
from infra.engines.qdrant.points import Change
from infra.engines.qdrant.registry import Entry, Registry
from infra.engines.qdrant.schema import engine_config, read_schema, write_info

NAME_CHARACTERS_MAX = 255
NAME_FORBIDS = frozenset('<>:"/\\|?*\0')
GROWTH = 10  # the index is built again when a tenth of the points changed: copying stays linear
JOURNAL_POINTS_MAX = 100_000  # changes kept in memory while an index is built; beyond, it is left
ROUND_CHANGES_MAX = 64  # changes few enough to be carried over while writers wait

log = structlog.get_logger()


class Journal:
    """The changes made since a copy was taken, in order."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self.points = 0

    def add(self, change: Change) -> None:
        self.points += change.points
        if self.points <= JOURNAL_POINTS_MAX:
            self._changes.append(change)

    @property
    def is_whole(self) -> bool:
        return self.points <= JOURNAL_POINTS_MAX

    @property
    def is_short(self) -> bool:
        return len(self._changes) <= ROUND_CHANGES_MAX

    def take(self) -> list[Change]:
        taken, self._changes = self._changes, []
        return taken


class Collection:
    """A shard: one writer at a time, any number of readers, an index built beside it."""

    def __init__(self, name: str, entry: Entry, folder: Path) -> None:
        self.name = name
        self.schema = entry.schema
        schema = read_schema(entry.schema)
        self.vectors = len(schema.vectors) + len(schema.sparse)
        self.shard = engine.EdgeShard.load(str(folder))
        self._folder = folder
        self._lock = threading.Lock()
        self._changes = max(0, self.shard.info().points_count - entry.indexed_points)
        self._operations = 0
        self._journal: Journal | None = None
        self._claimed = False
        self._deleted = False

    @property
    def is_indexing(self) -> bool:
        return self._journal is not None

    def update(self, change: Change) -> int:
        """The number of the change, which is durable now."""
        with self._lock:
            if self._deleted:
                raise unknown(self.name)
            # One that fails half-way has happened half: it is repeated on the copy like any other.
            if self._journal:
                self._journal.add(change)
            self._changes += change.points
            self.shard.update(change.operation)
            self._operations += 1
            return self._operations

    def claim_index(self, points_min: int) -> bool:
        """True once when enough changed for a build to be worth its copy."""
        with self._lock:
            if self._claimed or self._changes < points_min:
                return False
            self._claimed = self._changes * GROWTH >= self.shard.info().points_count
            return self._claimed

    def copy(self, target: Path) -> int:
        """The points copied; from now on changes are journaled too."""
        with self._lock:
            if self._deleted:
                raise unknown(self.name)
            self._changes = 0
            self.shard.flush()
            shutil.copytree(self._folder, target, dirs_exist_ok=True)
            self._journal = Journal()
            return self.shard.info().points_count

    def swap(self, target: Path, commit: Callable[[], None]) -> Path:
        """Live in the copy from now on; the folder left behind, the copy's if it fell behind."""
        shard = engine.EdgeShard.load(str(target))
        journal = self._journal or Journal()
        while not journal.is_short:
            with self._lock:
                taken = journal.take()
            _repeat(shard, taken)
        with self._lock:
            if self._deleted or not journal.is_whole:
                return target
            _repeat(shard, journal.take())
            commit()
            # Readers still inside the old shard keep it alive until they are done.
            left, self.shard, self._folder = self._folder, shard, target
            return left

    def release_index(self) -> None:
        """Writers need no journal any more, and the next build may be claimed."""
        with self._lock:
            self._journal = None
            self._claimed = False

    def close(self) -> None:
        with self._lock:
            if not self._deleted:
                self.shard.close()

    def delete(self) -> None:
        with self._lock:
            self._deleted = True
            shutil.rmtree(self._folder)


def _repeat(shard: Any, changes: list[Change]) -> None:
    for change in changes:
        # What the shard refused the copy refuses the same way, and its client was told.
        with contextlib.suppress(Exception):
            shard.update(change.operation)


def unknown(name: str) -> QdrantError:
    return missing(f"Collection `{name}` doesn't exist!")


def check_name(name: str) -> None:
    """A name the server would take."""
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or NAME_FORBIDS & set(name):
        text = f"`{name}` is not a name; use 1 to {NAME_CHARACTERS_MAX} characters without "
        raise wrong(text + "path separators and wildcards")


class Collections:
    """All collections by name and alias."""

    def __init__(self, config: Config) -> None:
        self._index_points_min = config.index_points_min
        self._registry = Registry(Path(config.data))
        self._lock = threading.Lock()  # of the registry; taken inside a collection's, not around
        self._builds = Builds()
        for folder in self._registry.sweep():
            log.info("folder_swept", folder=folder)
        self._open = {
            name: Collection(name, entry, self._registry.root / entry.folder)
            for name, entry in self._registry.content.collections.items()
        }
        for collection in self._open.values():
            self._consider(collection)

    @property
    def aliases(self) -> Mapping[str, str]:
        return self._registry.content.aliases

    def all(self) -> list[Collection]:
        """Every collection, by name."""
        return [collection for _, collection in sorted(self._open.copy().items())]

    def find(self, name: str) -> Collection | None:
        """The collection of that name or alias."""
        return self._open.get(self.aliases.get(name, name))

    def get(self, name: str) -> Collection:
        """The collection of that name or alias; a 404 if there is none."""
        found = self.find(name)
        if found is None:
            raise unknown(name)
        return found

    def describe(self, name: str) -> dict[str, Any]:
        """The description a client expects."""
        collection = self.get(name)
        return write_info(
            collection.schema,
            collection.shard.info(),
            index_points_min=self._index_points_min,
            optimizing=collection.is_indexing,
        )

    def create(self, name: str, body: dict[str, Any]) -> None:
        """The collection is there from the instant its name is registered."""
        check_name(name)
        config = engine_config(read_schema(body), index_points_min=self._index_points_min)
        with self._lock:
            if name in self._open or name in self.aliases:
                raise conflict(f"Collection `{name}` already exists!")
            folder = self._registry.new_folder()
            entry = Entry(folder=folder.name, schema=body)
            try:
                engine.EdgeShard.create(str(folder), config).close()
                collection = Collection(name, entry, folder)
                self._register(name, entry)
            except BaseException:
                shutil.rmtree(folder)
                raise
            self._open[name] = collection

    def delete(self, name: str) -> bool:
        """Whether there was such a collection; its aliases go with it."""
        with self._lock:
            if name not in self._open:
                return False
            content = self._registry.content
            self._registry.commit(
                collections={
                    key: entry for key, entry in content.collections.items() if key != name
                },
                aliases={alias: aim for alias, aim in content.aliases.items() if aim != name},
            )
            collection = self._open.pop(name)
        collection.delete()
        return True

    def update(self, name: str, changes: Sequence[Change]) -> list[int]:
        """The numbers of the changes, done in order and durable."""
        collection = self.get(name)
        numbers = [collection.update(change) for change in changes]
        self._consider(collection)
        return numbers

    def change_aliases(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """All actions, or none."""
        with self._lock:
            aliases = dict(self.aliases)
            for action in actions:
                for kind, body in action.items():
                    if kind not in ALIAS_ACTIONS:
                        raise unsupported(f"alias action {kind}")
                    ALIAS_ACTIONS[kind](aliases, body, self._open)
            self._registry.commit(aliases=aliases)

    def close(self) -> None:
        """Nothing is built or locked any more; everything acknowledged is on disk."""
        self._builds.stop()
        for collection in self.all():
            collection.close()
        self._registry.close()

    def _register(self, name: str, entry: Entry) -> None:
        self._registry.commit(collections={**self._registry.content.collections, name: entry})

    def _consider(self, collection: Collection) -> None:
        if collection.claim_index(self._index_points_min):
            self._builds.submit(lambda: self._build(collection))

    def _build(self, collection: Collection) -> None:
        try:
            target = self._registry.new_folder()
            left = target
            try:
                left = self._build_in(target, collection)
            finally:
                shutil.rmtree(left)
        except Exception as error:  # noqa: BLE001 - the engine raises nothing more precise
            log.warning("index_not_built", collection=collection.name, error=str(error))
        finally:
            collection.release_index()

    def _build_in(self, target: Path, collection: Collection) -> Path:
        """The folder nobody lives in afterwards."""
        points = collection.copy(target)
        self._builds.run(target)

        def commit() -> None:
            with self._lock:
                if self._open.get(collection.name) is not collection:
                    raise unknown(collection.name)
                self._register(
                    collection.name,
                    Entry(folder=target.name, schema=collection.schema, indexed_points=points),
                )

        left = collection.swap(target, commit)
        log.info("index_built", collection=collection.name, points=points, kept=left != target)
        return left


class Builds:
    """Index builds, one after the other, each in a process of its own that can be ended."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "indexing")
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def submit(self, build: Callable[[], None]) -> None:
        with self._lock:
            if not self._stopped:
                self._threads.submit(build)

    def run(self, folder: Path) -> None:
        """Return once the index of that shard is built; an error if it was not."""
        argv = [sys.executable, "-m", "infra.engines.qdrant.indexing", str(folder)]
        argv.append(str(os.getpid()))
        with self._lock:
            self._raise_if_stopped()
            self._child = subprocess.Popen(argv)
        code = self._child.wait()
        self._raise_if_stopped()
        if code:
            raise subprocess.CalledProcessError(code, argv)

    def _raise_if_stopped(self) -> None:
        if self._stopped:
            raise subprocess.SubprocessError("the engine is stopping; a later start builds it")

    def stop(self) -> None:
        """End the build at work: its copy is thrown away, the collection is untouched."""
        with self._lock:
            self._stopped = True
            if self._child:
                self._child.kill()
        self._threads.shutdown(cancel_futures=True)


def _create_alias(aliases: dict[str, str], body: Mapping[str, Any], names: Container[str]) -> None:
    alias, name = field(body, "alias_name"), field(body, "collection_name")
    check_name(alias)
    if name not in names:
        raise unknown(name)
    if alias in names:
        raise conflict(f"Collection `{alias}` already exists!")
    aliases[alias] = name


def _delete_alias(aliases: dict[str, str], body: Mapping[str, Any], _names: Container[str]) -> None:
    aliases.pop(field(body, "alias_name"), None)


def _rename_alias(aliases: dict[str, str], body: Mapping[str, Any], names: Container[str]) -> None:
    old, new = field(body, "old_alias_name"), field(body, "new_alias_name")
    if old not in aliases:
        raise missing(f"Alias `{old}` doesn't exist!")
    _create_alias(aliases, {"alias_name": new, "collection_name": aliases.pop(old)}, names)


ALIAS_ACTIONS: dict[str, Callable[[dict[str, str], Mapping[str, Any], Container[str]], None]] = {
    "create_alias": _create_alias,
    "delete_alias": _delete_alias,
    "rename_alias": _rename_alias,
}
