"""Options of every run of tests."""

import time
from collections.abc import Generator

import pytest

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
