"""One digest of a program's code: edited code restarts exactly the program that imports it."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path


def digest(root: Path, paths: Sequence[str], *, without: str = "") -> str:
    """Changes with the name or the content of any file there; caches and hidden files aside."""
    total = hashlib.sha256()
    files = {file for name in paths for file in _files(root / name)}
    for path in sorted(files - {root / without}):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root)} {content}\n".encode())
    return total.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for entry in path.iterdir():
            if entry.name != "__pycache__" and not entry.name.startswith("."):
                yield from _files(entry)
