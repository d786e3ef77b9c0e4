"""The file system of a new machine, and how a command is run in it: values, run elsewhere."""

import re
from collections.abc import Mapping, Sequence
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


class Bind(Record, frozen=True):
    """A file or folder of this machine, and where it is seen in the root."""

    source: str
    target: str
    writable: bool = False


def recipe() -> Recipe:
    """Return what the root is made of."""
    return Recipe(packages=PACKAGES, left_out=())


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a new user there: nothing but how registries are reached."""
    reaching = {name: value for name, value in env.items() if REACHING.fullmatch(name)}
    path = f"{GO}/bin:{PATH}"
    return {**reaching, "HOME": HOME, "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"}


def binds(home: Path, go: str, cache: Path | None, packages: Path | None) -> list[Bind]:
    """Return what the root shares with this machine: settings, Go, and a cache if one is given."""
    files = [Bind(source=path, target=path) for path in SETTINGS]
    files += [Bind(source=str(home / path), target=f"{HOME}/{path}") for path in SETTINGS_OF_HOME]
    files += [Bind(source=go, target=GO)] if go else []
    if cache:
        files.append(Bind(source=str(cache), target=f"{HOME}/.cache/helix", writable=True))
        uv = str(cache.parent / "uv")
        files.append(Bind(source=uv, target=f"{HOME}/.cache/uv", writable=True))
    if packages:
        target = "/var/cache/apt/archives"
        files.append(Bind(source=str(packages), target=target, writable=True))
    return [bind for bind in files if Path(bind.source).exists()]


def script(root: Path, shared: Sequence[Bind], env: Mapping[str, str], command: str) -> str:
    """Return the shell script that makes the root one's own and runs a command in it.

    It runs in mount and process namespaces of its own: all of it ends with its first process.
    """
    lines = [
        "set -eu",
        "mount --make-rprivate /",
        f"root={quote(str(root))}",
        'mount -t proc proc "$root/proc"',
        'mount --rbind /sys "$root/sys"',
        'mount --rbind /dev "$root/dev"',
        'mount -t tmpfs tmpfs "$root/run"',
    ]
    for bind in shared:
        target, source = quote(bind.target), quote(bind.source)
        made = "mkdir -p" if Path(bind.source).is_dir() else "touch"
        lines += [
            f'mkdir -p "$(dirname "$root"{target})"',
            f'[ -e "$root"{target} ] || {made} "$root"{target}',
            f'mount --bind {source} "$root"{target}',
        ]
        if not bind.writable:
            lines.append(f'mount -o remount,bind,ro "$root"{target}')
    words = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-euc"]
    lines.append(f'exec chroot "$root" {join([*words, f"cd {CHECKOUT} && {command}"])}')
    return "\n".join(lines) + "\n"
