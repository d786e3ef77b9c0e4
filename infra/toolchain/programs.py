"""Every outside program that the code or its tests start: what for, who brings it, who needs it.

Servers are not here: the catalogue's artifacts bring them. `tests/unit/test_programs.py` finds
what is started and stands in neither.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum

from helix.errors import UnavailableError
from helix.topology.model import Record
from infra.artifacts import debian
from infra.artifacts.commands import Commands
from infra.artifacts.workshop import Workshop


class Target(StrEnum):
    """What programs are installed for: targets of the Makefile, and the image of a fleet."""

    UP = "up"
    PSQL = "psql"
    BENCH = "bench"
    FLEET = "fleet"
    KUBE_TOOLS = "kube-tools"
    FRESH = "fresh"
    UNIT = "unit"
    TEST_ALONE = "test-alone"
    TEST_STACK = "test-stack"
    TEST_FLEET = "test-fleet"
    TEST_CLUSTER = "test-cluster"
    TEST = "test"
    IMAGE = "image"  # what is started in the containers of a fleet


# What a target does beside its own work.
INCLUDED: dict[Target, tuple[Target, ...]] = {
    Target.FLEET: (Target.UP,),
    Target.KUBE_TOOLS: (Target.UP,),
    Target.TEST_ALONE: (Target.UP,),
    Target.TEST_STACK: (Target.UP,),
    Target.TEST_FLEET: (Target.FLEET,),
    Target.TEST_CLUSTER: (Target.KUBE_TOOLS,),
    Target.TEST: (
        Target.UNIT,
        Target.TEST_ALONE,
        Target.TEST_STACK,
        Target.TEST_FLEET,
        Target.TEST_CLUSTER,
    ),
}


class Program(Record, frozen=True):
    """A program by the name it is started under; `tries` are arguments that show that it runs."""

    name: str
    package: str  # of the distribution
    purpose: str
    targets: tuple[Target, ...] = ()  # none: only where something else calls for it
    tries: tuple[str, ...] = ("--version",)


PROGRAMS = (
    # what every Debian has
    Program(name="bash", package="bash", purpose="asks a port in a container"),
    Program(name="cat", package="coreutils", purpose="stands in a test's image", targets=(Target.TEST_FLEET,)),
    Program(name="cp", package="coreutils", purpose="copies trees with their owners", targets=(Target.FLEET, Target.FRESH, Target.TEST_STACK)),
    Program(name="env", package="coreutils", purpose="runs a program with other settings", targets=(Target.UP,)),
    Program(name="sleep", package="coreutils", purpose="is a child of a test", targets=(Target.UNIT, Target.TEST_ALONE, Target.TEST_FLEET)),
    Program(name="stat", package="coreutils", purpose="says who owns a volume"),
    Program(name="true", package="coreutils", purpose="is a command of a test", targets=(Target.UNIT,)),
    Program(name="sh", package="dash", purpose="runs first steps of servers", targets=(Target.UP, Target.UNIT), tries=("-c", "true")),
    Program(name="dpkg", package="dpkg", purpose="finishes an interrupted installation", targets=(Target.UP,)),
    Program(name="dpkg-query", package="dpkg", purpose="says what is installed", targets=(Target.UP,)),
    Program(name="apt-get", package="apt", purpose="installs servers and programs", targets=(Target.UP,)),
    Program(name="apt-config", package="apt", purpose="says how mirrors are reached", targets=(Target.FLEET,)),
    Program(name="ldd", package="libc-bin", purpose="finds the libraries of a test's image", targets=(Target.TEST_FLEET,)),
    Program(name="mount", package="mount", purpose="gives a test a small disk", targets=(Target.TEST_STACK,)),
    Program(name="umount", package="mount", purpose="takes mounts of engines away", targets=(Target.FLEET, Target.TEST_STACK)),
    Program(name="nsenter", package="util-linux", purpose="runs a program on a server of a fleet", targets=(Target.FLEET,)),
    Program(name="setpriv", package="util-linux", purpose="ends a command with its caller", targets=(Target.UP,)),
    Program(name="unshare", package="util-linux", purpose="makes a new machine's namespaces", targets=(Target.FRESH,)),
    Program(name="setsid", package="util-linux", purpose="starts an engine as nobody's child", targets=(Target.FLEET,)),
    # what builds
    Program(name="git", package="git", purpose="fetches the project's own history", targets=(Target.UP, Target.UNIT)),
    Program(name="make", package="make", purpose="runs the targets of the Makefile", targets=(Target.UP,)),
    Program(name="mvn", package="maven", purpose="resolves the jars"),
    Program(name="javac", package="openjdk-17-jdk-headless", purpose="compiles the lake's launcher"),
    # what runs servers on a fleet, and what is asked in its containers
    Program(name="dockerd", package="docker.io", purpose="runs the containers of a server", targets=(Target.FLEET,)),
    Program(name="ip", package="iproute2", purpose="makes servers and their network", targets=(Target.FLEET, Target.IMAGE), tries=("-V",)),
    Program(name="iptables-restore", package="iptables", purpose="cuts a server off", targets=(Target.FLEET,)),
    Program(name="iptables", package="iptables", purpose="closes the ports of a host", targets=(Target.TEST_FLEET,)),
    Program(name="ip6tables", package="iptables", purpose="closes the ports of a host", targets=(Target.TEST_FLEET,)),
    Program(name="mmdebstrap", package="mmdebstrap", purpose="makes file systems of servers and new machines", targets=(Target.FLEET, Target.FRESH)),
    Program(name="ps", package="procps", purpose="lists processes", targets=(Target.TEST_FLEET, Target.IMAGE)),
    Program(name="busybox", package="busybox", purpose="finds a fault in a container", targets=(Target.IMAGE,), tries=("--help",)),
    Program(name="curl", package="curl", purpose="asks a server over HTTP and TLS", targets=(Target.IMAGE,)),
    Program(name="wget", package="wget", purpose="asks a server over HTTP", targets=(Target.IMAGE,)),
    Program(name="ping", package="iputils-ping", purpose="shows who is reached", targets=(Target.IMAGE,), tries=("-V",)),
    Program(name="openssl", package="openssl", purpose="finds a fault in a certificate", targets=(Target.IMAGE,), tries=("version",)),
    Program(name="java", package="openjdk-17-jre-headless", purpose="runs the servers in containers", targets=(Target.IMAGE,)),
    Program(name="python3.11", package="python3.11", purpose="runs our programs in containers", targets=(Target.IMAGE,)),
    # what is only used where it is wanted
    Program(name="nginx", package="nginx-light", purpose="is the limit that the API is compared with", targets=(Target.BENCH,), tries=("-v",)),
    Program(name="psql", package="postgresql-client", purpose="is PostgreSQL's own shell", targets=(Target.PSQL,)),
    Program(name="ssh", package="openssh-client", purpose="reaches an engine on another machine", tries=("-V",)),
)  # fmt: skip


def program(name: str) -> Program:
    """Return the program of that name; KeyError if the table has none."""
    return {program.name: program for program in PROGRAMS}[name]


def needed(target: Target) -> list[Program]:
    """Return the programs of a target and of all that it includes."""
    targets = reached(target)
    return [program for program in PROGRAMS if targets.intersection(program.targets)]


def reached(target: Target) -> set[Target]:
    """Return a target with all that it includes."""
    return {target}.union(*(reached(part) for part in INCLUDED.get(target, ())))


def packages(programs: Iterable[Program]) -> list[str]:
    """Return the packages that bring those programs, each once."""
    return list(dict.fromkeys(program.package for program in programs))


def lacking(programs: Iterable[Program], commands: Commands) -> list[Program]:
    """Return those that are not on PATH."""
    return [program for program in programs if commands.find(program.name) is None]


def ensure(programs: Sequence[Program], shop: Workshop) -> None:
    """Install what is missing as root; else one error that lists exactly what to install."""
    missing = lacking(programs, shop.commands)
    for absent in missing:
        shop.report(f"{absent.name}: absent; it {absent.purpose}")
    if missing:
        debian.install(packages(missing), shop)
    if still := lacking(missing, shop.commands):
        raise UnavailableError(
            still[0].name,
            f"`{still[0].name}` is not on PATH although `{still[0].package}` is installed:"
            " add its folder to PATH, then run this again",
        )


def faults(programs: Iterable[Program]) -> list[str]:
    """Start each program once; return a sentence for each that does not run."""
    found: list[str] = []
    for one in programs:
        try:
            done = subprocess.run([one.name, *one.tries], capture_output=True, check=False)
        except OSError as error:
            found.append(f"`{one.name}` of `{one.package}` does not start: {error}")
            continue
        if done.returncode:
            found.append(f"`{one.name} {' '.join(one.tries)}` ended with {done.returncode}")
    return found


def main() -> int:
    """Start every program that the tests need; exit 1 naming those that do not run."""
    tried = needed(Target.TEST)
    for fault in (found := faults(tried)):
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(f"{len(tried) - len(found)} of {len(tried)} programs run\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
