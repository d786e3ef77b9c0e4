"""The file system of a new machine, and how a command is run in it: values, run elsewhere."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from shlex import join, quote

from helix.topology.model import Record
from infra.fleet.debian_root import Recipe

CHECKOUT = "/root/helix"
HOME = "/root"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GO = "/usr/local/go"
# What the README says a machine needs; Go comes from the machine, or the project fetches it.
PACKAGES = (
    "ca-certificates",
    "git",
    "make",
    "maven",
    "openjdk-17-jdk-headless",
    "python3",
)
# How clients of package registries are configured is a fact of this network, not of a machine.
REACHING = re.compile(
    r"(PIP|UV|GO|NPM|MAVEN|JAVA_TOOL|SSL|CURL|REQUESTS|NODE|GIT_SSL)_?[A-Z_]*|.*_proxy",
    re.IGNORECASE,
)
SETTINGS = (
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/pip.conf",
    "/etc/ssl/certs",
    "/usr/local/share/ca-certificates",
)
SETTINGS_OF_HOME = (
    ".config/pip/pip.conf",
    ".pip/pip.conf",
    ".config/uv/uv.toml",
    ".config/go/env",
    ".m2/settings.xml",
    ".npmrc",
)


class Sharing(StrEnum):
    """How a new machine has what this one has."""

    COPIED = "copied"  # settings, which it may change
    BOUND = "bound"  # the same folder
    LAYERED = "layered"  # as it is here; what the new machine writes to it ends with it


class Shared(Record, frozen=True):
    """A file or folder of this machine, and where and how a new one has it."""

    source: str
    target: str
    how: Sharing = Sharing.COPIED


def recipe() -> Recipe:
    """Return what the root is made of."""
    return Recipe(packages=PACKAGES, left_out=())


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a new user there: nothing but how registries are reached."""
    reaching = {name: value for name, value in env.items() if REACHING.fullmatch(name)}
    path = f"{GO}/bin:{PATH}"
    return {**reaching, "HOME": HOME, "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"}


def shared(home: Path, go: str, cache: Path | None, packages: Path | None) -> list[Shared]:
    """Return what the root shares with this machine: settings, Go, and a cache if one is given."""
    found = [Shared(source=path, target=path) for path in SETTINGS]
    found += [Shared(source=f"{home}/{path}", target=f"{HOME}/{path}") for path in SETTINGS_OF_HOME]
    found += [Shared(source=go, target=GO, how=Sharing.BOUND)] if go else []
    if cache:
        folders = {cache: f"{HOME}/.cache/helix", cache.parent / "uv": f"{HOME}/.cache/uv"}
        # Layered, else each of the two would sweep what the other's checkouts have there.
        found += [
            Shared(source=str(here), target=at, how=Sharing.LAYERED) for here, at in folders.items()
        ]
    if packages:
        found.append(
            Shared(source=str(packages), target="/var/cache/apt/archives", how=Sharing.BOUND)
        )
    return [one for one in found if Path(one.source).exists()]


def script(root: Path, files: Sequence[Shared], env: Mapping[str, str], command: str) -> str:
    """Return the shell script that makes the root one's own and runs a command in it.

    It runs in mount and process namespaces of its own: all of it ends with its first process.
    """
    lines = [
        "set -eu",
        "mount --make-rprivate /",
        f"root={quote(str(root))}",
        'mount --bind "$root" "$root"',  # `ip netns exec` wants a root that is a mount
        'mount -t proc proc "$root/proc"',
        'mount --rbind /sys "$root/sys"',
        'mount --rbind /dev "$root/dev"',
        'mount -t tmpfs tmpfs "$root/run"',
    ]
    for number, one in enumerate(files):
        target, source = f'"$root"{quote(one.target)}', quote(one.source)
        made = "mkdir -p" if Path(one.source).is_dir() else "touch"
        lines.append(f'mkdir -p "$(dirname {target})"')
        lines.append(f"[ -e {target} ] || {made} {target}")
        lines += bring(one.how, source, target, layer=f'"$root".layers/{number}')
    words = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-euc"]
    lines.append(f'exec chroot "$root" {join([*words, f"cd {CHECKOUT} && {command}"])}')
    return "\n".join(lines) + "\n"


def bring(how: Sharing, source: str, target: str, *, layer: str) -> list[str]:
    """Return the lines that make a source of this machine the target of a new one, both quoted."""
    match how:
        case Sharing.COPIED:
            return [f"cp -aLT --remove-destination {source} {target}"]
        case Sharing.BOUND:
            return [f"mount --bind {source} {target}"]
        case Sharing.LAYERED:
            folders = f"lowerdir={source},upperdir={layer}/upper,workdir={layer}/work"
            return [
                f"mkdir -p {layer}/upper {layer}/work",
                f"mount -t overlay -o {folders} overlay {target}",
            ]
