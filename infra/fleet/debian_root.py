"""The file system under every container of a fleet: one distribution with all its servers."""

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from helix.topology.model import Debian, Record, Topology
from infra.artifacts.workshop import Workshop
from infra.fleet.calls import call
from infra.toolchain.programs import Target, needed, packages

SUITE = "bookworm"
COMPONENT = "main"
STAMP = ".complete"
LOG = "fleet-base"
DIGEST_CHARS = 8
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# Java's package fails where the folder it links its pages into was left out.
MANUAL = 'mkdir -p "$1/usr/share/man/man1"'
# How the machine's own package manager reaches its mirrors goes for the image as well.
REACHING = re.compile(r'Acquire::(https?|Retries|Check-[\w-]+)\b.* ".+";')


class Recipe(Record, frozen=True):
    """What the file system is made of; another recipe is another folder."""

    packages: tuple[str, ...]
    suite: str = SUITE
    left_out: tuple[str, ...] = LEFT_OUT


def recipe(topology: Topology) -> Recipe:
    """The packages of the catalogue's artifacts, and of what containers run beside them."""
    wanted = {
        package for one in topology.artifacts if isinstance(one, Debian) for package in one.packages
    }
    return Recipe(packages=tuple(sorted(wanted.union(packages(needed(Target.IMAGE))))))


def digest(value: object) -> str:
    """A short name for a value."""
    return hashlib.sha256(msgspec.json.encode(value, enc_hook=str)).hexdigest()[:DIGEST_CHARS]


def path(wanted: Recipe, cache: Path) -> Path:
    """Where it is once made."""
    return cache / f"fleet-base-{digest(wanted)}"


def command(wanted: Recipe, target: Path, *, sources: Path | None, settings: Path) -> list[str]:
    """How it is made; without `sources` from where the distribution is by default."""
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--aptopt={settings}",
        *(f"--dpkgopt=path-exclude={left}" for left in wanted.left_out),
        f"--setup-hook={MANUAL}",
        f"--include={','.join(wanted.packages)}",
        wanted.suite,
        str(target),
        *([str(sources)] if sources else []),
    ]


def mirrors(targets: str, suite: str) -> list[str]:
    """The lines of a `sources.list` for the suite, from what the machine's `apt` reads."""
    suites = {suite, f"{suite}-updates", f"{suite}-security"}
    rows = [line.split() for line in targets.splitlines()]
    return [
        f"deb {row[0]} {row[1]} {row[2]}"
        for row in rows
        if len(row) == 3 and row[1] in suites and row[2] == COMPONENT  # noqa: PLR2004 - as asked for
    ]


def reaching(dump: str) -> str:
    """Of the package manager's settings those that say how mirrors are reached."""
    return "".join(f"{line}\n" for line in dump.splitlines() if REACHING.fullmatch(line))


def ensure(wanted: Recipe, shop: Workshop) -> Path:
    """The file system's folder, made if it is not there."""
    folder = path(wanted, shop.cache)
    if not (folder / STAMP).exists():
        with shop.alone(folder.name):
            if not (folder / STAMP).exists():
                _make(wanted, folder, shop)
    return folder


def _make(wanted: Recipe, folder: Path, shop: Workshop) -> None:
    sweep([folder, *shop.cache.glob(f".{folder.name}.*")])
    shop.log(LOG).unlink(missing_ok=True)
    shop.report(
        f"making the servers' file system of {len(wanted.packages)} packages"
        f" (a minute, once); log: {shop.log(LOG)}"
    )
    asked = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    found = mirrors(call(("apt-get", "indextargets", "--format", asked)), wanted.suite)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=shop.cache))
    with tempfile.TemporaryDirectory() as scratch:
        sources = _written(Path(scratch, "sources.list"), found)
        settings = _written(Path(scratch, "apt.conf"), [reaching(call(("apt-config", "dump")))])
        try:
            partial.chmod(0o755)  # containers read it under accounts of their own
            argv = command(wanted, partial, sources=sources if found else None, settings=settings)
            shop.commands.run(argv, log=shop.log(LOG))
            (partial / STAMP).touch()
            partial.rename(folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(partial)


def _written(file: Path, lines: Iterable[str]) -> Path:
    file.write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return file


def sweep(folders: Iterable[Path]) -> None:
    """Remove what a killed run left."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
