"""The build context of an image of ours: the same bytes for the same parts."""

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from helix.errors import TopologyError, UnavailableError
from helix.topology.model import Image

RECIPES = Path(__file__).parent
DOCKERFILE = "Dockerfile"
PARTS = "parts.tar"
FILE_MODE, PROGRAM_MODE = 0o644, 0o755
OWN_X = 0o100
APP = "app"
CHECKOUT = PurePosixPath("/opt/helix")
PROGRAMS = ("helix", "controlplane", "runtime", "infra", "sql", "validation", "loadtest")
LOCKS = ("pyproject.toml", "requirements.lock")


def copies(image: Image) -> dict[str, PurePosixPath]:
    """What is put in: ARTIFACT/PATH to its place in the image."""
    return {added: _place(image, added) for added in image.adds}


def _place(image: Image, added: str) -> PurePosixPath:
    wanted = PurePosixPath(added)
    for known in (wanted, *wanted.parents):
        if found := image.parts.get(str(known)):
            return PurePosixPath(found) / wanted.relative_to(known)
    raise TopologyError(
        f"image `{image.name}` adds `{added}` and does not say where: name it in its `parts`"
    )


def files(image: Image, *, root: Path, artifact: Callable[[str], Path]) -> dict[str, Path]:
    """Every file that is put in, by its path in the image."""
    if image.name == APP:
        return {str(CHECKOUT / name): root / name for name in _tracked(root)}
    found: dict[str, Path] = {}
    for added, place in copies(image).items():
        name, _, inside = added.partition("/")
        source = artifact(name) / inside
        if not source.exists():
            raise UnavailableError(
                name, f"`{source}` is not there: run `python -m infra.artifacts ensure {name}`"
            )
        found |= {str(place / path): source / path for path in _below(source)}
    return found


def _below(source: Path) -> Iterator[PurePosixPath]:
    """Files of a folder, hidden ones aside; the file itself."""
    if source.is_file():
        yield PurePosixPath()
        return
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            yield PurePosixPath(inside)


def _tracked(root: Path) -> list[str]:
    """What the repository holds: no secret, no cache, nothing of an editor."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    done = subprocess.run([*command, *PROGRAMS], cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise UnavailableError("git", f"`git ls-files` failed: {done.stderr.decode().strip()}")
    names = done.stdout.decode().split("\0")
    return sorted(name for name in names if name and (root / name).is_file())


def context(image: Image, parts: Mapping[str, Path], *, root: Path) -> bytes:
    """What the engine is sent: the Dockerfile, the parts, and for the programs their locks."""
    recipe = f"{APP}.{DOCKERFILE}" if image.name == APP else DOCKERFILE
    named = {DOCKERFILE: (RECIPES / recipe).read_bytes(), PARTS: _archive(parts)}
    if image.name == APP:
        named |= {name: (root / name).read_bytes() for name in LOCKS}
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in named.items():
            tar.addfile(_entry(name, len(content)), io.BytesIO(content))
    return sink.getvalue()


def _archive(parts: Mapping[str, Path]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(parts.items()):
            entry = _entry(name.removeprefix("/"), path.stat().st_size)
            entry.mode = PROGRAM_MODE if path.stat().st_mode & OWN_X else FILE_MODE
            with path.open("rb") as source:
                tar.addfile(entry, source)
    return sink.getvalue()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Root's, of no date: a file's own would make another layer of the same parts."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = FILE_MODE
    return entry
