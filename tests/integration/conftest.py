"""Every test of this folder talks to real servers, and needs the programs of its part."""

from pathlib import Path

import pytest

from infra.toolchain.programs import Target, needed

HERE = Path(__file__).parent
AS_ROOT = {"fleet"}  # engines and network namespaces


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what each test needs: the programs of the target that runs its part."""
    for item in items:
        if HERE in item.path.parents:
            part = item.path.relative_to(HERE).parts[0]
            names = [program.name for program in needed(Target(f"test-{part}"))]
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.enable_socket)
            item.add_marker(pytest.mark.needs(*names, *(["root"] if part in AS_ROOT else [])))
