"""Rehearse an upgrade: an older version with data, then this one over it, and the same answers.

Reads nothing of the user's own stack: the rehearsal has one of its own, removed at the end.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from helix.client.rest import Client
from helix.errors import ConflictError, HelixError, InvalidError, UnavailableError
from infra.stack import Stack, outputs
from infra.toolchain.places import state_folder
from infra.toolchain.pulumi import command

ROOT = Path(__file__).resolve().parent.parent
NAME = "rehearsal"
OFFSET = 22_000
INTERRUPTED = 130

Answers = dict[str, list[tuple[str, str]]]


def rehearse(before: Path, stack: Stack) -> int:
    """How many messages were asked for again; `ConflictError` names the first other answer."""
    run(before, "up")
    earlier = answers(stack)
    if not earlier:
        raise UnavailableError(NAME, "the older version kept no conversation: nothing to compare")
    run(ROOT, "up")
    later = answers(stack)
    for conversation, messages in earlier.items():
        if later.get(conversation) != messages:
            raise ConflictError(
                f"conversation `{conversation}` is told otherwise after the upgrade:"
                f" {len(messages)} messages before, {len(later.get(conversation, []))} after:"
                f" look at it with `make up STACK={NAME} PORT_OFFSET={OFFSET}`"
            )
    return sum(map(len, earlier.values()))


def answers(stack: Stack) -> Answers:
    """Every conversation, message by message: who said what."""
    found = outputs(stack)
    key = stack.lookup(stack.wanted())("api-key")
    with Client(found.url, key, ca=found.ca) as api:
        names = [row.conversation_id for row in api.conversations().conversations]
        return {
            name: [(message.role, message.content) for message in api.replay(name).messages]
            for name in names
        }


def run(checkout: Path, action: str) -> None:
    """One of the stack's commands as that version has it; `UnavailableError` when it fails."""
    words = (action, "--stack", NAME, *(("--offset", str(OFFSET)) if action == "up" else ()))
    done = subprocess.run([sys.executable, "-m", "infra.stack", *words], cwd=checkout, check=False)
    if done.returncode:
        raise UnavailableError(
            NAME, f"`{action}` of the version in `{checkout}` failed: its last lines say why"
        )


@contextlib.contextmanager
def checkout(reference: str) -> Generator[Path]:
    """That version of the project beside this one, with this one's packages."""
    with tempfile.TemporaryDirectory(prefix="helix-rehearsal-") as scratch:
        folder = Path(scratch, "before")
        _git("worktree", "add", "--detach", str(folder), reference)
        try:
            (folder / ".venv").symlink_to(sys.prefix)
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*words: str) -> None:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InvalidError(f"`git {words[0]}`: {done.stderr.strip()}: name a commit or a tag")


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Exit 1 with one sentence when an answer changed or a version does not come up."""
    parser = argparse.ArgumentParser(prog="python -m infra.rehearsal", description=__doc__)
    parser.add_argument("reference", help="the commit or tag that is upgraded from")
    given = parser.parse_args(argv)
    stack = Stack(NAME, command(env), state_folder(env))
    try:
        with checkout(given.reference) as before:
            try:
                count = rehearse(before, stack)
            finally:
                run(ROOT, "purge")
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    sys.stdout.write(f"{count} messages are told as before\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
