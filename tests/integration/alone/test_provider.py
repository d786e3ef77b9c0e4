"""The plugin's processes under a real supervisord, and its resources under the real Pulumi."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pulumi
import pytest
from pulumi import automation

from helix.adapters.probes import Check
from helix.errors import ConflictError, UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import ProbeKind
from infra import resources
from infra.artifacts import fetch
from infra.launch import Init, Launch
from infra.provider import layout, reaper, supervision
from infra.provider.client import Client
from infra.provider.launcher import living
from infra.provider.readiness import wait_ready
from infra.provider.runs import Run, Stopped, run_to_end
from infra.provider.secrets import vault
from tests.integration.loops import closed_loops
from tests.tree import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

HAPPENS_S_MAX = 20.0
BAD_END = "the disk is on fire"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def never() -> threading.Event:
    return threading.Event()


@dataclass
class Site:
    """A stack's folder with a supervisor of its own."""

    home: Path
    ports: dict[str, int] = field(default_factory=dict[str, int])

    def web(self, name: str, **more: object) -> Launch:
        """A server of files."""
        port = self.ports.setdefault(name, free_port())
        serve = ("-m", "http.server", "--bind", "127.0.0.1", str(port))
        return self.launch(name, (sys.executable, "-I", *serve), **more)

    def shell(self, name: str, script: str, **more: object) -> Launch:
        """A program that listens nowhere."""
        return self.launch(name, ("sh", "-c", script), **more)

    def launch(self, name: str, argv: tuple[str, ...], **more: object) -> Launch:
        port = self.ports.setdefault(name, free_port())
        check = Check(
            service=name,
            kind=ProbeKind.TEXT,
            host="127.0.0.1",
            port=port,
            start_s_max=int(HAPPENS_S_MAX),
        )
        fields = {"name": name, "argv": argv, "check": check, "cwd": str(self.home), **more}
        return Launch(**fields)  # pyright: ignore[reportArgumentType] - fields by name

    def up(self, launch: Launch) -> bool:
        changed = supervision.apply(self.home, launch, stopping=never())
        wait_ready(self.home, launch, stopping=never())
        return changed

    def state(self, name: str) -> supervision.State:
        found = supervision.state_of(self.home, name)
        assert found
        return found

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        until(lambda: living(pid) is None, what="its end")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    home = tmp_path / "h"
    supervision.ensure_running(home)
    yield Site(home)
    supervision.shutdown(home)


def test_what_is_killed_comes_back_and_is_counted(site: Site) -> None:
    launch = site.web("web")
    site.up(launch)
    first = site.state("web").pid

    site.kill(first)

    until(lambda: site.state("web").restarts == 1, what="its restart")
    wait_ready(site.home, launch, stopping=never())
    assert site.state("web").pid != first
    assert site.state("web").holds


def test_a_second_apply_is_a_no_op(site: Site) -> None:
    site.up(site.web("web"))
    pid = site.state("web").pid

    assert not site.up(site.web("web"))
    assert site.state("web").pid == pid


def test_a_changed_launch_restarts_exactly_its_process(site: Site) -> None:
    site.up(site.web("one"))
    site.up(site.web("two"))
    before = {name: site.state(name).pid for name in ("one", "two")}

    assert site.up(site.web("one", env={"MORE": "% \" ' ; # \n é"}))

    assert site.state("one").pid != before["one"]
    assert site.state("two").pid == before["two"]
    environ = Path(f"/proc/{site.state('one').pid}/environ").read_bytes()
    assert "MORE=% \" ' ; # \n é".encode() in environ.split(b"\0")


def test_a_file_the_launch_has_no_more_is_taken_away(site: Site) -> None:
    path = site.home / "conf" / "web.conf"
    site.up(site.web("web", files={str(path): "password=${secret:web}"}))
    written = path.read_text()

    site.up(site.web("web"))

    assert "secret" not in written
    assert not path.exists()


def test_a_program_that_dies_at_once_is_reported_with_its_log(site: Site) -> None:
    launch = site.shell("bad", f"echo {BAD_END}; exit 3")
    supervision.apply(site.home, launch, stopping=never())

    with pytest.raises(UnavailableError, match=r"given up on|keeps dying") as refused:
        wait_ready(site.home, launch, stopping=never())

    assert BAD_END in refused.value.message
    assert "Connection refused" in refused.value.message


def test_a_program_that_dies_again_and_again_is_a_crash_loop(site: Site) -> None:
    launch = site.shell("loop", f"sleep 1.3; echo {BAD_END}")
    supervision.apply(site.home, launch, stopping=never())

    with pytest.raises(UnavailableError, match="it keeps dying: 3 restarts") as refused:
        wait_ready(site.home, launch, stopping=never())

    assert BAD_END in refused.value.message
    assert site.state("loop").looping
    assert not site.state("loop").holds


def test_a_command_that_does_not_exist_is_named(site: Site) -> None:
    launch = site.launch("absent", ("no-such-program",))
    supervision.apply(site.home, launch, stopping=never())

    with pytest.raises(UnavailableError, match="cannot start `absent`: `no-such-program`"):
        wait_ready(site.home, launch, stopping=never())


def test_a_port_held_by_a_stranger_is_named_before_the_start(site: Site) -> None:
    launch = site.web("web")
    with (
        socket.create_server(("127.0.0.1", site.ports["web"])),
        pytest.raises(ConflictError, match=rf"pid {os.getpid()} \(`.*python"),
    ):
        supervision.apply(site.home, launch, stopping=never())


def test_children_of_a_program_that_died_do_not_run_twice(site: Site) -> None:
    launch = site.shell("parent", "sleep 1000 & exec sleep 1000")
    supervision.apply(site.home, launch, stopping=never())
    until(lambda: len(reaper.leftovers(site.home, "parent")) == 2, what="its children")

    site.kill(site.state("parent").pid)

    until(lambda: site.state("parent").restarts == 1, what="its restart")
    until(lambda: len(reaper.leftovers(site.home, "parent")) == 2, what="its children")


def test_leftovers_of_a_killed_supervisor_are_ended_and_nothing_runs_twice(site: Site) -> None:
    launch = site.web("web")
    site.up(launch)
    old = site.state("web").pid

    site.kill(Client(site.home).pid())
    assert living(old)
    assert supervision.ensure_running(site.home)

    assert living(old) is None
    assert site.up(launch)
    assert reaper.leftovers(site.home) == {site.state("web").pid}


def test_a_supervisor_whose_folder_was_removed_is_ended_too(site: Site) -> None:
    site.up(site.web("web"))
    lost = Client(site.home).pid()
    shutil.rmtree(layout.run(site.home))

    assert supervision.ensure_running(site.home)

    assert living(lost) is None
    assert reaper.leftovers(site.home) == set()


def test_an_interrupted_init_is_undone_and_done_again(site: Site) -> None:
    data = site.home / "data"
    done, slow = data / "done", site.home / "slow"
    slow.touch()
    # As a database's own: refuses a folder that is not empty.
    script = f'test -z "$(ls -A {data})" && touch {data}/part && '
    script += f"while test -e {slow}; do sleep 0.1; done; touch {done}"
    init = Init(argv=("sh", "-c", script), unless=str(done))
    launch = site.web("web", folders=(str(data),), init=(init,))

    started = subprocess.Popen(
        [sys.executable, "-c", APPLY, str(site.home), msgspec.json.encode(launch)], cwd=ROOT
    )
    until((data / "part").exists, what="a part of the data")
    site.kill(started.pid)
    slow.unlink()
    started.wait()
    (data / "half-made").touch()
    site.up(launch)

    assert done.exists()
    assert not (data / "half-made").exists()
    assert not site.up(launch)


APPLY = """
import sys, threading
from pathlib import Path
import msgspec
from infra.launch import Launch
from infra.provider import supervision
launch = msgspec.json.decode(sys.argv[2], type=Launch)
supervision.apply(Path(sys.argv[1]), launch, stopping=threading.Event())
"""


def test_data_made_elsewhere_is_not_made_again(site: Site) -> None:
    data = site.home / "data"
    data.mkdir()
    (data / "restored").touch()
    init = Init(argv=("false",), unless=str(data / "restored"))

    assert site.up(site.web("web", folders=(str(data),), init=(init,)))


def test_removing_keeps_data_and_log_and_the_others(site: Site) -> None:
    path = site.home / "conf" / "one.conf"
    site.up(site.web("one", files={str(path): "x"}, folders=(str(site.home / "data"),)))
    site.up(site.web("two"))

    supervision.remove(site.home, "one")

    assert [state.name for state in supervision.states(site.home)] == ["two"]
    assert site.state("two").holds
    assert not path.exists()
    assert (site.home / "data").exists()
    assert layout.log(site.home, "one").exists()


def test_a_shutdown_leaves_no_process_and_no_run_folder(site: Site) -> None:
    site.up(site.web("web"))
    supervision.apply(site.home, site.shell("other", "sleep 1000 & sleep 1000"), stopping=never())

    supervision.shutdown(site.home)

    assert reaper.leftovers(site.home) == set()
    assert not layout.run(site.home).exists()
    assert (site.home / "secret").exists()


def test_a_task_that_fails_shows_its_last_lines(site: Site) -> None:
    run = Run(name="bootstrap", argv=("sh", "-c", f"echo {BAD_END}; exit 7"), cwd="/")

    with pytest.raises(UnavailableError, match=f"status 7.*\n{BAD_END}"):
        run_to_end(site.home, run, stopping=never())


def test_a_task_asked_to_stop_ends_with_its_children(site: Site) -> None:
    stopping = threading.Event()
    run = Run(name="bootstrap", argv=("sh", "-c", "sleep 1000 & sleep 1000"), cwd="/")
    seen: list[Exception] = []

    def work() -> None:
        with contextlib.suppress(Stopped):
            run_to_end(site.home, run, stopping=stopping)
            seen.append(AssertionError("it ended by itself"))

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: len(reaper.leftovers(site.home)) == 3, what="its children")
    stopping.set()
    thread.join(HAPPENS_S_MAX)

    assert seen == []
    assert reaper.leftovers(site.home) == set()


def pulumi_folder() -> str | None:
    """Where the CLI is: on PATH, or made by the toolchain before."""
    if found := shutil.which("pulumi"):
        return str(Path(found).parent)
    artifact, cache = CATALOG.artifact("pulumi"), fetch.cache_folder(os.environ)  # noqa: TID251 - where this user's builds are
    if fetch.complete(artifact, cache):
        return str(fetch.path(artifact, cache) / "bin")
    return None


@dataclass
class Program:
    """A stack of two servers, a secret and a task; what a test turns is a field."""

    site: Site
    env: dict[str, str] = field(default_factory=dict[str, str])
    version: int = 1
    script: str = "echo done"
    serve: bool = True

    def __call__(self) -> None:
        home = str(self.site.home)
        supervisor = resources.Supervisor("supervisor", home=home)
        password = resources.Secret("password", home=home, secret="web", version=self.version)
        one = resources.Process(
            "one",
            home=home,
            launch=self.one(),
            secrets={"web": password.fingerprint},
            opts=pulumi.ResourceOptions(depends_on=[supervisor]),
        )
        two = resources.Process(
            "two",
            home=home,
            launch=self.site.web("two"),
            opts=pulumi.ResourceOptions(depends_on=[one]),
        )
        task = resources.Task(
            "bootstrap",
            home=home,
            argv=["sh", "-c", self.script],
            cwd=home,
            opts=pulumi.ResourceOptions(depends_on=[two]),
        )
        pulumi.export("done", task.done)
        pulumi.export("log", one.log_file)
        pulumi.export("fingerprint", password.fingerprint)

    def one(self) -> Launch:
        env = {"PASSWORD": "${secret:web}", **self.env}
        if self.serve:
            return self.site.web("one", env=env)
        return self.site.shell("one", f"echo {BAD_END}; exit 3", env=env)

    def pids(self) -> dict[str, int]:
        return {state.name: state.pid for state in supervision.states(self.site.home)}


def counts(summary: automation.UpdateSummary) -> dict[str, int]:
    return {str(operation): count for operation, count in (summary.resource_changes or {}).items()}


@dataclass
class Stack:
    program: Program
    pulumi: automation.Stack

    def up(self) -> dict[str, int]:
        """How many resources were made, changed and left alone."""
        return counts(self.pulumi.up().summary)

    def refresh(self) -> dict[str, int]:
        return counts(self.pulumi.refresh().summary)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closed_loops(monkeypatch):
        yield


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loops: None) -> Iterator[Stack]:
    del loops  # only have to be closed
    if not (folder := pulumi_folder()):
        pytest.fail("no `pulumi` on PATH, and none built yet: `make up` builds it")
    monkeypatch.setenv("PATH", folder, prepend=os.pathsep)
    for name in ("state", "pulumi", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "Pulumi.yaml").write_text(
        "name: unit\nruntime: python\nplugins:\n  providers:\n"
        f"    - name: helix\n      path: {ROOT / 'infra' / 'provider'}\n"
    )
    program = Program(Site(tmp_path / "h"))
    made = automation.create_or_select_stack(
        "test",
        project_name="unit",
        program=program,
        opts=automation.LocalWorkspaceOptions(
            work_dir=str(tmp_path / "work"),
            env_vars={
                "PULUMI_HOME": str(tmp_path / "pulumi"),
                "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
                "PULUMI_CONFIG_PASSPHRASE": "",
                "PULUMI_PYTHON_CMD": sys.executable,
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            },
        ),
    )
    yield Stack(program, made)
    made.destroy()
    supervision.shutdown(program.site.home)


def test_a_stack_goes_up_changes_one_process_and_goes_down(stack: Stack) -> None:
    program = stack.program
    assert stack.up() == {"create": 6}
    assert stack.up() == {"same": 6}

    before = program.pids()
    program.env = {"MORE": "1"}
    assert stack.up() == {"same": 5, "update": 1}
    assert program.pids()["one"] != before["one"]
    assert program.pids()["two"] == before["two"]

    program.version = 2
    assert stack.up() == {"same": 4, "update": 2}

    stack.pulumi.destroy()
    assert reaper.leftovers(program.site.home) == set()
    assert not layout.run(program.site.home).exists()


def test_no_secret_is_in_the_state(stack: Stack) -> None:
    stack.up()
    value = vault(stack.program.site.home)("web")

    environ = Path(f"/proc/{stack.program.pids()['one']}/environ").read_bytes()
    assert f"PASSWORD={value}".encode() in environ.split(b"\0")
    assert value not in json.dumps(stack.pulumi.export_stack().deployment)


def test_a_process_that_came_back_is_no_difference(stack: Stack) -> None:
    stack.up()

    stack.program.site.kill(stack.program.pids()["one"])

    assert stack.refresh() == {"same": 6}
    assert stack.up() == {"same": 6}


def test_a_stopped_process_shows_and_the_next_up_starts_it(stack: Stack) -> None:
    stack.up()
    Client(stack.program.site.home).stop("one")

    assert stack.refresh() == {"same": 5, "update": 1}
    assert stack.up() == {"same": 5, "update": 1}
    assert stack.up() == {"same": 6}


def test_a_killed_supervisor_is_mended_by_a_plain_up(stack: Stack) -> None:
    stack.up()
    home = stack.program.site.home
    stack.program.site.kill(Client(home).pid())

    assert stack.up() == {"same": 3, "update": 3}
    assert reaper.leftovers(home) == set(stack.program.pids().values())
    assert stack.refresh() == {"same": 6}


def test_a_process_that_cannot_start_is_reported_and_then_repaired(stack: Stack) -> None:
    stack.program.serve = False
    with pytest.raises(automation.CommandError, match=BAD_END):
        stack.up()
    assert supervision.states(stack.program.site.home) == []

    stack.program.serve = True
    stack.up()
    assert stack.up() == {"same": 6}


def test_a_task_runs_again_when_it_changes_and_until_it_succeeds(stack: Stack) -> None:
    stack.program.script = f"echo {BAD_END}; exit 1"
    with pytest.raises(automation.CommandError, match=BAD_END):
        stack.up()

    stack.program.script = "echo better"
    assert stack.up() == {"create": 1, "same": 5}
    assert "better" in layout.log(stack.program.site.home, "bootstrap").read_text()
