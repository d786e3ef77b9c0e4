"""Who holds a lock, and whether anybody still waits for it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from infra.orphans import holder, is_abandoned
from infra.provider.launcher import end

SLEEP_S = "30"


@pytest.fixture
def pulumi(tmp_path: Path) -> Path:
    """A program of that name that does nothing."""
    found = shutil.which("sleep")
    assert found is not None
    return Path(shutil.copy(found, tmp_path / "pulumi"))


@pytest.fixture
def running(pulumi: Path) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen([pulumi, SLEEP_S]) as process:
        wait_for_name(process.pid)
        yield process
        process.kill()


def wait_for_name(pid: int) -> None:
    """Until the child has become the program."""
    deadline = time.monotonic() + 5
    while b"pulumi" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline


def lock_of(folder: Path, pid: int) -> Path:
    path = folder / "lock.json"
    path.write_text(f'{{"pid": {pid}, "username": "root", "hostname": "here"}}')
    return path


def test_a_living_pulumi_holds_its_lock(tmp_path: Path, running: subprocess.Popen[bytes]) -> None:
    assert holder(lock_of(tmp_path, running.pid)) == running.pid


def test_a_dead_pulumi_holds_nothing(tmp_path: Path, running: subprocess.Popen[bytes]) -> None:
    running.kill()
    running.wait()

    assert holder(lock_of(tmp_path, running.pid)) == 0


def test_another_program_with_its_pid_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert holder(lock_of(tmp_path, other.pid)) == 0
        other.kill()


def test_an_unreadable_lock_is_held_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    path.write_text("{")

    assert holder(path) == 0


def test_a_child_of_ours_is_not_abandoned(running: subprocess.Popen[bytes]) -> None:
    assert not is_abandoned(running.pid)


def test_an_ended_process_holds_nothing(tmp_path: Path, running: subprocess.Popen[bytes]) -> None:
    lock = lock_of(tmp_path, running.pid)
    end(lambda: [pid] if (pid := holder(lock)) else [])

    assert holder(lock) == 0
