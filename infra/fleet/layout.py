"""What the one image must hold so that every container of the catalogue starts from it.

A container names programs where the official images have them. Here these places are links to
the artifacts of this machine and to the packages of the image's own distribution.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from helix.errors import TopologyError
from helix.topology.model import Image, Kind, Record, Service, Topology

# Since the distribution merged them, these are links into /usr.
MERGED = ("bin", "sbin", "lib", "lib64")
OPEN = 0o777  # for a mount point that several accounts use, each in an image of its own elsewhere
OWN = 0o755


class Places(Record, frozen=True):
    """Where this machine has what the containers run: the same paths inside."""

    cache: Path  # the artifacts
    checkout: Path
    environment: Path  # the Python environment's folder
    interpreter: Path  # where the Python is installed that the environment was made from
    java: Path  # the image's own, as the distribution installs it


class Folder(Record, frozen=True):
    """A folder and who may write into it."""

    path: str
    uid: int
    mode: int


class Account(Record, frozen=True):
    """A name for a user id."""

    name: str
    uid: int


class Layout(Record, frozen=True):
    """The image beside its distribution, as a value."""

    links: dict[str, str]  # path -> what it stands for
    scripts: dict[str, str]
    folders: tuple[Folder, ...]
    accounts: tuple[Account, ...]


def layout(
    topology: Topology, places: Places, *, part: Callable[[str], Path], root: Path
) -> Layout:
    """Everything that any image of the catalogue has and a container may name.

    `part` says where an artifact or a path in it is, `root` where our own image has the project.
    """
    links = project(places, root)
    for image in topology.images:
        for source, target in image.parts.items():
            add(links, target, str(part(source)), image)
        if image.java:
            add(links, str(Path(image.java).parents[1]), str(places.java.parents[1]), image)
    own = {image.python for image in topology.images if image.python}
    strange = sorted(python for python in own if not Path(python).is_relative_to(root))
    return Layout(
        links=links,
        scripts=dict.fromkeys(strange, launcher(places.environment)),
        folders=folders(topology),
        accounts=tuple(Account(name=one.name, uid=one.uid) for one in topology.images if one.uid),
    )


def project(places: Places, root: Path) -> dict[str, str]:
    """The checkout as our own image has it, the environment among it wherever it is."""
    names = sorted(path.name for path in places.checkout.iterdir())
    seen = {str(root / name): str(places.checkout / name) for name in names if name[0] != "."}
    return {**seen, str(root / ".venv"): str(places.environment)}


def launcher(environment: Path) -> str:
    """A Python elsewhere: a mere link would not find the environment's packages."""
    return f'#!/bin/sh\nexec {environment}/bin/python "$@"\n'


def folders(topology: Topology) -> tuple[Folder, ...]:
    """Where volumes are mounted: a fresh one takes the owner of what it covers."""
    uids: dict[str, set[int]] = {}
    for service in topology.services:
        for volume in service.volumes:
            uids.setdefault(volume.mount, set()).update(users(topology, service))
    return tuple(
        Folder(path=path, uid=min(owners), mode=OWN if len(owners) == 1 else OPEN)
        for path, owners in sorted(uids.items())
    )


def users(topology: Topology, service: Service) -> set[int]:
    """Who may run it: the user of its image, and for an engine of ours the one of our programs."""
    own = {one.image for one in topology.services if one.kind is Kind.APP}
    images = {service.image} | (own if service.kind is Kind.ENGINE else set())
    return {topology.image(name).uid for name in images}


def merged(path: str) -> str:
    """The path with the links into /usr followed."""
    first = PurePosixPath(path).parts[1:2]
    return f"/usr{path}" if first and first[0] in MERGED else path


def add(links: dict[str, str], path: str, target: str, image: Image) -> None:
    """Have `path` stand for `target`, unless it does; `TopologyError` if it is something else."""
    path = merged(path)
    if path == merged(target):
        return
    if links.setdefault(path, target) != target:
        raise TopologyError(
            f"`{path}` is `{links[path]}` for one image and `{target}` for `{image.name}`:"
            " give one of them another place in helix/topology/catalog.py"
        )


def passwd(text: str, accounts: tuple[Account, ...]) -> str:
    """The table of accounts with these in it, before others of the same id: the first one names."""
    rows = [f"{one.name}:x:{one.uid}:{one.uid}::/tmp:/bin/sh" for one in accounts]
    return _table(text, rows)


def group(text: str, accounts: tuple[Account, ...]) -> str:
    """The table of groups, one for each account."""
    return _table(text, [f"{one.name}:x:{one.uid}:" for one in accounts])


def _table(text: str, rows: list[str]) -> str:
    names = {row.split(":")[0] for row in rows}
    root, *others = text.splitlines()
    kept = [row for row in others if row.split(":")[0] not in names]
    return "".join(f"{row}\n" for row in (root, *rows, *kept))
