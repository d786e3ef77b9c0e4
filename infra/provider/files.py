"""Folders and files made for another account: whole or not at all, and private."""

import contextlib
import os
import secrets
from pathlib import Path

from infra.provider.accounts import Account

FILE_MODE = 0o600
FOLDER_MODE = 0o700
PASSAGE_MODE = 0o755  # folders on the way: other accounts have to pass


def make_folder(path: Path, owner: Account | None = None, mode: int = FOLDER_MODE) -> None:
    """The folder exists and belongs to `owner`; what is missing above it can be passed by all."""
    make_passage(path.parent)
    path.mkdir(exist_ok=True)
    if owner and path.stat().st_uid != owner.uid:
        os.chown(path, owner.uid, owner.gid)
    path.chmod(mode)


def make_passage(path: Path) -> None:
    """The folder exists; existing ones keep their mode."""
    for missing in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        with contextlib.suppress(FileExistsError):  # another create was first
            missing.mkdir()
            missing.chmod(PASSAGE_MODE)


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """The file holds exactly `text`, readable by its owner alone; never seen half written."""
    make_passage(path.parent)
    fresh = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        if owner and owner.uid != os.geteuid():
            os.fchown(handle, owner.uid, owner.gid)
        file.write(text)
        file.flush()
        os.fsync(handle)
    fresh.replace(path)
