"""`python -m infra.passwords`: list a stack's passwords, or give some of them another value."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from helix.errors import HelixError, InvalidError
from helix.settings import Settings, from_env
from infra.composition import now, services, site
from infra.passwords.changing import KEPT, OWN, SHARED, Lookup, change, changeable, selected
from infra.passwords.names import made, passwords
from infra.provider.secrets import current_version, exists
from infra.stack import Stack, outputs, unlock
from infra.substrates.wanted import Kind, Wanted
from infra.toolchain.pulumi import command, state_folder


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Exit 1 with one sentence when the command cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.passwords", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="of rotate: postgres, ...; none: every one but those that a quorum shares",
    )
    parser.add_argument("--stack", default="local")
    arguments = parser.parse_args(argv)
    try:
        stack = Stack(arguments.stack, command(env), state_folder(env))
        if not exists(stack.home):
            raise InvalidError(f"`{stack.name}` has never been up: run `up` first")
        COMMANDS[arguments.command](stack, arguments.names)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def known(stack: Stack, settings: Wanted) -> list[str]:
    """The names of the stack's passwords."""
    here = site(settings, stack.pulumi.env, stack.name)
    return passwords(here, services(settings, here))


def show(stack: Stack, names: Sequence[str]) -> None:
    """Version and age of each, and who has to know when it changes."""
    for one in made(stack.home, selected(names, known(stack, stack.wanted()))):
        days = (now() - one.at).days
        version = current_version(stack.home, one.name)
        say(f"{one.name:22} version {version:3} {days:5} days old  {_kept(one.name)}")


def _kept(name: str) -> str:
    if name in OWN:
        return "kept by its server, which alone changes it"
    where = "kept by its server, which is told" if name in KEPT else "read at the start"
    return f"{where}; shared by a quorum" if name in SHARED else where


def rotate(stack: Stack, names: Sequence[str]) -> None:
    """Another version for each, its server told; what is left to be done is said."""
    unlock(stack)
    wanted = stack.wanted()
    chosen = changeable(names, known(stack, wanted))
    told = [name for name in chosen if name in KEPT]
    if told and wanted.substrate is Kind.KUBERNETES:
        raise InvalidError(
            f"the servers of {', '.join(told)} have to be told, and those of a cluster are not"
            " reached from here: name the others (docs/operations/passwords.md)"
        )
    settings = reached(stack)
    for name in chosen:
        version = change(stack.home, name, settings)
        say(f"`{name}` has version {version}{', its server knows' if name in KEPT else ''}")
    say(following(stack.name, chosen))


def reached(stack: Stack) -> Callable[[Lookup], Settings]:
    """How the stack's servers are reached, as the secrets are; `UnavailableError` if it is down."""
    document = outputs(stack)
    return lambda lookup: from_env(document.environment(lookup))


def following(stack: str, chosen: Sequence[str]) -> str:
    """The next command, and why it should not wait."""
    if shared := [name for name in chosen if name in SHARED]:
        return (
            f"run `make down STACK={stack}`, then `make up STACK={stack}`: who has the new"
            f" {', '.join(shared)} refuses who has the old"
        )
    return f"run `make up STACK={stack}` now: until then new connections are refused"


def say(line: str) -> None:
    """To who runs the command."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


COMMANDS: dict[str, Callable[[Stack, Sequence[str]], None]] = {"list": show, "rotate": rotate}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
