"""`python -m infra.drift`: what of a running stack is not as declared, and what to do about it.

Exit 0: nothing. 1: something. 2: not everything could be looked at.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

import msgspec

from helix.errors import HelixError
from infra.composition import home, identities, site
from infra.drift import schemas
from infra.drift.looking import look, reached
from infra.drift.model import Report
from infra.drift.vault import standing
from infra.stack import Stack
from infra.substrates.hosted import Hosted
from infra.toolchain.pulumi import command, state_folder

CLEAN, DRIFTED, UNKNOWN = 0, 1, 2


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Read-only but for `--record`, which writes the checkout's record of the schemas."""
    parser = argparse.ArgumentParser(prog="python -m infra.drift", description=__doc__)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--json", action="store_true", help="the findings as one JSON list")
    parser.add_argument(
        "--record",
        action="store_true",
        help="take the schemas of this stack, a fresh one, for what the migrations make",
    )
    arguments = parser.parse_args(argv)
    try:
        stack = Stack(arguments.stack, command(env), state_folder(env))
        if arguments.record:
            return record(stack)
        found = look(stack.wanted(), stack.pulumi.env, stack.name)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return UNKNOWN
    sys.stdout.write(listed(found) if arguments.json else told(found))
    sys.stderr.writelines(f"{one.sentence}\n" for one in found.away)
    return status(found)


def status(found: Report) -> int:
    """The exit code; what could not be looked at outweighs what was found."""
    if found.away:
        return UNKNOWN
    return DRIFTED if found.drifts else CLEAN


def told(found: Report) -> str:
    """A line for each finding."""
    if not found.drifts and not found.away:
        return f"stack `{found.stack}` is as declared\n"
    return "".join(f"{drift.sentence(found.stack)}\n" for drift in found.drifts)


def listed(found: Report) -> str:
    """The findings with their sentences as one JSON list."""
    rows = [
        msgspec.to_builtins(drift) | {"sentence": drift.sentence(found.stack)}
        for drift in found.drifts
    ]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"


def record(stack: Stack) -> int:
    """Write what each store of the stack has to the checkout."""
    here = site(stack.wanted(), stack.pulumi.env, stack.name)
    known = identities(here) if isinstance(here, Hosted) else {}
    lookup, _ = standing(home(stack.pulumi.env, stack.name), known)
    settings = reached(here, lookup)
    for store, read in schemas.STORES.items():
        sys.stdout.write(f"{schemas.record(store, read(settings))}\n")
    return CLEAN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
