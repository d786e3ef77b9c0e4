"""`python -m infra.toolchain`: set this machine up, look it over, print Pulumi's environment."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping

from helix.errors import HelixError
from helix.topology.catalog import CATALOG
from infra.artifacts.commands import Commands, on_stderr
from infra.artifacts.fetch import cache_folder
from infra.orphans import die_with_parent
from infra.toolchain import ports, preflight, programs, pulumi
from infra.toolchain.places import state_folder
from infra.toolchain.programs import Target
from infra.toolchain.setup import Setup


def main() -> int:
    """0 when all is well, else 1 with lines that say what is not."""
    parser = argparse.ArgumentParser(prog="python -m infra.toolchain", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    setup = actions.add_parser("setup", help="fetch and build everything that is missing")
    setup.add_argument("--python-only", action="store_true", help="the Python packages alone")
    setup.add_argument(
        "--for",
        dest="target",
        type=Target,
        choices=list(Target),
        default=Target.UP,
        help="the target of the Makefile whose programs are installed",
    )
    check = actions.add_parser("preflight", help="what this machine has and lacks")
    check.add_argument("--ports", type=int, metavar="OFFSET", help="look at the stack's ports too")
    actions.add_parser("env", help="print Pulumi's environment: eval it in a shell")
    arguments = parser.parse_args()
    env = dict(os.environ)  # noqa: TID251 - a composition root
    try:
        match arguments.action:
            case "setup":
                die_with_parent()
                return Setup(env, on_stderr, arguments.target).run(
                    python_only=arguments.python_only
                )
            case "preflight":
                return _preflight(env, arguments.ports)
            case _:
                return _env(env)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


def _preflight(env: Mapping[str, str], offset: int | None) -> int:
    wanted = [*programs.needed(Target.UP), *preflight.builders(CATALOG.artifacts)]
    machine = preflight.measure(Commands(env), env, cache_folder(env), wanted)
    found = preflight.findings(machine, CATALOG, CATALOG.artifacts)
    for finding in found:
        _say(f"{finding.level:5} {finding.text}")
    held = [] if offset is None else _held(env, offset)
    for line in held:
        _say(f"{preflight.Level.LACK:5} {line}")
    lacking = [finding for finding in found if finding.level == preflight.Level.LACK]
    return 1 if lacking or held else 0


def _held(env: Mapping[str, str], offset: int) -> list[str]:
    return ports.conflicts(ports.wanted(CATALOG, offset), state_folder(env) / "local")


def _env(env: Mapping[str, str]) -> int:
    command = pulumi.command(env)
    for name, value in sorted(command.env.items()):
        if env.get(name) != value:
            _say(f"export {name}={shlex.quote(value)}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
