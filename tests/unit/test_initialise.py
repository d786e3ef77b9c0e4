"""Commands before a start, without a supervisor."""

import threading
from pathlib import Path

import pytest

from helix.adapters.probes import Check
from helix.errors import InvalidError
from helix.topology.model import ProbeKind
from infra.launch import Init, Launch
from infra.provider import layout, programs
from infra.provider.initialise import initialise


def launched(folder: Path, **more: object) -> Launch:
    check = Check(service="web", kind=ProbeKind.TEXT, host="127.0.0.1", port=1, start_s_max=1)
    fields = {"name": "web", "argv": ("true",), "check": check, "cwd": str(folder), **more}
    return Launch(**fields)  # pyright: ignore[reportArgumentType] - fields by name


def counted(path: Path, **more: object) -> Init:
    script = f"printf . >>{path}"
    return Init(argv=("sh", "-c", script), **more)  # pyright: ignore[reportArgumentType] - the same


def test_a_command_without_end_mark_runs_before_every_start(tmp_path: Path) -> None:
    layout.make(tmp_path / "h")
    ran = tmp_path / "ran"
    launch = launched(tmp_path, init=(counted(ran),))

    for _ in range(2):
        initialise(tmp_path / "h", launch, stopping=threading.Event())

    assert ran.read_text() == ".."


def test_a_command_with_end_mark_runs_once(tmp_path: Path) -> None:
    layout.make(tmp_path / "h")
    ran = tmp_path / "ran"
    launch = launched(tmp_path, init=(counted(ran, unless=str(ran)),))

    for _ in range(2):
        initialise(tmp_path / "h", launch, stopping=threading.Event())

    assert ran.read_text() == "."


def test_a_process_of_this_machine_is_given_no_binaries(tmp_path: Path) -> None:
    launch = launched(tmp_path, binaries={"/etc/store.p12": "AAAA"})

    with pytest.raises(InvalidError, match="`web` has `binaries`"):
        programs.resolved(launch, str)
