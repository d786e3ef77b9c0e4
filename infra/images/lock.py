"""The digests that tags stood for when they were last looked at."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from helix.errors import InvalidError
from helix.topology.model import Image, Topology

LOCK = Path(__file__).with_name("images.lock")
BASE = "/base"  # behind the name of an image: the line of what it is built from
HEADER = "# NAME REFERENCE@DIGEST, written by `python -m infra.images lock`\n"


def published(topology: Topology) -> dict[str, str]:
    """What is fetched from others: images run as they are, and the bases of ours."""
    return dict(_published(topology.images))


def _published(images: tuple[Image, ...]) -> Iterator[tuple[str, str]]:
    for image in images:
        yield (f"{image.name}{BASE}", image.base) if image.base else (image.name, image.reference)


def read(path: Path = LOCK) -> dict[str, str]:
    """Name to reference with its digest; empty until the tags have been locked."""
    rows: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if not line.startswith("#"):
            name, _, reference = line.partition(" ")
            if "@sha256:" not in reference:
                raise InvalidError(
                    f"`{line}` of `{path.name}` has no digest: run `python -m infra.images lock`"
                )
            rows[name] = reference
    return rows


def current(rows: Mapping[str, str], topology: Topology) -> dict[str, str]:
    """The rows that still speak of the catalogue's tags: a new version is run by its tag first."""
    wanted = published(topology)
    return {
        name: reference
        for name, reference in rows.items()
        if reference.partition("@")[0] == wanted.get(name)
    }


def locked(topology: Topology, digest_of: Callable[[str], str]) -> str:
    """The file's text, each tag asked for its digest."""
    rows = {
        name: f"{reference}@{digest_of(reference)}"
        for name, reference in published(topology).items()
    }
    return HEADER + "".join(f"{name} {reference}\n" for name, reference in sorted(rows.items()))
