"""Where artifacts are made: the cache, the recipes, and one maker at a time for each."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.artifacts.commands import Commands, Report

RECIPES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Workshop:
    """What every maker needs: `recipes` holds the lock files, `cache` what was made."""

    cache: Path
    report: Report
    commands: Commands = field(default_factory=Commands)
    recipes: Path = RECIPES

    def lock(self, name: str) -> Path:
        """The file that pins every byte of the artifact of that name."""
        return self.recipes / f"{name}.lock"

    def log(self, name: str) -> Path:
        """Where the programs that make the artifact of that name write."""
        return self.cache / "logs" / f"{name}.log"

    @contextmanager
    def alone(self, what: str) -> Generator[None]:
        """One process of this machine at a time; the lock of a killed process is free at once."""
        locks = self.cache / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / f"{what}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.report(f"waiting for another process that holds `{what}`")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
