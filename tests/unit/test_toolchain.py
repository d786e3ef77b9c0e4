"""Setting a machine up: findings are told, jobs go on beside each other, Pulumi is at hand."""

import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import language_pb2

from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Locked, Maven
from infra.artifacts.commands import Report
from infra.toolchain import bootstrap, java, ports, preflight, programs, pulumi
from infra.toolchain.host import executor, langhost
from infra.toolchain.jobs import Board, Job, last_line
from infra.toolchain.places import state_folder
from infra.toolchain.setup import LOCK, stamp

MACHINE = preflight.Machine(
    memory_mib=32_000,
    available_mib=30_000,
    disk_mib=100_000,
    java="/usr/bin/java",
    go="/usr/bin/go",
)
JARS = Maven(name="jars", version="1", coordinates=("g:a:1",), sources=("A.java",))


def changed(**facts: Any) -> preflight.Machine:
    return preflight.Machine(**{**preflight_facts(), **facts})


def preflight_facts() -> dict[str, Any]:
    return {name: getattr(MACHINE, name) for name in MACHINE.__struct_fields__}


def program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def test_the_first_step_installs_what_the_lock_file_pins() -> None:
    entries = bootstrap.pinned(LOCK.read_text())

    assert [entry.split("==")[0] for entry in entries] == ["msgspec", "uv"]
    for entry in entries:
        assert entry.splitlines()[-1].strip().startswith("--hash=sha256:")
        assert not entry.endswith("\\")


def test_the_version_is_read_from_an_entry_of_the_lock_file() -> None:
    assert bootstrap.version_of("uv==1.2.3 \\\n    --hash=sha256:00") == "1.2.3"


def test_an_unsupported_python_says_which_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", "")

    with pytest.raises(SystemExit, match=r"Python 3\.11 to 3\.14 is needed"):
        bootstrap.use_supported_python()


def test_the_first_step_reads_on_old_pythons() -> None:
    source = Path(bootstrap.__file__).read_text()

    compile(source, "bootstrap.py", "exec", dont_inherit=True)
    assert "match " not in source.replace("match:", "")
    assert "from __future__ import annotations" in source


def test_another_lock_file_is_another_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a==1")
    two.write_text("a==2")

    assert stamp(one) != stamp(two)


def never() -> None:
    raise AssertionError("nobody interrupted")


@pytest.fixture
def interruptible() -> Generator[None]:
    """A process started in the background may have been told to ignore the interrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_the_jobs_and_starts_no_more(tmp_path: Path) -> None:
    stopped = threading.Event()
    main = threading.get_ident()
    done: list[str] = []

    def work(report: Report) -> None:
        report("waiting")
        signal.pthread_kill(main, signal.SIGINT)
        assert stopped.wait(timeout=10)
        done.append("a")

    jobs = [
        Job("a", work, tmp_path / "log"),
        Job("b", lambda _: done.append("b"), tmp_path / "log"),
    ]

    with pytest.raises(KeyboardInterrupt):
        Board(lambda _: None, stop=stopped.set).run([jobs])
    assert done == ["a"]


def test_the_jobs_of_a_lane_follow_each_other(tmp_path: Path) -> None:
    done: list[str] = []
    lane = [
        Job(name, lambda _, name=name: done.append(name), tmp_path / "log") for name in ("a", "b")
    ]

    assert Board(lambda _: None, stop=never).run([lane]) == {}
    assert done == ["a", "b"]


def test_lanes_go_on_beside_each_other(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=10)

    lanes = [[Job(name, lambda _: meeting.wait(), tmp_path / "log")] for name in ("a", "b")]

    assert Board(lambda _: None, stop=never).run(lanes) == {}


def test_a_failed_job_lets_the_others_finish_and_is_named(tmp_path: Path) -> None:
    done: list[str] = []

    def fail(_: Report) -> None:
        raise UnavailableError("a", "the reason")

    jobs = [
        Job("a", fail, tmp_path / "log"),
        Job("b", lambda _: done.append("b"), tmp_path / "log"),
    ]

    assert Board(lambda _: None, stop=never).run([jobs]) == {"a": "the reason"}
    assert done == ["b"]


def test_a_long_job_is_heard_of(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("compiling\n")
    heard = threading.Event()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("..."):
            heard.set()

    def work(report: Report) -> None:
        report("building")
        assert heard.wait(timeout=10)

    Board(say, stop=never, heartbeat_s=0.01).run([[Job("long", work, log)]])

    assert any("building: compiling" in line for line in lines if line.startswith("..."))


def test_the_last_line_of_a_log_is_its_last_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nlast\n\n")

    assert last_line(log) == ": last"
    assert last_line(tmp_path / "absent") == ""


def test_a_machine_that_fits_has_nothing_to_mend() -> None:
    found = preflight.findings(MACHINE, CATALOG, CATALOG.artifacts)

    assert {finding.level for finding in found} == {preflight.Level.OK}


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"available_mib": 2_000}, "the whole local stack takes"),
        ({"disk_mib": 3_000}, "make room"),
        ({"java": ""}, "the servers get one from a Python package"),
    ],
)
def test_what_is_short_is_one_clear_line(facts: dict[str, Any], text: str) -> None:
    found = preflight.findings(changed(**facts), CATALOG, CATALOG.artifacts)

    warnings = [finding.text for finding in found if finding.level == preflight.Level.WARN]
    assert len(warnings) == 1
    assert text in warnings[0]


def test_a_missing_program_is_named_with_its_system_package() -> None:
    machine = changed(lacking=(programs.program("mvn"),))

    found = preflight.findings(machine, CATALOG, [JARS])

    assert [finding.package for finding in found if finding.package] == ["maven"]


def test_programs_that_nothing_needs_any_more_are_not_asked_for() -> None:
    locked = Locked(name="spark", version="1", package="pyspark")

    assert [tool.name for tool in preflight.builders([JARS])] == ["mvn", "javac"]
    assert preflight.builders([locked]) == []


def test_memory_is_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       2097152 kB\nMemAvailable:   1048576 kB\n")

    assert preflight.meminfo(table) == {"MemTotal": 2048, "MemAvailable": 1024}


def test_every_local_port_is_moved_by_the_offset() -> None:
    assert ports.wanted(CATALOG, 1000) == {
        number + 1000: service for number, service in ports.wanted(CATALOG, 0).items()
    }


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_401"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("nothing of the kind", 0),
    ],
)
def test_a_javas_major_version_is_what_it_says(tmp_path: Path, said: str, major: int) -> None:
    command = program(tmp_path / "java", f"#!/bin/sh\necho '{said}' >&2\n")

    assert java.java_major(command) == major


@pytest.mark.parametrize(("version", "fits"), [("11", False), ("17", True), ("25", False)])
def test_a_java_the_servers_are_not_made_for_is_left_alone(
    tmp_path: Path, version: str, fits: bool
) -> None:
    said = f"#!/bin/sh\necho 'openjdk version \"{version}.0.1\"' >&2\n"
    command = program(tmp_path / "bin" / "java", said)

    found = java.machine_java({"JAVA_HOME": str(tmp_path), "PATH": ""})

    assert found == (command if fits else None)


def test_pulumis_own_release_is_used_as_it_is(tmp_path: Path) -> None:
    release = program(tmp_path / "bin" / "pulumi", "#!/bin/sh\n")
    env = {"PATH": str(release.parent), "HOME": str(tmp_path), "PULUMI_BACKEND_URL": "file://x"}

    found = pulumi.command({**env, "PULUMI_CONFIG_PASSPHRASE": ""})

    assert found.argv0 == str(release)
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in found.env


def test_what_was_built_here_is_not_taken_for_the_release(tmp_path: Path) -> None:
    built = program(tmp_path / ".cache" / "helix" / "pulumi-1" / "bin" / "pulumi", "#!/bin/sh\n")

    assert pulumi.official({"PATH": str(built.parent), "HOME": str(tmp_path)}) is None


def test_the_command_lies_beside_the_language_host(tmp_path: Path) -> None:
    binary = program(tmp_path / "made" / "pulumi", "#!/bin/sh\n")

    folder = pulumi.host(binary, tmp_path)

    plugins = {launcher.name for launcher in pulumi.launchers()}
    assert "pulumi-resource-docker" in plugins
    assert {file.name for file in folder.iterdir()} == {"pulumi", *pulumi.HOST_FILES, *plugins}
    assert (folder / "pulumi-language-python").stat().st_mode & 0o111
    assert pulumi.host(binary, tmp_path) == folder
    assert {entry.name for entry in tmp_path.iterdir()} == {"made", folder.name}


def test_the_passphrase_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = pulumi.passphrase(tmp_path)
    text = file.read_text()

    assert pulumi.passphrase(tmp_path).read_text() == text
    assert len(text) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_state_the_user_chose_stands(tmp_path: Path) -> None:
    chosen = {"PULUMI_BACKEND_URL": f"file://{tmp_path}", "PULUMI_CONFIG_PASSPHRASE": "mine"}

    assert pulumi.state(chosen) == {"PULUMI_BACKEND_URL": f"file://{tmp_path}"}


def test_a_users_state_is_in_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert state_folder({"HOME": "/home/ann"}) == Path("/home/ann/.local/state/helix")
    assert state_folder({"XDG_STATE_HOME": "/data"}) == Path("/data/helix")


def test_the_systems_state_is_in_the_systems_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)

    assert state_folder({"HOME": "/root"}) == Path("/var/lib/helix")


@pytest.mark.parametrize(
    ("status", "error", "bail"),
    [(0, "", False), (32, "", True), (3, "exited with code 3", False), (-9, "signal 9", False)],
)
def test_how_a_program_ended_is_told(status: int, error: str, bail: bool) -> None:
    told = langhost.outcome(status)

    assert error in told.error
    assert told.bail is bail
    assert bool(told.error) is bool(error)


def test_a_program_without_its_own_environment_runs_in_ours() -> None:
    assert langhost.interpreter(language_pb2.ProgramInfo(), "/anywhere") == sys.executable


def test_an_environment_that_does_not_exist_is_named(tmp_path: Path) -> None:
    info = language_pb2.ProgramInfo()
    info.options.update({"virtualenv": "absent"})

    with pytest.raises(FileNotFoundError, match="absent/bin/python` does not exist"):
        langhost.interpreter(info, str(tmp_path))


def test_a_trace_begins_with_the_programs_own_lines(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("def broken():\n    return 1 / 0\n")
    space: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), space)

    with pytest.raises(ZeroDivisionError) as caught:
        space["broken"]()
    text = executor.trace(caught.value, tmp_path)

    assert text.startswith(f'  File "{file}", line 2')
    assert text.endswith("ZeroDivisionError: division by zero\n")
