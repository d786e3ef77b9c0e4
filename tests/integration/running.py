"""Integration tests bring a stack of their own up, through the same `pulumi up` a user runs.

The stack runs from a copy of the checkout, so that a test may edit code as a developer would.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helix.settings import Settings, from_env
from infra.outputs import Outputs
from infra.provider.supervision import State, states
from infra.stack import Stack, outputs
from infra.toolchain.pulumi import command, state_folder

COMMAND_S_MAX = 590
SCRATCH_PARTITIONS = 12


@dataclass(frozen=True)
class Running:
    """A stack that was brought up, and the checkout it runs from."""

    stack: Stack
    root: Path
    offset: int

    @functools.cached_property
    def outputs(self) -> Outputs:
        return outputs(self.stack)

    @functools.cached_property
    def lookup(self) -> Callable[[str], str]:
        """The stack's secrets."""
        return self.stack.lookup(self.stack.wanted())

    @property
    def env(self) -> dict[str, str]:
        return self.outputs.environment(self.lookup)

    @property
    def settings(self) -> Settings:
        return from_env(self.env)

    @property
    def url(self) -> str:
        return self.outputs.url

    @property
    def api_key(self) -> str:
        return self.lookup("api-key")

    def states(self) -> dict[str, State]:
        """Every process of the stack as its supervisor sees it."""
        return {state.name: state for state in states(self.stack.home)}

    def pids(self) -> dict[str, int]:
        return {name: state.pid for name, state in self.states().items()}

    @property
    def ca(self) -> str:
        """The authority of its certificates; empty where it speaks no TLS."""
        return self.outputs.ca

    def alive(self, service: str) -> bool:
        """Whether the service runs."""
        return self.states()[service].state == "RUNNING"

    def kill(self, service: str) -> None:
        """End the service as a crash would."""
        os.kill(self.pids()[service], signal.SIGKILL)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """One of our commands in the stack's checkout, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *argv: str) -> str:
        """The output of one of our commands; its whole output when it fails."""
        command = self.start(*argv)
        output, _ = command.communicate(timeout=COMMAND_S_MAX)
        assert command.returncode == 0, output
        return output

    def told(self, *argv: str) -> str:
        """What one of the stack's own programs prints, its settings given; complete on failure."""
        done = subprocess.run(
            [sys.executable, "-m", *argv],
            cwd=self.root,
            env={"PATH": os.defpath} | self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> str:
        return self.run("infra.stack", "up", *self.chosen, "--offset", str(self.offset))

    def down(self) -> str:
        return self.run("infra.stack", "down", *self.chosen)

    def purge(self) -> str:
        return self.run("infra.stack", "purge", *self.chosen)

    @property
    def chosen(self) -> tuple[str, str]:
        return "--stack", self.stack.name


def copy_of(root: Path, target: Path) -> Path:
    """The checkout's files, those not committed yet too, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines():
        if (root / line).is_file():
            (target / line).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / line, target / line)
    (target / ".venv").symlink_to(sys.prefix)
    return target


def stack_named(name: str, *, root: Path, offset: int) -> Running:
    env = dict(os.environ)  # noqa: TID251 - the composition root of the tests
    return Running(Stack(name, command(env), state_folder(env)), root, offset)
