"""The catalogue against reality, as a table: every service, where it answers and what it said."""

import os
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from helix.client.wire import Evidence, HealthReport
from helix.errors import HelixError
from validation.access import client

WIDTH_MIN = 120  # of a terminal; less would break every line of evidence
COLOURS = {"healthy": "green", "degraded": "yellow", "unavailable": "red", "disabled": "dim"}


def table(report: HealthReport) -> Table:
    """One row a service."""
    rows = Table(box=None)
    for name in ("service", "server", "port", "health", "ms", "lag"):
        rows.add_column(name, no_wrap=True)
    rows.add_column("evidence", overflow="fold")
    for evidence in report.services:
        colour = COLOURS[evidence.status]
        rows.add_row(
            evidence.service,
            evidence.server,
            evidence.address.rpartition(":")[2],
            f"[{colour}]{evidence.status}[/]",
            "" if evidence.took_ms is None else f"{evidence.took_ms:.0f}",
            _lag(evidence),
            escape(evidence.detail),
        )
    return rows


def sick(report: HealthReport) -> list[str]:
    """The services that are neither healthy nor absent on purpose."""
    return [row.service for row in report.services if row.status not in {"healthy", "disabled"}]


def show(report: HealthReport, console: Console) -> int:
    """Print the table and one line of verdict; 0 if nothing is amiss."""
    console.print(table(report))
    unwell = sick(report)
    amiss = f": look at {', '.join(unwell)}" if unwell else ""
    console.print(f"{len(report.services)} services, {report.status}{amiss}")
    return 1 if unwell else 0


def _lag(evidence: Evidence) -> str:
    return "" if evidence.lag_records is None else f"{sum(evidence.lag_records.values()):.0f}"


def main() -> int:
    """Exit 0 if everything is healthy, 1 if not."""
    try:
        env = os.environ  # noqa: TID251 - the composition root of this command
        console = Console(highlight=False)
        console.width = max(console.width, WIDTH_MIN)
        with client(env) as api:
            return show(api.health(), console)
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
