"""One stack from nothing to answering, and back: what the Makefile's targets run."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from helix.errors import ConflictError, HelixError, UnavailableError
from helix.settings import from_env
from helix.topology.catalog import CATALOG
from infra.certificates.vault import stack_vault
from infra.composition import FORMED, hosted_site, identities, now
from infra.orphans import die_with_parent, holder, is_abandoned
from infra.outputs import Outputs, read
from infra.provider.files import write_private
from infra.provider.launcher import end
from infra.provider.secrets import vault
from infra.substrates import claims
from infra.substrates.wanted import PREFIX, Kind, Wanted, typed
from infra.toolchain.ports import conflicts
from infra.toolchain.ports import wanted as ports
from infra.toolchain.pulumi import Pulumi, command, state_folder

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "helix"
INTERRUPTED = 130
END_S_MAX = 60.0  # Pulumi finishes the resources it is at when it is told to stop


class Stopped(BaseException):
    """Somebody ended us while a command of ours was at work."""


@dataclass(frozen=True)
class Stack:
    """A stack by name: its folder and the Pulumi that moves it."""

    name: str
    pulumi: Pulumi
    state: Path

    @property
    def home(self) -> Path:
        """Data, logs and the master secret: outside the clone."""
        return self.state / self.name

    @property
    def locks(self) -> Path:
        """Where Pulumi's file backend notes who is at work on this stack."""
        return self.state / "pulumi" / ".pulumi" / "locks" / "organization" / PROJECT / self.name

    def run(self, *arguments: str) -> None:
        """Pulumi on this stack, its output passed through; `UnavailableError` when it fails."""
        argv = [self.pulumi.argv0, *arguments, "--stack", self.name]
        if code := _wait(argv, self.pulumi.env):
            raise UnavailableError(
                "pulumi", f"`pulumi {arguments[0]}` ended with {code}: its last lines say why"
            )

    def ask(self, *arguments: str) -> str:
        """What Pulumi answers, without showing it."""
        argv = [self.pulumi.argv0, *arguments]
        done = subprocess.run(
            argv, cwd=ROOT, env=dict(self.pulumi.env), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UnavailableError("pulumi", done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def wanted(self) -> Wanted:
        """The stack's configuration."""
        given = json.loads(self.ask("config", "--json", "--show-secrets", "--stack", self.name))
        ours = {key: entry["value"] for key, entry in given.items() if key.startswith(PREFIX)}
        return typed({key.removeprefix(PREFIX): value for key, value in ours.items()})

    def lookup(self, settings: Wanted) -> Callable[[str], str]:
        """Every secret of the stack, and the certificates of one that runs on servers."""
        if settings.substrate is Kind.LOCAL:
            return vault(self.home)
        known = identities(hosted_site(settings, self.pulumi.env, self.name))
        return stack_vault(self.home, known, now=now)

    def exists(self) -> bool:
        """Whether Pulumi knows the stack."""
        rows = json.loads(self.ask("stack", "ls", "--json"))
        return any(row["name"] == self.name for row in rows)


def _wait(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """The exit code of a command; told to stop, it is told first and we stop when it has."""
    child = subprocess.Popen(
        argv,
        cwd=ROOT,
        env=dict(env),
        preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has no threads
    )

    def told(number: int, _frame: object) -> NoReturn:
        child.terminate()
        raise Stopped(number)

    earlier = signal.signal(signal.SIGTERM, told)
    try:
        return child.wait()
    except (KeyboardInterrupt, Stopped):
        child.wait()  # it stops cleanly: the terminal, or we, told it as well
        raise
    finally:
        signal.signal(signal.SIGTERM, earlier)


def unlock(stack: Stack) -> None:
    """Clear the lock of a Pulumi that is gone; end one that works on though its caller is gone.

    `ConflictError` while somebody else's is at work.
    """
    for lock in stack.locks.glob("*.json"):
        pid = holder(lock)
        if pid and not is_abandoned(pid):
            raise ConflictError(
                f"another `pulumi` (pid {pid}) is at work on stack `{stack.name}`: let it finish"
            )
        if pid:
            _say(f"ending an abandoned `pulumi` (pid {pid}) on stack `{stack.name}`")
            end(partial(_holders, lock), END_S_MAX)
        _say(f"clearing a stale lock of stack `{stack.name}`")
        stack.ask("cancel", "--yes", "--stack", stack.name)


def _holders(lock: Path) -> list[int]:
    return [pid] if (pid := holder(lock)) else []


def select(stack: Stack, settings: Mapping[str, str]) -> None:
    """The stack exists and carries the settings given."""
    stack.ask("stack", "select", "--create", stack.name)
    pairs = [
        word
        for key, value in settings.items()
        for word in ("--plaintext", f"{PREFIX}{key}={value}")
    ]
    if pairs:
        stack.ask("config", "set-all", *pairs, "--stack", stack.name)


def up(stack: Stack, settings: Mapping[str, str]) -> None:
    """Everything healthy: what is there is kept, what is stopped or half made is repaired."""
    known = stack.exists()
    if known:
        unlock(stack)
    select(stack, settings)
    found = stack.wanted()
    if found.substrate is Kind.LOCAL:
        refuse_held_ports(stack, found)
    if known:
        stack.run("refresh", "--yes", "--skip-preview", "--clear-pending-creates", *QUIET)
    stack.run("up", "--yes", "--skip-preview", *QUIET)
    if found.substrate is not Kind.LOCAL:
        certify_operator(stack, found)


def certify_operator(stack: Stack, settings: Wanted) -> None:
    """The files with which the stack's own commands prove who they are."""
    here, lookup = hosted_site(settings, stack.pulumi.env, stack.name), stack.lookup(settings)
    tls = here.operator_tls()
    for path, name in (
        (tls.authority, "tls.ca"),
        (tls.certificate, f"tls.{tls.name}.certificate"),
        (tls.key, f"tls.{tls.name}.key"),
        (tls.bundle, f"tls.{tls.name}.bundle"),
    ):
        write_private(Path(path), lookup(name))


def refuse_held_ports(stack: Stack, settings: Wanted) -> None:
    """`ConflictError` with one sentence for each port of the stack that somebody else holds."""
    if held := conflicts(ports(CATALOG, settings.port_offset, settings.off(CATALOG)), stack.home):
        raise ConflictError("\n".join(held))


def down(stack: Stack) -> None:
    """No process and no port is left; data and the master secret stay."""
    if not stack.exists():
        _say(f"stack `{stack.name}` is not up")
        return
    unlock(stack)
    stack.run("destroy", "--yes", "--skip-preview", *QUIET)
    (stack.home / FORMED).unlink(missing_ok=True)  # quorums are formed anew
    settings = stack.wanted()
    if settings.substrate is Kind.KUBERNETES:
        _say(f"namespace `{settings.namespace}` and the claims in it are kept, with their data")


def purge(stack: Stack) -> None:
    """After `down`: data, logs, secret and Pulumi's record of the stack are gone too."""
    down(stack)
    if stack.exists():
        settings = stack.wanted()
        delete_data(stack, settings)
        stack.ask("stack", "rm", "--yes", stack.name)
    shutil.rmtree(stack.home, ignore_errors=True)
    if not json.loads(stack.ask("stack", "ls", "--json")):
        shutil.rmtree(stack.state / "pulumi", ignore_errors=True)
        with contextlib.suppress(OSError):  # a fleet's engines live there too
            stack.state.rmdir()
    _say(f"stack `{stack.name}` is gone; downloads stay in the cache for the next one")


def delete_data(stack: Stack, settings: Wanted) -> None:
    """What servers and clusters keep; a local stack's data is in its folder."""
    if settings.substrate is Kind.DOCKER:
        from infra.substrates import volumes  # noqa: PLC0415 - the local stack needs no Docker client

        for name in volumes.delete(settings, stack.name):
            _say(f"deleted volume {name}")
    if settings.substrate is Kind.KUBERNETES and not settings.render:
        for name in claims.delete(settings, stack.name, stack.pulumi.env):
            _say(f"deleted {name}")


def outputs(stack: Stack) -> Outputs:
    """Where everything answers; `UnavailableError` when the stack is not up."""
    if not stack.exists():
        raise UnavailableError("stack", f"stack `{stack.name}` is not up: run `make up`")
    return read(stack.ask("stack", "output", "document", "--json", "--stack", stack.name))


def environment(stack: Stack, found: Outputs) -> dict[str, str]:
    """What curl, Locust and scripts need: the address and a key that may do everything."""
    key = {"HELIX_URL": found.url, "HELIX_API_KEY": vault(stack.home)("api-key")}
    return key | ({"HELIX_CA": found.ca} if found.ca else {})


def demo(stack: Stack, found: Outputs) -> None:
    """A real meeting goes in and comes back."""
    argv = [sys.executable, "-m", "validation.demo"]
    if _wait(argv, {**stack.pulumi.env, **environment(stack, found)}):
        raise UnavailableError("demo", "the demo failed: `make status` says what is unhealthy")


def farewell(stack: Stack, found: Outputs) -> None:
    """Addresses, how to get the key, and the next commands to try."""
    flag = "" if stack.name == "local" else f" STACK={stack.name}"
    trust = ' --cacert "$HELIX_CA"' if found.ca else ""
    _say("")
    for name, address in sorted(found.addresses().items()):
        _say(f"  {name:18} {address}")
    _say(f"""
The API answers at {found.url} (documentation: {found.url}/schema).

  eval "$(make -s env{flag})"          # HELIX_URL and HELIX_API_KEY, a key that may do everything
  curl{trust} -H "Authorization: Bearer $HELIX_API_KEY" $HELIX_URL/v1/bigdata/health
  make status{flag}                    # the catalogue against reality
  make down{flag}                      # stop everything, keep the data
""")


def way_in(settings: Wanted, found: Outputs) -> dict[str, str]:
    """How a cluster's API is reached from outside: by its public name, or a forwarded port."""
    if settings.ingress:
        return {"HELIX_URL": f"https://{settings.ingress}", "HELIX_CA": ""}
    return {"HELIX_URL": f"https://localhost:{_port(found)}"}


def _port(found: Outputs) -> int:
    return found.services["control-plane"][0].ports["http"].port


def directions(stack: Stack, settings: Wanted, found: Outputs) -> None:
    """What to do with a stack that is in a cluster, or in files."""
    if settings.render:
        _say(f"the manifests are in `{settings.render}`, with their secrets: no cluster was asked")
        return
    ask = f"kubectl --namespace {settings.namespace}"
    _say(f"""
Inside the cluster the API answers at {found.url}. From here:

  {ask} port-forward service/control-plane {_port(found)}      # unless `ingress` publishes it
  eval "$(make -s env STACK={stack.name})"             # HELIX_URL, HELIX_CA and HELIX_API_KEY
  curl --cacert "$HELIX_CA" -H "Authorization: Bearer $HELIX_API_KEY" $HELIX_URL/v1/bigdata/health
  {ask} get pods
  make down STACK={stack.name}                         # stop everything, keep the claims
""")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


EPILOG = "`pulumi`, `exec` and the shells pass on what stands after `--`."
QUIET = ("--suppress-outputs", "--non-interactive", "--color", "never")


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Exit 1 with one sentence when the command cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.stack", description=__doc__, epilog=EPILOG
    )
    parser.add_argument("command", choices=[*ACTIONS, *WRAPPERS])
    parser.add_argument("--stack", default="local")
    parser.add_argument("--offset", type=int, help="added to every port of the catalogue")
    parser.add_argument(
        "--profile",
        choices=[profile.name for profile in CATALOG.profiles],
        help="the part of the catalogue to run, kept until another one is given",
    )
    ours, words = _parted(argv)
    arguments = parser.parse_args(ours)
    die_with_parent()
    stack = Stack(arguments.stack, command(env), state_folder(env))
    given = {"port_offset": arguments.offset, "profile": arguments.profile}
    settings = {key: str(value) for key, value in given.items() if value is not None}
    try:
        if arguments.command in WRAPPERS:
            return WRAPPERS[arguments.command](stack, words)
        ACTIONS[arguments.command](stack, settings)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except (KeyboardInterrupt, Stopped):
        sys.stderr.write(f"stopped; run `make {arguments.command}` again: it goes on from here\n")
        return INTERRUPTED
    return 0


def _parted(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is ours, and what stands after `--` for the command that is wrapped."""
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def _up(stack: Stack, settings: Mapping[str, str]) -> None:
    up(stack, settings)
    found, chosen = outputs(stack), stack.wanted()
    if chosen.substrate is Kind.KUBERNETES:
        directions(stack, chosen, found)
        return
    demo(stack, found)
    farewell(stack, found)


def _down(stack: Stack, _: Mapping[str, str]) -> None:
    down(stack)


def _purge(stack: Stack, _: Mapping[str, str]) -> None:
    purge(stack)


def _env(stack: Stack, _: Mapping[str, str]) -> None:
    found, chosen = outputs(stack), stack.wanted()
    values = environment(stack, found)
    if chosen.substrate is Kind.KUBERNETES:
        values |= way_in(chosen, found)
    for name, value in values.items():
        _say(f"export {name}={value}")


def _pulumi(stack: Stack, words: Sequence[str]) -> int:
    stack.run(*words)
    return 0


def _exec(stack: Stack, words: Sequence[str]) -> int:
    """A command of the user's with the stack's settings, address and key in its environment."""
    found = outputs(stack)
    settings = found.environment(vault(stack.home))
    return _wait(words, {**stack.pulumi.env, **settings, **environment(stack, found)})


def _shell(name: str) -> Callable[[Stack, Sequence[str]], int]:
    def ask(stack: Stack, words: Sequence[str]) -> int:
        from infra import shell  # noqa: PLC0415 - its drivers would delay every other command

        settings = from_env(outputs(stack).environment(vault(stack.home)))
        shell.SHELLS[name](settings, stack.pulumi.env, words)
        return 0

    return ask


WRAPPERS: dict[str, Callable[[Stack, Sequence[str]], int]] = {
    "pulumi": _pulumi,
    "exec": _exec,
    **{name: _shell(name) for name in ("psql", "ch", "cypher")},
}
ACTIONS: dict[str, Callable[[Stack, Mapping[str, str]], None]] = {
    "up": _up,
    "down": _down,
    "purge": _purge,
    "env": _env,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
