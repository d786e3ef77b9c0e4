"""Which collections and aliases exist, and in which folder each collection lives: one small file.

It is replaced as a whole, so creating, deleting and swapping a collection each happen at one
instant. A folder it does not name was never finished, or is no longer wanted.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

FILE = "collections.json"
LOCK = "lock"
FOLDER_PREFIX = "shard-"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as its client asked for it, and where its points are."""

    folder: str
    schema: dict[str, Any]
    indexed_points: int = 0  # as many as there were when its index was last built


class Content(msgspec.Struct, frozen=True):
    """What the file says."""

    collections: dict[str, Entry] = {}
    aliases: dict[str, str] = {}


class Registry:
    """The file and its content, one engine at a time; commits come one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file = root / FILE
        root.mkdir(parents=True, exist_ok=True)
        self._lock = (root / LOCK).open("wb")
        try:  # a second engine would sweep the folders the first one is still filling
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise
        self.content = self._read()

    def _read(self) -> Content:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Content)
        except FileNotFoundError:
            return Content()

    def close(self) -> None:
        """Another engine may open the folder."""
        self._lock.close()

    def sweep(self) -> list[str]:
        """The folders removed because no collection lives in them."""
        wanted = {entry.folder for entry in self.content.collections.values()}
        found = [path.name for path in self.root.glob(f"{FOLDER_PREFIX}*")]
        stale = sorted(set(found) - wanted)
        for name in stale:
            shutil.rmtree(self.root / name)
        return stale

    def new_folder(self) -> Path:
        """An empty folder that belongs to nobody until it is committed."""
        return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=self.root))

    def commit(
        self,
        *,
        collections: dict[str, Entry] | None = None,
        aliases: dict[str, str] | None = None,
    ) -> None:
        """The new content is durable, or the old one still holds."""
        content = Content(
            self.content.collections if collections is None else collections,
            self.content.aliases if aliases is None else aliases,
        )
        draft = self._file.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)
        folder = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.content = content
