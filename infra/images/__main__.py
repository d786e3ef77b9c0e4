"""`python -m infra.images`: list, build, lock or mirror the images of the catalogue."""

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from helix.errors import HelixError, InvalidError, UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Image
from infra.artifacts import fetch
from infra.artifacts.commands import on_stderr
from infra.images import lock, mirror
from infra.images.engine import Engine
from infra.images.staging import context, files

ROOT = Path(__file__).resolve().parent.parent.parent


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Exit 1 with one sentence when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.images", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of build: which images")
    parser.add_argument("--all", action="store_true", help="build: every image of ours")
    parser.add_argument("--base", action="append", default=[], metavar="NAME=REFERENCE")
    parser.add_argument("--engine", default="", help="unix:///..., tcp://...; else DOCKER_HOST")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--to", metavar="PREFIX", help="mirror: registry.example/helix")
    parser.add_argument("--run", action="store_true", help="mirror: do it, do not only print it")
    arguments = parser.parse_args(argv)
    try:
        COMMANDS[arguments.command](arguments, env)
    except HelixError as error:
        on_stderr(error.message)
        return 1
    return 0


def _list(_: argparse.Namespace, __: Mapping[str, str]) -> None:
    rows = lock.current(lock.read(), CATALOG)
    for image in CATALOG.images:
        users = [one.name for one in CATALOG.services if one.image == image.name]
        held = rows.get(f"{image.name}{lock.BASE}" if image.base else image.name, "")
        built = f"built from {image.base}" if image.base else "as published"
        digest = held.partition("@")[2] or "digest not locked"
        sys.stdout.write(
            f"{image.name:18} {image.reference:45} {built}, {digest}, for {', '.join(users)}\n"
        )


def _build(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    ours = {image.name: image for image in CATALOG.images if image.base}
    names = list(ours) if arguments.all else arguments.names
    if not names or set(names) - set(ours):
        raise InvalidError(f"`build` needs `--all` or names of {', '.join(ours)}")
    bases, engine = _pairs(arguments.base), Engine(arguments.engine, env)
    given = _pairs(arguments.argument)
    for name in names:
        base = bases.get(name) or lock.current(lock.read(), CATALOG).get(f"{name}{lock.BASE}")
        values = _arguments(ours[name], base or ours[name].base)
        on_stderr(f"building {ours[name].reference} from {values['BASE']}")
        sys.stdout.write(f"{_built(ours[name], engine, {**given, **values}, env)}\n")


def _built(image: Image, engine: Engine, values: Mapping[str, str], env: Mapping[str, str]) -> str:
    def artifact(name: str) -> Path:
        return fetch.ensure(CATALOG.artifact(name), cache=fetch.cache_folder(env), report=on_stderr)

    parts = files(image, root=ROOT, artifact=artifact)
    sent = context(image, parts, root=ROOT)
    return engine.build(image.reference, sent, values, on_stderr)


def _arguments(image: Image, base: str) -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "BASE": base,
        "NAME": image.name,
        "VERSION": project["version"],
        "COMMIT": _commit(),
        "ACCOUNT": str(image.uid),
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _lock(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    engine = Engine(arguments.engine, env)
    lock.LOCK.write_text(lock.locked(CATALOG, engine.digest), encoding="utf-8")
    on_stderr(f"wrote {lock.LOCK}")


def _mirror(arguments: argparse.Namespace, _: Mapping[str, str]) -> None:
    if not arguments.to:
        raise InvalidError("`mirror` needs a registry: add `--to registry.example/helix`")
    for command in mirror.commands(CATALOG, arguments.to):
        sys.stdout.write(f"{' '.join(command)}\n")
        if arguments.run and subprocess.run(command, check=False).returncode:
            raise UnavailableError(
                "docker", f"`{' '.join(command)}` failed: mend what it says, then run it again"
            )
    setting = mirror.override(CATALOG, arguments.to)
    sys.stdout.write(f"pulumi config set helix:images '{setting}'\n")


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, _, value in pairs if not value]:
        raise InvalidError(f"`{bad[0]}` has no value: write NAME=VALUE")
    return {name: value for name, _, value in pairs}


COMMANDS: dict[str, Callable[[argparse.Namespace, Mapping[str, str]], None]] = {
    "list": _list,
    "build": _build,
    "lock": _lock,
    "mirror": _mirror,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - a composition root
