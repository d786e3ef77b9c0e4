"""The Pulumi command line: the official release where there is one, else built and hosted here."""

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from helix.topology.catalog import CATALOG
from helix.topology.model import Record
from infra.artifacts import fetch
from infra.artifacts.commands import Report, on_stderr
from infra.toolchain.places import state_folder

HOST = Path(__file__).resolve().parent / "host"
HOST_FILES = ("pulumi-language-python", "langhost.py", "executor.py")
PLUGINS = Path(__file__).resolve().parent / "plugins"
LAUNCHER = "pulumi-resource-*"  # one in the folder of each stand-in, named as the engine asks
HOST_FOLDER = "pulumi-host-"
DIGEST_CHARS = 8
PASSPHRASE_BYTES = 32

# Nothing of these asks the network; our plugins are found beside the command or by Pulumi.yaml.
OFFLINE = {
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    "PULUMI_CREDENTIAL_STORE": "plaintext",
}


class Pulumi(Record, frozen=True):
    """How to start the command line: `env` is the whole environment."""

    argv0: str
    env: dict[str, str]


def official(env: Mapping[str, str]) -> Path | None:
    """Pulumi's own release on PATH; what was built here does not count."""
    found = shutil.which("pulumi", path=env.get("PATH", os.defpath))
    if found is None:
        return None
    release = Path(found).resolve()
    return None if release.is_relative_to(fetch.cache_folder(env).resolve()) else release


def command(env: Mapping[str, str], *, report: Report = on_stderr) -> Pulumi:
    """The command line ready to use: built if need be, its state on this machine alone."""
    release = official(env)
    if release is not None:
        return Pulumi(argv0=str(release), env={**env, **state(env)})
    cache = fetch.cache_folder(env)
    built = fetch.ensure(CATALOG.artifact("pulumi"), cache=cache, report=report)
    folder = host(built / "bin" / "pulumi", cache)
    home = env.get("PULUMI_HOME") or str(_made(state_folder(env) / "pulumi" / "home"))
    path = f"{folder}{os.pathsep}{env.get('PATH', os.defpath)}"
    ours = {**OFFLINE, "PULUMI_HOME": home, "PULUMI_PYTHON_CMD": sys.executable}
    return Pulumi(argv0=str(folder / "pulumi"), env={**ours, **env, **state(env), "PATH": path})


def state(env: Mapping[str, str]) -> dict[str, str]:
    """Where Pulumi keeps its state and what encrypts it; the user's own choices stand."""
    folder = state_folder(env) / "pulumi"
    result = {"PULUMI_BACKEND_URL": env.get("PULUMI_BACKEND_URL", "")}
    if not result["PULUMI_BACKEND_URL"]:
        result["PULUMI_BACKEND_URL"] = f"file://{_made(folder)}"
    if "PULUMI_CONFIG_PASSPHRASE" not in env and "PULUMI_CONFIG_PASSPHRASE_FILE" not in env:
        result["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase(_made(folder)))
    return result


def passphrase(folder: Path) -> Path:
    """The file, readable by its owner alone, whose text encrypts secrets in Pulumi's state."""
    file = folder / "passphrase"
    if not file.exists():
        # Complete or absent, whoever else makes it at the same time: the first one stands.
        fresh = folder / f".passphrase.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as target:
            target.write(secrets.token_urlsafe(PASSPHRASE_BYTES))
        try:
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file


def host(binary: Path, cache: Path) -> Path:
    """A folder with the command, our language host and the plugins that cannot be had for it.

    The engine looks there by name. The plugins run from this checkout, so each checkout has its
    own folder. An official release never sees it: it brings the official plugins.
    """
    sources = [HOST / name for name in HOST_FILES]
    digest = hashlib.sha256(f"{binary} {PLUGINS}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    for launcher in launchers():
        digest.update(launcher.name.encode())
    folder = cache / f"{HOST_FOLDER}{digest.hexdigest()[:DIGEST_CHARS]}"
    if not folder.is_dir():
        _sweep(cache)
        _fill(folder, binary, sources)
    return folder


def launchers() -> list[Path]:
    """The stand-ins for plugins that no package registry has."""
    return sorted(PLUGINS.glob(f"*/{LAUNCHER}"))


def _fill(folder: Path, binary: Path, sources: list[Path]) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        partial = Path(scratch, "host")
        partial.mkdir()
        os.link(binary, partial / binary.name)
        for source in sources:
            shutil.copy2(source, partial / source.name)
        for launcher in launchers():
            (partial / launcher.name).symlink_to(launcher)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise


def _sweep(cache: Path) -> None:
    """Folders of checkouts that are gone go too."""
    for folder in cache.glob(f"{HOST_FOLDER}*"):
        if any(not link.exists() for link in folder.glob(LAUNCHER)):
            shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
