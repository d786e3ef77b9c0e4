"""Stacks whose program is a function of the test, moved by Pulumi's Automation API."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pulumi import automation

from infra.toolchain.pulumi import Pulumi
from tests.integration.loops import closed_loops

PROJECT = "unit"


@dataclass
class Inline:
    """A stack of a test: what it does is told as operation -> number of resources."""

    stack: automation.Stack
    folder: Path

    def up(self) -> dict[str, int]:
        return _counts(self.stack.up().summary)

    def refresh(self) -> dict[str, int]:
        return _counts(self.stack.refresh().summary)

    def preview(self) -> dict[str, int]:
        counted = self.stack.preview().change_summary
        return {str(operation): count for operation, count in counted.items()}

    def destroy(self) -> dict[str, int]:
        return _counts(self.stack.destroy().summary)

    def state(self) -> str:
        """The state as Pulumi keeps it on disk."""
        return "".join(file.read_text() for file in self.folder.rglob("*.json"))


def _counts(summary: automation.UpdateSummary) -> dict[str, int]:
    """The stack itself and its provider are counted too."""
    return {str(operation): count for operation, count in (summary.resource_changes or {}).items()}


@contextmanager
def inline(
    program: Callable[[], None], pulumi: Pulumi, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Inline]:
    """The stack, its state below `folder`; destroyed at the end."""
    monkeypatch.setenv("PATH", str(Path(pulumi.argv0).parent), prepend=":")
    for name in ("state", "pulumi", "work"):
        (folder / name).mkdir()
    (folder / "work" / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
    with closed_loops(monkeypatch):
        made = automation.create_or_select_stack(
            "test", project_name=PROJECT, program=program, opts=_options(pulumi, folder)
        )
        try:
            yield Inline(made, folder / "state")
        finally:
            made.destroy()


def _options(pulumi: Pulumi, folder: Path) -> automation.LocalWorkspaceOptions:
    kept = ("PULUMI_DISABLE_", "PULUMI_SKIP_", "PULUMI_CREDENTIAL_", "PULUMI_PYTHON_")
    own = {
        "PULUMI_HOME": str(folder / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "",
    }
    env = {key: value for key, value in pulumi.env.items() if key.startswith(kept)}
    return automation.LocalWorkspaceOptions(work_dir=str(folder / "work"), env_vars={**env, **own})
