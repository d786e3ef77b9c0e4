"""Every artifact of the catalogue: made once, verified, kept in the user's cache.

A folder in the cache is complete or absent: artifacts are made in a folder beside and renamed.
What a killed run leaves behind is swept by the next; downloads stay in their tools' own caches.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from helix.errors import InvalidError, TopologyError, UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Artifact, Debian, Go, Locked, Maven, Wheels
from infra.artifacts import debian, flink, golang, maven, wheels
from infra.artifacts.commands import Commands, Report
from infra.artifacts.tools import GO, GO_COMMAND
from infra.artifacts.workshop import RECIPES, Workshop

STAMP = ".complete"
DIGEST_CHARS = 8

Made = Maven | Go | Wheels


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where artifacts are kept: the user's cache."""
    base = env.get("XDG_CACHE_HOME") or Path(env.get("HOME", "~"), ".cache").expanduser()
    return Path(base) / "helix"


def path(artifact: Artifact, cache: Path, *, recipes: Path = RECIPES) -> Path:
    """Where the artifact is once made; other coordinates or another lock are another folder."""
    match artifact:
        case Debian():
            return debian.PREFIX
        case Locked():
            return _package(artifact)
        case _:
            name = f"{artifact.name}-{artifact.version}-{_digest(artifact, recipes)}"
            return cache / name


def complete(artifact: Artifact, cache: Path) -> bool:
    """Whether nothing is left to do for the artifact."""
    match artifact:
        case Debian():
            return not debian.missing([artifact])
        case Locked():
            return importlib.util.find_spec(artifact.package) is not None
        case _:
            return (path(artifact, cache) / STAMP).exists()


def ensure(
    artifact: Artifact,
    *,
    cache: Path,
    report: Report,
    commands: Commands | None = None,
    recipes: Path = RECIPES,
) -> Path:
    """The artifact's folder, made if it is not there; `report` hears what is being done."""
    shop = Workshop(cache, report, commands or Commands(), recipes)
    match artifact:
        case Debian():
            debian.ensure([artifact], shop)
            return debian.PREFIX
        case Locked():
            return _package(artifact)
        case _:
            return _ensure_made(artifact, shop)


def lock(artifact: Artifact, shop: Workshop) -> Path:
    """(Re)write the artifact's lock file from what its coordinates resolve to today."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        match artifact:
            case Maven():
                text = maven.render_lock(maven.resolve(artifact, folder, shop))
            case Wheels():
                text = wheels.lock(artifact, folder, shop)
            case Go():
                raise InvalidError(
                    f"`{artifact.name}` is locked by Go itself: run"
                    f" `go get -tool {artifact.package}@VERSION` in"
                    f" `{shop.recipes / artifact.name}`"
                )
            case _:
                raise InvalidError(f"`{artifact.name}` has no lock file: nothing to do")
    target = shop.lock(artifact.name)
    target.write_text(text)
    return target


def _package(artifact: Locked) -> Path:
    importlib.invalidate_caches()  # it may have been installed since this process began
    spec = importlib.util.find_spec(artifact.package)
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(
            artifact.name, f"`{artifact.package}` is not installed here; run `make setup`"
        )
    return Path(spec.submodule_search_locations[0])


def ingredients(artifact: Made, recipes: Path) -> list[Path]:
    """The files of ours that decide what the artifact becomes."""
    folder = recipes / artifact.name
    match artifact:
        case Go():
            return [folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))]
        case Maven():
            return [recipes / f"{artifact.name}.lock", *(folder / s for s in artifact.sources)]
        case Wheels():
            own = [recipes / f"{artifact.name}.lock"]
            return [*own, Path(flink.__file__)] if artifact.name == flink.NAME else own


def _digest(artifact: Made, recipes: Path) -> str:
    digest = hashlib.sha256(msgspec.json.encode(artifact))
    for file in ingredients(artifact, recipes):
        digest.update(file.read_bytes() if file.exists() else b"")
    if artifact.name == flink.NAME:
        digest.update(_digest(_jars_of_flink(), recipes).encode())
    return digest.hexdigest()[:DIGEST_CHARS]


def _ensure_made(artifact: Made, shop: Workshop) -> Path:
    wanted = path(artifact, shop.cache, recipes=shop.recipes)
    if (wanted / STAMP).exists():
        return wanted
    with shop.alone(wanted.name):
        if not (wanted / STAMP).exists():
            _replace(artifact, wanted, shop)
    return wanted


def _replace(artifact: Made, wanted: Path, shop: Workshop) -> None:
    for left in (wanted, *shop.cache.glob(f".{wanted.name}.*")):
        shutil.rmtree(left, ignore_errors=True)
    shop.log(artifact.name).unlink(missing_ok=True)
    # Of its own name in every run: what a killed run's children still write goes elsewhere.
    partial = Path(tempfile.mkdtemp(prefix=f".{wanted.name}.", dir=shop.cache))
    try:
        partial.chmod(0o755)  # servers run under accounts of their own and read it
        _make(artifact, partial, shop)
        (partial / STAMP).touch()
        partial.rename(wanted)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(partial)


def _make(artifact: Made, folder: Path, shop: Workshop) -> None:
    match artifact:
        case Maven():
            maven.make(artifact, folder, shop)
        case Go():
            go = golang.find(shop) or _ensure_made(GO, shop) / GO_COMMAND
            golang.make(artifact, folder, shop, go=go)
        case Wheels():
            _make_wheels(artifact, folder, shop)


def _make_wheels(artifact: Wheels, folder: Path, shop: Workshop) -> None:
    if artifact.name != flink.NAME:
        wheels.make(artifact, folder, shop)
        return
    unpacked = folder / "wheels"
    jars = _ensure_made(_jars_of_flink(), shop)
    wheels.make(artifact, unpacked, shop)
    flink.assemble(unpacked, folder, jars)


def _jars_of_flink() -> Maven:
    jars = CATALOG.artifact(flink.JARS)
    if not isinstance(jars, Maven):
        raise TopologyError(f"`{flink.JARS}` must be a Maven artifact: `flink` is made with it")
    return jars
