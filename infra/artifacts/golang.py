"""Programs built from pinned Go modules, the same bytes on every machine."""

import re
import shutil
import subprocess
from pathlib import Path

from helix.errors import InvalidError
from helix.topology.model import Go
from infra.artifacts.workshop import Workshop

GO_MIN = (1, 26)


def find(shop: Workshop) -> Path | None:
    """The machine's own Go, if it is new enough for the modules."""
    go = shop.commands.find("go")
    return Path(go) if go and version(go) >= GO_MIN else None


def version(go: str | Path) -> tuple[int, int]:
    """Major and minor of a Go command; (0, 0) if it does not say."""
    # The local toolchain alone: a version named by some go.mod must not be downloaded.
    command = ("env", "GOTOOLCHAIN=local", str(go), "version")
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\bgo(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def make(artifact: Go, folder: Path, shop: Workshop, *, go: Path) -> None:
    """Build the artifact's program into `folder/bin`; go.sum verifies what is downloaded."""
    shop.report(f"building {artifact.package} (the first time it compiles for minutes)")
    target = folder / "bin"
    target.mkdir()
    # What the user's environment says about flags and workspaces must not change the bytes.
    settings = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    options = ("-v", "-mod=readonly", "-trimpath", "-buildvcs=false")
    flags = ("-ldflags", artifact.linker_flags)
    command = (go, "build", *options, *flags, "-o", f"{target}/", artifact.package)
    recipe = shop.recipes / artifact.name
    shop.commands.run(command, log=shop.log(artifact.name), cwd=recipe, extra=settings)
    if artifact.files:
        _copy(artifact, folder, _module_folder(go, artifact.module, recipe))


def _module_folder(go: Path, module: str, recipe: Path) -> Path:
    """Where Go unpacked the module: it verified it while it built."""
    settings = ("GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS=")
    command = ("env", *settings, str(go), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
    return Path(subprocess.check_output(command, cwd=recipe, text=True).strip())


def _copy(artifact: Go, folder: Path, source: Path) -> None:
    """The files keep their place below the module's folder."""
    for pattern in artifact.files:
        found = sorted(source.glob(pattern))
        if not found:
            raise InvalidError(
                f"`{artifact.name}`: the module has no `{pattern}`; mend its `files`"
            )
        for file in found:
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)  # without the module cache's read-only mode
