"""Servers that the distribution ships: installed by its package manager, never started by it."""

import os
import re
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from helix.errors import UnavailableError
from helix.topology.model import Debian
from infra.artifacts.workshop import Workshop

PREFIX = Path("/usr")
POLICY = Path("/usr/sbin/policy-rc.d")
# 101 is the answer by which the distribution's scripts leave a service alone.
POLICY_TEXT = "#!/bin/sh\n# made by helix for the time of an installation\nexit 101\n"
LOCK_S_MAX = 300


def missing(artifacts: Sequence[Debian]) -> list[str]:
    """The packages of these artifacts that are not installed in the wanted major version."""
    wanted = {package: a.version for a in artifacts for package in a.packages}
    found = installed(tuple(wanted))
    return [name for name, version in wanted.items() if major(found.get(name, "")) != version]


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Package -> version of those that are completely installed."""
    command = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n", *packages)
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return {}
    rows = (line.split() for line in answer.splitlines())
    return {row[1]: row[2] for row in rows if row[0] == "installed"}


def major(version: str) -> str:
    """The first number of a package's version, its epoch left out: `5:7.0.15-1` -> `7`."""
    found = re.match(r"(?:\d+:)?(\d+)", version)
    return found[1] if found else ""


def ensure(artifacts: Sequence[Debian], shop: Workshop) -> None:
    """Install what is missing as root; else one error that lists exactly what to install."""
    packages = missing(artifacts)
    if not packages:
        return
    install(packages, shop)
    still = missing(artifacts)
    if still:
        raise UnavailableError(
            still[0],
            f"the distribution has other major versions of {quoted(still)} than the catalogue;"
            " install the wanted ones or adopt a running server in the stack's configuration",
        )


def install(packages: Sequence[str], shop: Workshop) -> None:
    """Install these packages without starting any service; needs root and apt."""
    apt = shop.commands.find("apt-get")
    if apt is None or os.geteuid() != 0:
        raise UnavailableError(packages[0], hint(packages))
    options = ("-o", f"DPkg::Lock::Timeout={LOCK_S_MAX}", "-q")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    log = shop.log("debian")
    with shop.alone("debian"), services_left_alone(POLICY):
        # What an interrupted installation left half done is finished first, else apt refuses.
        shop.commands.run(("dpkg", "--configure", "-a"), log=log, extra=quiet)
        shop.report("reading the package lists")
        shop.commands.run((apt, *options, "update"), log=log, extra=quiet)
        shop.report(f"installing {' '.join(packages)}")
        command = (apt, *options, "install", "-y", "--no-install-recommends", *packages)
        shop.commands.run(command, log=log, extra=quiet)


def hint(packages: Sequence[str]) -> str:
    """The command that installs these packages, for whoever may run it."""
    return (
        f"{quoted(packages)} must be installed by an administrator: run"
        f" `sudo apt-get install --no-install-recommends {' '.join(packages)}`, then this again"
    )


def quoted(names: Sequence[str]) -> str:
    """Names as a list for a message."""
    return ", ".join(f"`{name}`" for name in names)


@contextmanager
def services_left_alone(policy: Path) -> Generator[None]:
    """While it lasts no installed service is started; somebody else's policy is left as it is."""
    ours = not policy.exists() or policy.read_text() == POLICY_TEXT
    if ours:
        policy.write_text(POLICY_TEXT)
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink(missing_ok=True)
