"""The folder of one stack: what outlives the clone, and what belongs to this run alone."""

import contextlib
import fcntl
import re
from collections.abc import Generator
from pathlib import Path

from helix.errors import InvalidError
from infra.provider.files import make_folder, make_passage

# A unix socket's path has 107 bytes; supervisord first binds it with a dot and its pid behind.
SOCKET_BYTES_MAX = 107 - len(".4194304")
SOCKET = "run/socket"
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_@+=:,./-]+")


def home_at(text: str) -> Path:
    """The stack's folder of that path, refused if supervisord could not work in it."""
    if not PLAIN_PATH.fullmatch(text):
        raise InvalidError(
            f"`home` is `{text}`; give an absolute path of letters, digits and `_@+=:,./-`"
        )
    home = Path(text)
    spare = SOCKET_BYTES_MAX - len(str(socket(home)).encode())
    if spare < 0:
        raise InvalidError(
            f"`home` is `{text}`: {-spare} bytes too long for the unix socket below it; "
            "give a shorter path"
        )
    return home


def run(home: Path) -> Path:
    """Gone after a shutdown; everything else stays."""
    return home / "run"


def socket(home: Path) -> Path:
    return home / SOCKET


def url(home: Path) -> str:
    """What supervisord tells its children: the mark by which they are found again."""
    return f"unix://{socket(home)}"


def programs(home: Path) -> Path:
    return run(home) / "conf.d"


def program(home: Path, name: str) -> Path:
    return programs(home) / f"{name}.conf"


def specs(home: Path) -> Path:
    return run(home) / "specs"


def spec(home: Path, name: str) -> Path:
    return specs(home) / f"{name}.json"


def starts(home: Path) -> Path:
    return run(home) / "starts"


def start(home: Path, name: str) -> Path:
    """The launcher's count of a program's starts."""
    return starts(home) / f"{name}.json"


def log(home: Path, name: str) -> Path:
    return home / "log" / f"{name}.log"


def begun(home: Path, name: str, number: int) -> Path:
    """There while an `init` has not ended; kept by a shutdown, as the half-made data is."""
    return home / "init" / f"{name}.{number}.begun"


@contextlib.contextmanager
def locked(home: Path) -> Generator[None]:
    """One at a time on this machine: Pulumi creates resources in parallel."""
    make_passage(home)
    with (home / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(home: Path) -> None:
    """The folders that must be there before supervisord starts."""
    make_passage(home)
    for folder in (run(home), programs(home), specs(home), starts(home), home / "log"):
        make_folder(folder)
