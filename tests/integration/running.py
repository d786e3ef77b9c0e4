"""Integration tests bring a stack of their own up, through the same `pulumi up` a user runs.

The stack runs from a copy of the checkout, so that a test may edit code as a developer would.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from helix.client.rest import Client
from helix.settings import Settings, from_env
from helix.topology.catalog import CATALOG
from infra.outputs import Outputs
from infra.provider.reaper import leftovers
from infra.provider.supervision import State, states
from infra.stack import Stack, outputs
from infra.toolchain.pulumi import command, state_folder
from validation.meetings import ingest, read, same

COMMAND_S_MAX = 590
SCRATCH_PARTITIONS = 12
CHANGED = re.compile(r"^\s*[+~-]+\s+(\d+) (created|updated|deleted|replaced)", re.MULTILINE)


@dataclass(frozen=True)
class Running:
    """A stack that was brought up, and the checkout it runs from."""

    stack: Stack
    root: Path
    offset: int
    profile: str = field(default="", kw_only=True)

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
        try:
            output, _ = command.communicate(timeout=COMMAND_S_MAX)
        except BaseException:
            # Else it would work on, and the stack could not be purged.
            command.terminate()
            command.communicate()
            raise
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

    @property
    def bring_up(self) -> tuple[str, ...]:
        """The command that brings the stack up, or repairs it."""
        profile = ("--profile", self.profile) if self.profile else ()
        return "infra.stack", "up", *self.chosen, "--offset", str(self.offset), *profile

    def up(self) -> str:
        return self.run(*self.bring_up)

    def apply(self) -> str:
        """Run `pulumi up` alone: without a look at what runs, and without the demo."""
        return self.run("infra.stack", "pulumi", *self.chosen, "--", "up", "--yes")

    def down(self) -> str:
        return self.run("infra.stack", "down", *self.chosen)

    def purge(self) -> str:
        return self.run("infra.stack", "purge", *self.chosen)

    def report(self) -> dict[str, tuple[str, str]]:
        """Status and time of asking of every service; nothing while the API itself is away."""
        key = {"Authorization": f"Bearer {self.api_key}"}
        try:
            answer = httpx.get(f"{self.url}/v1/bigdata/health", headers=key, timeout=10)
        except httpx.HTTPError:
            return {}
        # Without the log the report is a 503; while the store of keys is away there is none.
        rows = answer.json().get("services", [])
        return {row["service"]: (row["status"], row.get("asked_at", "")) for row in rows}

    def is_healthy(self) -> bool:
        """Whether the API says so of every service that the stack has."""
        found = {status for status, _ in self.report().values()}
        return bool(found) and found <= {"healthy", "disabled"}

    def running(self) -> set[str]:
        """The services whose process runs, none of which shares it with another."""
        pids = [(state.name, state.pid) for state in self.states().values() if state.pid]
        assert len({pid for _, pid in pids}) == len(pids)
        return {name for name, _ in pids}

    def ports_held(self) -> list[str]:
        """Listening addresses of the machine that belong to the stack."""
        # Java's servers listen on IPv6 sockets, whatever address they are told.
        tables = [Path(f"/proc/net/{name}").read_text().splitlines() for name in ("tcp", "tcp6")]
        rows = [row.split() for table in tables for row in table[1:]]
        held = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
        return [
            f"{service.name}.{port.name}"
            for service in CATALOG.services
            for port in service.ports
            if port.number + self.offset in held
        ]

    def tell(self) -> str:
        """Ingest the demo's meeting; the id of its conversation."""
        with Client(self.url, self.api_key, ca=self.ca) as client:
            return ingest(client, read(), user_id="before").conversation_id

    def misquoted(self, conversation: str) -> list[str]:
        """What a replay of the demo's meeting has otherwise than it was told."""
        with Client(self.url, self.api_key, ca=self.ca) as client:
            return same(read(), client.replay(conversation))

    def assert_stopped(self) -> None:
        """No process of the stack runs, and no port is held."""
        assert self.ports_held() == []
        assert leftovers(self.stack.home) == set()

    def assert_gone(self) -> None:
        """Neither a process, nor a port, nor a file of the stack is left."""
        self.assert_stopped()
        assert not self.stack.home.exists()

    @property
    def chosen(self) -> tuple[str, str]:
        return "--stack", self.stack.name


def changes(output: str) -> list[tuple[str, str]]:
    """What Pulumi's last summary counts beside `unchanged`."""
    *_, summary = output.split("Resources:")
    return CHANGED.findall(summary)


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


def stack_named(name: str, *, root: Path, offset: int, profile: str = "") -> Running:
    env = dict(os.environ)  # noqa: TID251 - the composition root of the tests
    return Running(Stack(name, command(env), state_folder(env)), root, offset, profile=profile)
