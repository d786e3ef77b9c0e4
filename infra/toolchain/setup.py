"""Everything a new machine needs, side by side, again at no cost when it is all there."""

import hashlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from uv import find_uv_bin

from helix.topology.catalog import CATALOG
from helix.topology.model import Artifact, Debian, Go, Locked, Maven, Wheels
from infra.artifacts import debian, fetch
from infra.artifacts.commands import Commands, Report
from infra.artifacts.workshop import Workshop
from infra.toolchain import java, preflight, programs, pulumi
from infra.toolchain.jobs import Board, Job
from infra.toolchain.programs import Target

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
INTERRUPTED = 130
STAMP = Path(sys.prefix) / ".helix-setup"


class Setup:
    """One run of the set-up on this machine."""

    def __init__(self, env: Mapping[str, str], say: Report, target: Target = Target.UP) -> None:
        self._target = target
        self._env = env
        self._say = say
        self._cache = fetch.cache_folder(env)
        self._commands = Commands(env)

    def run(self, *, python_only: bool = False) -> int:
        """0 when everything is there, 1 with a summary when not, 130 when interrupted."""
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.default_int_handler)
        serverless = python_only or self._target is Target.UNIT
        todo = [] if serverless else self._todo()
        try:
            failed = self._prepare(todo, python_only=python_only)
            failed = failed or self._board().run(self._lanes(todo))
        except KeyboardInterrupt:
            self._say("stopped; run `make setup` again: it goes on from here")
            return INTERRUPTED
        for name, reason in failed.items():
            self._say(f"\n{name}: {reason}")
        if failed:
            self._say(f"\nnot set up: {', '.join(failed)}; run `make setup` again to go on")
            return 1
        self._say("everything is set up" if not python_only else "python is set up")
        return 0

    def _todo(self) -> list[Artifact]:
        """The artifacts that are not there; an official Pulumi needs none of ours."""
        present = {"pulumi"} if pulumi.official(self._env) else set[str]()
        return [
            artifact
            for artifact in CATALOG.artifacts
            if artifact.name not in present and not fetch.complete(artifact, self._cache)
        ]

    def _prepare(self, todo: Sequence[Artifact], *, python_only: bool) -> dict[str, str]:
        """Say what the machine has and install the programs it lacks; name -> why it failed.

        Programs are looked for even where every artifact is there: they come with the machine,
        artifacts with the cache.
        """
        wanted = [] if python_only else programs.needed(self._target)
        wanted += preflight.builders(todo)
        if not todo and not programs.lacking(wanted, self._commands):
            return {}
        machine = preflight.measure(self._commands, self._env, self._cache, wanted)
        for finding in preflight.findings(machine, CATALOG, todo):
            self._say(f"{finding.level:5} {finding.text}")
        if not machine.lacking:
            return {}
        # What the catalogue lacks comes in the same installation: the lists are read once.
        servers = debian.missing([one for one in todo if isinstance(one, Debian)])
        install = partial(self._install, [*programs.packages(machine.lacking), *servers])
        return self._board().run([[self._job("programs", install, log="debian")]])

    def _install(self, packages: Sequence[str], report: Report) -> None:
        debian.install(packages, self._shop(report))

    def _lanes(self, todo: Sequence[Artifact]) -> list[list[Job]]:
        """What is to be done: Go builds one after another, as all of Maven, everything else beside.

        Flink's wheels wait for their jars in Maven's lane: they follow it.
        """
        packages = [artifact for artifact in todo if isinstance(artifact, Debian)]
        return [
            [*self._python(), *self._each(todo, Locked)],
            [self._job("debian", partial(self._debian, packages))] if packages else [],
            [*self._each(todo, Maven), *self._each(todo, Wheels), *self._java()],
            self._each(todo, Go),
        ]

    def _python(self) -> list[Job]:
        wanted = stamp(LOCK)
        if STAMP.exists() and STAMP.read_text() == wanted:
            STAMP.touch()  # newer than the lock file, as `make` compares them
            return []
        return [self._job("python", partial(self._sync, wanted))]

    def _sync(self, wanted: str, report: Report) -> None:
        report("installing the locked packages")
        command = (find_uv_bin(), "pip", "sync", "--require-hashes", "--python", sys.executable)
        self._commands.run((*command, LOCK), log=self._shop(report).log("python"))
        STAMP.write_text(wanted)

    def _java(self) -> list[Job]:
        if java.machine_java(self._env) is not None:
            return []
        return [self._job("java", lambda report: java.java_command(self._env, report=report))]

    def _debian(self, packages: Sequence[Debian], report: Report) -> None:
        debian.ensure(packages, self._shop(report))

    def _each(self, todo: Sequence[Artifact], kind: type[Artifact]) -> list[Job]:
        chosen = [artifact for artifact in todo if isinstance(artifact, kind)]
        return [self._job(artifact.name, partial(self._ensure, artifact)) for artifact in chosen]

    def _ensure(self, artifact: Artifact, report: Report) -> None:
        fetch.ensure(artifact, cache=self._cache, report=report, commands=self._commands)

    def _board(self) -> Board:
        return Board(self._say, stop=self._commands.stop)

    def _job(self, name: str, work: Callable[[Report], object], *, log: str = "") -> Job:
        return Job(name, work, self._shop(self._say).log(log or name))

    def _shop(self, report: Report) -> Workshop:
        return Workshop(self._cache, report, self._commands)


def stamp(lock: Path) -> str:
    """What the environment was made from: the lock file and the interpreter."""
    digest = hashlib.sha256(lock.read_bytes())
    digest.update(f"{sys.version} {sys.base_prefix}".encode())
    return digest.hexdigest()
