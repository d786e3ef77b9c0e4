"""`python -m infra.certificates`: list, check, rotate, forget or export a stack's certificates."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from helix.errors import HelixError, InvalidError
from infra.certificates.authority import OPERATOR, ROOTS_MAX, Authority, Row, Trust
from infra.certificates.issuing import RENEW_DAYS
from infra.certificates.vault import authority
from infra.provider.files import write_private
from infra.provider.secrets import exists
from infra.toolchain.places import state_folder

PARTS = {
    "ca.pem": "tls.ca",
    "crt.pem": f"tls.{OPERATOR}.certificate",
    "key.pem": f"tls.{OPERATOR}.key",
}


def main(argv: Sequence[str], state: Path) -> int:
    """Exit 1 with one line for each thing that is wrong."""
    parser = argparse.ArgumentParser(prog="python -m infra.certificates", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--instance", metavar="NAME", help="of rotate and forget: kafka-1, ...")
    parser.add_argument("--authority", action="store_true", help="rotate: the next of three steps")
    parser.add_argument("--to", type=Path, metavar="DIR", help="export: where the files go")
    arguments = parser.parse_args(argv)
    home = state / arguments.stack
    try:
        if not exists(home):
            raise InvalidError(f"`{arguments.stack}` has never been up: run `up` first")
        return COMMANDS[arguments.command](authority(home, now=_now), arguments)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


def ending(rows: Sequence[Row]) -> list[str]:
    """A sentence for each certificate that ends soon, and what mends it."""
    return [
        f"`{row.name}` ends on {row.ends:%Y-%m-%d}: {_cure(row)}"
        for row in rows
        if row.days_left < RENEW_DAYS
    ]


def _cure(row: Row) -> str:
    return "run `up`" if row.hosts else "run `rotate --authority`"


def following(trust: Trust) -> str:
    """What is to be done after a step of a change of authority."""
    if len(trust.roots) < ROOTS_MAX:
        return "the old authority is believed no more; run `up`: the change is complete"
    if trust.issuer == 0:
        return "old and new authority are believed; run `up`, then `rotate --authority` again"
    return "the new authority issues; run `up`, then `rotate --authority` again"


def _list(mine: Authority, _: argparse.Namespace) -> int:
    for row in mine.rows():
        sys.stdout.write(
            f"{row.name:22} {row.ends:%Y-%m-%d} {row.days_left:5} days left  {row.fingerprint}"
            f"  {', '.join(row.hosts)}\n"
        )
    return 0


def _check(mine: Authority, _: argparse.Namespace) -> int:
    sentences = ending(mine.rows())
    sys.stdout.writelines(f"{sentence}\n" for sentence in sentences)
    return 1 if sentences else 0


def _rotate(mine: Authority, arguments: argparse.Namespace) -> int:
    if arguments.authority:
        sys.stdout.write(f"{following(mine.advance())}\n")
        return 0
    named = [row.name for row in mine.rows() if row.hosts]
    for name in [arguments.instance] if arguments.instance else named:
        mine.rotate(name)
        sys.stdout.write(f"`{name}` has a new key and certificate\n")
    sys.stdout.write("run `up`: it restarts what uses them\n")
    return 0


def _forget(mine: Authority, arguments: argparse.Namespace) -> int:
    if not arguments.instance:
        raise InvalidError("`forget` needs the name of an instance: add `--instance NAME`")
    mine.forget(arguments.instance)
    return 0


def _export(mine: Authority, arguments: argparse.Namespace) -> int:
    if not arguments.to:
        raise InvalidError("`export` needs a folder: add `--to DIR`")
    for file, secret in PARTS.items():
        write_private(arguments.to / file, mine.lookup(secret))
        sys.stdout.write(f"{arguments.to / file}\n")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a composition root


COMMANDS: dict[str, Callable[[Authority, argparse.Namespace], int]] = {
    "list": _list,
    "check": _check,
    "rotate": _rotate,
    "forget": _forget,
    "export": _export,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], state_folder(os.environ)))  # noqa: TID251 - a composition root
