"""`python -m infra.artifacts`: list the artifacts, make them, or lock what they resolve to."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from helix.errors import HelixError, InvalidError
from helix.topology.catalog import CATALOG
from helix.topology.model import Artifact
from infra.artifacts import fetch, tools
from infra.artifacts.commands import Commands, on_stderr
from infra.artifacts.workshop import Workshop

TOOLS = (tools.GO, tools.JAVA, tools.KUBEBOX, tools.KWOK)
KNOWN: tuple[Artifact, ...] = (*CATALOG.artifacts, *TOOLS)
INTERRUPTED = 130


def main() -> int:
    """0 when all asked for was done, 1 with one line saying what was not."""
    parser = argparse.ArgumentParser(prog="python -m infra.artifacts", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("list", "ensure", "lock"), default="list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: the whole catalogue")
    arguments = parser.parse_args()
    env = dict(os.environ)  # noqa: TID251 - a composition root
    shop = Workshop(fetch.cache_folder(env), on_stderr, Commands(env))
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)
    try:
        artifacts = _named(arguments.names) or CATALOG.artifacts
        for artifact in artifacts:
            _ACTIONS[arguments.action](artifact, shop)
    except HelixError as error:
        on_stderr(error.message)
        return 1
    except KeyboardInterrupt:
        on_stderr("stopped; run it again: it goes on from here")
        return INTERRUPTED
    return 0


def _named(names: Sequence[str]) -> list[Artifact]:
    known = {artifact.name: artifact for artifact in KNOWN}
    strange = [name for name in names if name not in known]
    if strange:
        raise InvalidError(
            f"`{strange[0]}` is not an artifact; `python -m infra.artifacts` lists them"
        )
    return [known[name] for name in names]


def _list(artifact: Artifact, shop: Workshop) -> None:
    done = fetch.complete(artifact, shop.cache)
    where = fetch.path(artifact, shop.cache) if done else "absent"
    sys.stdout.write(f"{artifact.name:18} {artifact.version:36} {where}\n")


def _ensure(artifact: Artifact, shop: Workshop) -> None:
    on_stderr(f"{artifact.name}")
    fetch.ensure(artifact, cache=shop.cache, report=on_stderr, commands=shop.commands)


def _lock(artifact: Artifact, shop: Workshop) -> None:
    on_stderr(f"wrote {fetch.lock(artifact, shop)}")


_ACTIONS = {"list": _list, "ensure": _ensure, "lock": _lock}

if __name__ == "__main__":
    sys.exit(main())
