"""The five resources: what each promises, does and finds, in plain values."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from helix.errors import InvalidError, UnavailableError
from helix.topology.model import Record
from infra.launch import Launch, secret
from infra.provider import layout, secrets, supervision
from infra.provider.layout import home_at
from infra.provider.programs import NAME, refused
from infra.provider.readiness import wait_ready
from infra.provider.runs import Run, Stopped, run_to_end

Outputs = dict[str, object]


class Store(Protocol):
    """Where programs come from."""

    def ensure(self, name: str, report: Callable[[str], None]) -> Path:
        """The folder of the artifact, made if it is not there."""
        ...

    def find(self, name: str) -> Path | None:
        """The folder of the artifact, None while it is not made."""
        ...


@dataclass(frozen=True)
class Work:
    """What an operation may use beside its inputs."""

    stopping: threading.Event
    store: Store
    report: Callable[[str], None] = lambda _: None


Inputs_contra = TypeVar("Inputs_contra", contravariant=True)


class Kind(Protocol[Inputs_contra]):
    """One type of resource. An output that is false is a promise not kept: `up` mends it."""

    @property
    def inputs(self) -> type[Record]: ...

    @property
    def outputs(self) -> dict[str, type]: ...

    @property
    def replaces(self) -> tuple[str, ...]:
        """The inputs whose change makes another resource."""
        ...

    def identity(self, wanted: Inputs_contra) -> str: ...

    def problem(self, wanted: Inputs_contra) -> tuple[str, str] | None:
        """The input that cannot work, and why."""
        ...

    def create(self, wanted: Inputs_contra, work: Work) -> Outputs: ...

    def update(self, wanted: Inputs_contra, work: Work) -> Outputs: ...

    def read(self, wanted: Inputs_contra, work: Work) -> Outputs | None:
        """What is there now; None when it is gone."""
        ...

    def delete(self, wanted: Inputs_contra, work: Work) -> None: ...


def _home_problem(home: str) -> tuple[str, str] | None:
    try:
        home_at(home)
    except InvalidError as error:
        return "home", error.message
    return None


class SupervisorInputs(Record, frozen=True):
    home: str


class Supervisor:
    """The one parent of a stack's processes."""

    inputs = SupervisorInputs
    outputs: dict[str, type] = {"running": bool}
    replaces = ("home",)

    def identity(self, wanted: SupervisorInputs) -> str:
        return wanted.home

    def problem(self, wanted: SupervisorInputs) -> tuple[str, str] | None:
        return _home_problem(wanted.home)

    def create(self, wanted: SupervisorInputs, work: Work) -> Outputs:
        work.report("starting the supervisor")
        supervision.ensure_running(home_at(wanted.home))
        return {"running": True}

    update = create

    def read(self, wanted: SupervisorInputs, work: Work) -> Outputs | None:  # noqa: ARG002 - one shape for all
        return {"running": supervision.is_running(home_at(wanted.home))}

    def delete(self, wanted: SupervisorInputs, work: Work) -> None:
        work.report("ending all processes")
        supervision.shutdown(home_at(wanted.home))


class ArtifactInputs(Record, frozen=True):
    name: str
    digest: str  # of everything it is made from: another digest is fetched again


class Artifact:
    """A program fetched and verified; the cache outlives the resource."""

    inputs = ArtifactInputs
    outputs: dict[str, type] = {"path": str}
    replaces = ()

    def identity(self, wanted: ArtifactInputs) -> str:
        return wanted.name

    def problem(self, wanted: ArtifactInputs) -> tuple[str, str] | None:  # noqa: ARG002 - one shape for all
        return None

    def create(self, wanted: ArtifactInputs, work: Work) -> Outputs:
        return {"path": str(work.store.ensure(wanted.name, work.report))}

    update = create

    def read(self, wanted: ArtifactInputs, work: Work) -> Outputs | None:
        path = work.store.find(wanted.name)
        return {"path": str(path)} if path else None

    def delete(self, wanted: ArtifactInputs, work: Work) -> None:
        """The cache is kept: other stacks use it."""


class ProcessInputs(Record, frozen=True):
    home: str
    launch: Launch
    secrets: dict[str, str] = {}  # name -> fingerprint: another secret restarts the process


class Process:
    """A server that runs, is ready, and comes back when it dies."""

    inputs = ProcessInputs
    outputs: dict[str, type] = {"running": bool, "logFile": str}
    replaces = ("home", "launch.name")

    def identity(self, wanted: ProcessInputs) -> str:
        return wanted.launch.name

    def problem(self, wanted: ProcessInputs) -> tuple[str, str] | None:
        launch = wanted.launch
        if reason := refused(launch.name, [launch.argv, *(init.argv for init in launch.init)]):
            return "launch", reason
        return _home_problem(wanted.home)

    def create(self, wanted: ProcessInputs, work: Work) -> Outputs:
        try:
            return self._make_ready(wanted, work)
        except BaseException:  # a half-made one would be in nobody's state
            supervision.remove(home_at(wanted.home), wanted.launch.name)
            raise

    def update(self, wanted: ProcessInputs, work: Work) -> Outputs:
        try:
            return self._make_ready(wanted, work)
        except Stopped:
            raise  # it goes on starting; the next `up` finds it
        except BaseException:  # no crash loop stays behind
            supervision.stop(home_at(wanted.home), wanted.launch.name)
            raise

    def _make_ready(self, wanted: ProcessInputs, work: Work) -> Outputs:
        home = home_at(wanted.home)
        work.report("starting")
        supervision.apply(home, wanted.launch, stopping=work.stopping)
        wait_ready(home, wanted.launch, stopping=work.stopping, report=work.report)
        return {"running": True, "logFile": str(layout.log(home, wanted.launch.name))}

    def read(self, wanted: ProcessInputs, work: Work) -> Outputs | None:  # noqa: ARG002 - one shape for all
        home = home_at(wanted.home)
        try:
            state = supervision.state_of(home, wanted.launch.name)
        except UnavailableError:
            state = None
        running = state is not None and state.holds
        return {"running": running, "logFile": str(layout.log(home, wanted.launch.name))}

    def delete(self, wanted: ProcessInputs, work: Work) -> None:
        work.report("stopping")
        supervision.remove(home_at(wanted.home), wanted.launch.name)


class TaskInputs(Record, frozen=True):
    home: str
    name: str
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = {}
    triggers: dict[str, str] = {}  # any difference runs it again


class Task:
    """A command that has run to its end; it must bear being run again."""

    inputs = TaskInputs
    outputs: dict[str, type] = {"done": bool}
    replaces = ("home", "name")

    def identity(self, wanted: TaskInputs) -> str:
        return wanted.name

    def problem(self, wanted: TaskInputs) -> tuple[str, str] | None:
        reason = refused(wanted.name, [wanted.argv])
        return ("argv" if NAME.fullmatch(wanted.name) else "name", reason) if reason else None

    def create(self, wanted: TaskInputs, work: Work) -> Outputs:
        home = home_at(wanted.home)
        lookup = secrets.vault(home)
        env = {key: secrets.resolve(value, lookup) for key, value in wanted.env.items()}
        work.report("running")
        run = Run(name=wanted.name, argv=wanted.argv, cwd=wanted.cwd, env=env)
        run_to_end(home, run, stopping=work.stopping)
        return {"done": True}

    update = create

    def read(self, wanted: TaskInputs, work: Work) -> Outputs | None:  # noqa: ARG002 - one shape for all
        return {"done": True}

    def delete(self, wanted: TaskInputs, work: Work) -> None:
        """What a task did stays done."""


class SecretInputs(Record, frozen=True):
    home: str
    name: str
    version: int = 1  # one more makes another secret


class Secret:
    """A password derived from the stack's master secret; its value is in no state."""

    inputs = SecretInputs
    outputs: dict[str, type] = {"reference": str, "fingerprint": str}
    replaces = ("home", "name")

    def identity(self, wanted: SecretInputs) -> str:
        return wanted.name

    def problem(self, wanted: SecretInputs) -> tuple[str, str] | None:
        if not secrets.REFERENCE.fullmatch(secret(wanted.name)):
            return "name", f"is `{wanted.name}`; use letters, digits, `_`, `.` and `-`"
        return _home_problem(wanted.home)

    def create(self, wanted: SecretInputs, work: Work) -> Outputs:  # noqa: ARG002 - one shape for all
        home = home_at(wanted.home)
        secrets.set_version(home, wanted.name, wanted.version)
        return self._outputs(wanted)

    update = create

    def read(self, wanted: SecretInputs, work: Work) -> Outputs | None:  # noqa: ARG002 - one shape for all
        return self._outputs(wanted) if secrets.exists(home_at(wanted.home)) else None

    def _outputs(self, wanted: SecretInputs) -> Outputs:
        master = secrets.master(home_at(wanted.home))
        value = secrets.derive(master, wanted.name, wanted.version)
        return {"reference": secret(wanted.name), "fingerprint": secrets.fingerprint(value)}

    def delete(self, wanted: SecretInputs, work: Work) -> None:
        """The data it opens is kept, and so is the secret."""


KINDS: dict[str, Kind[Any]] = {
    "helix:local:Supervisor": Supervisor(),
    "helix:local:Artifact": Artifact(),
    "helix:local:Process": Process(),
    "helix:local:Task": Task(),
    "helix:local:Secret": Secret(),
}
