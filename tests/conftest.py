"""What every run of tests does: it keeps to a budget of time, and misses no program in silence."""

import os
import time
from collections.abc import Generator, Sequence

import pytest

from infra.artifacts.commands import Commands
from infra.artifacts.debian import hint
from infra.toolchain import programs

STARTED = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Give a run a budget, so that it stays as fast as it is."""
    parser.addoption(
        "--minutes-max", type=float, help="fail a run that takes longer than this many minutes"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note when the run began."""
    session.config.stash[STARTED] = time.monotonic()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Fail a run that passed but took longer than its budget."""
    yield
    if session.exitstatus == pytest.ExitCode.OK and excess_min(session.config) > 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say by how much a run exceeded its budget, and where its time went."""
    if (excess := excess_min(config)) > 0:
        terminalreporter.section("over budget", red=True, bold=True)
        terminalreporter.line(
            f"{excess:.1f} minutes longer than the {config.getoption('--minutes-max'):g} allowed:"
            " the slowest are listed above; make them"
            " faster, or run this again where two cores are free"
        )


def excess_min(config: pytest.Config) -> float:
    """Return by how many minutes the run has exceeded its budget so far; 0 without a budget."""
    budget: float | None = config.getoption("--minutes-max")
    if budget is None or config.stash.get(STARTED, None) is None:
        return 0.0
    return max(0.0, (time.monotonic() - config.stash[STARTED]) / 60 - budget)


def pytest_report_collectionfinish(items: Sequence[pytest.Item]) -> list[str]:
    """Say at the start what stays untested where nothing may be installed, and what would help."""
    if os.geteuid() == 0:
        return []
    untested = [item for item in items if missing(item)]
    names = sorted({name for item in untested for name in missing(item)} - {"root"})
    packages = programs.packages(map(programs.program, names))
    lines = [f"untested: {item.nodeid}" for item in untested]
    return [*lines, *([hint(packages)] if packages else [])]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that lacks a program where it may be installed; skip it elsewhere."""
    if not (names := missing(item)):
        return
    reason = f"needs {', '.join(f'`{name}`' for name in names)}"
    if os.geteuid() != 0:
        pytest.skip(reason)
    packages = programs.packages(map(programs.program, names))
    pytest.fail(f"{reason}: `make test` installs {', '.join(packages)}", pytrace=False)


def missing(item: pytest.Item) -> list[str]:
    """Return what a test needs and this machine lacks; KeyError for a name the table has not."""
    needed = dict.fromkeys(name for mark in item.iter_markers("needs") for name in mark.args)
    rights = ["root"] if "root" in needed and os.geteuid() != 0 else []
    wanted = [programs.program(name) for name in needed if name != "root"]
    return [*rights, *(absent.name for absent in programs.lacking(wanted, Commands()))]
