"""The one image of a fleet: two megabytes of names, its programs bound from this machine."""

import contextlib
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from docker.errors import ImageNotFound

from helix.errors import TopologyError, UnavailableError
from helix.topology.model import Record, Topology
from infra.artifacts import fetch
from infra.artifacts.workshop import Workshop
from infra.fleet import debian_root
from infra.fleet.calls import call
from infra.fleet.engines import client, each
from infra.fleet.layout import MERGED, Layout, Places, group, layout, merged, passwd
from infra.fleet.plan import Fleet, Host
from infra.substrates.hosted import CHECKOUT

REPOSITORY = "helix/fleet"
ARCHIVE = "image.tar"
TREE = "tree"
USR = Path("/usr")
ALTERNATIVE = "etc/alternatives/java"
# Mount points, and folders that servers make their own in.
EMPTY = ("run", "proc", "sys", "dev", "root", "opt", "var/lib", "var/log")
SHARED = ("tmp", "var/tmp")
STICKY = 0o1777


class Bind(Record, frozen=True):
    """A folder of this machine that every container mounts, read-only."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}:{self.target}"


class ImageFacts(Record, frozen=True):
    """What a container needs to start from the image."""

    reference: str
    binds: tuple[Bind, ...]
    archive: Path


def ensure(topology: Topology, *, checkout: Path, shop: Workshop) -> ImageFacts:
    """The image of these images' programs, made if it is not there; no engine has it yet."""
    root = debian_root.ensure(debian_root.recipe(topology), shop)
    places = Places(
        cache=shop.cache,
        checkout=checkout,
        environment=Path(sys.prefix).resolve(),  # a checkout may have it elsewhere, behind a link
        interpreter=Path(sys.base_prefix),
        java=(root / ALTERNATIVE).readlink(),
    )

    def part(wanted: str) -> Path:
        name, _, inner = wanted.partition("/")
        return fetch.path(topology.artifact(name), shop.cache, recipes=shop.recipes) / inner

    plan = layout(topology, places, part=part, root=CHECKOUT)
    made_by = Path(__file__).read_text()
    name = f"fleet-image-{debian_root.digest((root.name, plan, places, made_by))}"
    folder = shop.cache / name
    if not (folder / debian_root.STAMP).exists():
        with shop.alone(name):
            if not (folder / debian_root.STAMP).exists():
                shop.report("laying out the servers' image")
                _make(plan, root=root, folder=folder, points=binds(places, folder))
    tag = name.rpartition("-")[2]
    return ImageFacts(
        reference=f"{REPOSITORY}:{tag}", binds=binds(places, folder), archive=folder / ARCHIVE
    )


def binds(places: Places, folder: Path) -> tuple[Bind, ...]:
    """What every container mounts; what lies inside another one comes with it."""
    wanted = (places.cache, places.checkout, places.environment, places.interpreter)
    outer = [one for one in dict.fromkeys(wanted) if one != USR]
    kept = [one for one in outer if not any(other in one.parents for other in outer)]
    same = (Bind(source=str(one), target=str(one)) for one in kept)
    return (Bind(source=str(folder / TREE / "usr"), target=str(USR)), *same)


def load(host: Host, facts: ImageFacts) -> None:
    """Have the server's engine know the image; nothing to do when it does."""
    repository, _, tag = facts.reference.partition(":")
    with client(host) as engine:
        try:
            engine.images.get(facts.reference)
        except ImageNotFound:
            engine.api.import_image_from_file(str(facts.archive), repository=repository, tag=tag)
            engine.images.get(facts.reference)


def load_all(fleet: Fleet, facts: ImageFacts) -> None:
    """The same on every server."""
    each(fleet.hosts, lambda host: load(host, facts))


def _make(plan: Layout, *, root: Path, folder: Path, points: tuple[Bind, ...]) -> None:
    debian_root.sweep([folder, *folder.parent.glob(f".{folder.name}.*")])
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        tree = partial / TREE
        grow(tree, root)
        furnish(tree, plan)
        for point in points:
            inside(tree, point.target).mkdir(parents=True, exist_ok=True)
        archive(tree, partial / ARCHIVE)
        (partial / debian_root.STAMP).touch()
        partial.rename(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(partial)


def grow(tree: Path, root: Path) -> None:
    """The distribution's settings as a copy, its programs as hard links: names can be changed."""
    tree.mkdir()
    call(("cp", "-al", str(root / "usr"), str(tree)))
    call(("cp", "-a", *(str(root / name) for name in (*MERGED, "etc")), str(tree)))
    for name in (*EMPTY, *SHARED):
        (tree / name).mkdir(parents=True)
    for name in SHARED:
        (tree / name).chmod(STICKY)
    (tree / "var" / "run").symlink_to("/run")


def furnish(tree: Path, plan: Layout) -> None:
    """Put in what makes the tree the image of every service."""
    for path, target in plan.links.items():
        link(tree, path, target)
    for path, text in plan.scripts.items():
        where = _cleared(inside(tree, merged(path)))
        where.write_text(text)
        where.chmod(0o755)
    for folder in plan.folders:
        where = inside(tree, folder.path)
        where.mkdir(parents=True, exist_ok=True)
        where.chmod(folder.mode)
        os.chown(where, folder.uid, folder.uid)
    for name, table in (("passwd", passwd), ("group", group)):
        file = tree / "etc" / name
        file.write_text(table(file.read_text(), plan.accounts))


def link(tree: Path, path: str, target: str) -> None:
    """Make `path` of the tree stand for `target`; a folder that is there takes each of its entries.

    `target` is as containers see it: what is below /usr is looked up in the tree.
    """
    where = inside(tree, path)
    if where.is_dir() and not where.is_symlink():
        for child in _entries(tree, target):
            link(tree, f"{path}/{child}", f"{target}/{child}")
        return
    _cleared(where).symlink_to(target)


def _cleared(where: Path) -> Path:
    """The place with nothing there: never write through a hard link into the distribution."""
    where.parent.mkdir(parents=True, exist_ok=True)
    where.unlink(missing_ok=True)
    return where


def _entries(tree: Path, target: str) -> list[str]:
    seen = inside(tree, target) if Path(target).is_relative_to(USR) else Path(target)
    if not seen.is_dir():
        raise UnavailableError(
            seen.name, f"`{seen}` is not there to be put into the image; run `make setup`"
        )
    return sorted(entry.name for entry in seen.iterdir())


def inside(tree: Path, path: str) -> Path:
    """Where the tree has that path of a container, and never a place of this machine's own."""
    where = tree / path.removeprefix("/")
    if not where.parent.resolve().is_relative_to(tree.resolve()):
        raise TopologyError(
            f"`{path}` lies inside another part of the image, which is no folder of its own: give"
            " one of them another place in helix/topology/catalog.py"
        )
    return where


def archive(tree: Path, file: Path) -> None:
    """The tree as an engine takes it in, without the programs: those are bound."""
    with tarfile.open(file, "w") as target:
        target.add(tree, arcname=".", filter=_unless_bound)


def _unless_bound(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.startswith("./usr/") else entry
