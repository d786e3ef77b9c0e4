"""Run both commands of the README on a new machine: a minimal Debian that has nothing else."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from helix.errors import HelixError, UnavailableError
from infra.artifacts import fetch, golang
from infra.artifacts.commands import Commands, on_stderr, tail
from infra.artifacts.workshop import Workshop
from infra.fleet import debian_root
from infra.fleet.calls import call
from infra.fresh import root
from infra.toolchain import programs

ROOT = Path(__file__).resolve().parents[2]
WHOLE = ("make up", "make test", "make purge")
FAST = (
    "tests/unit/test_programs.py",
    "tests/property/test_conversations.py",
    "tests/contract/test_world.py",
)
REAL = (
    "tests/integration/alone/test_issuer.py",
    "tests/integration/fleet/test_hosts.py",
)
# One step of each kind: every target's set-up, every program, a test of each folder, one stack.
SHORT = (
    "make setup-test",
    ".venv/bin/python -m infra.toolchain.programs",
    f".venv/bin/pytest -q {' '.join(FAST)}",
    f".venv/bin/pytest -q -m integration {' '.join(REAL)}",
    "make up PROFILE=core STACK=fresh PORT_OFFSET=21500",
    "make purge STACK=fresh",
)
FAILED = 1


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Return 0 when every step passed, else 1 after naming the step and its log."""
    parser = argparse.ArgumentParser(prog="python -m infra.fresh", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one step of each kind")
    parser.add_argument("--cache", type=Path, help="a cache folder to use; else an empty one")
    arguments = parser.parse_args(argv)
    shop = Workshop(fetch.cache_folder(env), on_stderr, Commands())
    try:
        if os.geteuid() != 0:
            raise UnavailableError("fresh", "a root of its own needs root: run it with `sudo`")
        programs.ensure(programs.needed(programs.Target.FRESH), shop)
        with new_machine(shop) as folder:
            run(
                folder, SHORT if arguments.short else WHOLE, arguments.cache, env, shop.log("fresh")
            )
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return FAILED
    return 0


@contextmanager
def new_machine(shop: Workshop) -> Generator[Path]:
    """Make a new machine's file system with a clone of what is committed; remove it afterwards."""
    base = debian_root.ensure(root.recipe(), shop)
    with tempfile.TemporaryDirectory(prefix="helix-fresh-", dir=shop.cache.parent) as scratch:
        folder = Path(scratch, "root")
        on_stderr("fresh: copying the file system of a new machine")
        call(("cp", "-a", "--reflink=auto", str(base), str(folder)))
        if call(("git", "-C", str(ROOT), "status", "--porcelain")).strip():
            on_stderr("fresh: only what is committed is tried")
        target = folder / root.CHECKOUT.lstrip("/")
        call(("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(target)))
        yield folder


def run(
    folder: Path, steps: Sequence[str], cache: Path | None, env: Mapping[str, str], log: Path
) -> None:
    """Run the steps one after another in the root; `UnavailableError` names the one that failed."""
    commands = Commands(env)
    go = commands.find("go")
    fits = go is not None and golang.version(go) >= golang.GO_MIN
    packages = cache / "packages" if cache else None
    if packages:
        (packages / "partial").mkdir(parents=True, exist_ok=True)
    home = Path(env.get("HOME", "/root"))
    tools = str(Path(go).resolve().parents[1]) if go and fits else ""
    files = root.shared(home, tools, cache, packages)
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    on_stderr(f"fresh: {len(steps)} steps; log: {log}")
    for step in steps:
        began = time.monotonic()
        text = root.script(folder, files, root.environment(env), step)
        with log.open("ab") as output:
            status = within(text, output.fileno())
        if status:
            raise UnavailableError(
                "fresh",
                f"`{step}` ended with {status} on a new machine; `{log}` ends with\n{tail(log)}",
            )
        on_stderr(f"fresh: {time.monotonic() - began:5.0f} s  {step}")


def within(text: str, output: int) -> int:
    """Run a script in namespaces of its own, which end with it, and return its exit code."""
    spaces = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
    child = subprocess.Popen(
        [*spaces, "sh", "-c", text], stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    try:
        return child.wait()
    except BaseException:
        child.send_signal(signal.SIGKILL)
        child.wait()
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
