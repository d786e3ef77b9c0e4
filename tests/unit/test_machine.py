"""What figures say of where they were measured."""

import subprocess
from pathlib import Path

from helix.adapters import machine


def test_a_machine_has_a_name_cores_and_memory() -> None:
    found = machine.host()

    assert found.cpu
    assert found.cores >= 1
    assert machine.memory_bytes() > 0


def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    assert (machine.commit(tmp_path), machine.edited(tmp_path)) == ("", False)


def test_a_new_file_makes_a_tree_an_edited_one(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    before = machine.edited(tmp_path)
    (tmp_path / "new").touch()

    assert (before, machine.edited(tmp_path)) == (False, True)
