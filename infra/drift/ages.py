"""Secrets that have grown old: certificates near their end, passwords kept too long."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from infra.certificates.authority import Row
from infra.certificates.issuing import RENEW_DAYS
from infra.drift.model import Cure, Drift, Kind
from infra.passwords.names import Made

PASSWORD_DAYS_MAX = 365


def old_passwords(made: Sequence[Made], now: datetime) -> list[Drift]:
    """Those kept longer than they should be."""
    longest = timedelta(days=PASSWORD_DAYS_MAX)
    return [
        _aged(
            one.name,
            f"at most {PASSWORD_DAYS_MAX} days old",
            f"{(now - one.at).days} days old",
            Cure.CHANGE,
        )
        for one in made
        if now - one.at > longest
    ]


def certificates(rows: Sequence[Row], known: Mapping[str, Sequence[str]]) -> list[Drift]:
    """Those that end soon, and those whose holder is reached under other names by now."""
    return [drift for row in rows for drift in _certificate(row, known.get(row.name, row.hosts))]


def _certificate(row: Row, hosts: Sequence[str]) -> Iterator[Drift]:
    # The authorities stand among the rows without hosts: they are replaced step by step.
    cure = Cure.UP if row.hosts else Cure.ROTATE
    if row.days_left < RENEW_DAYS:
        ends = f"until {row.ends:%Y-%m-%d}"
        yield _aged(f"tls.{row.name}", f"good for {RENEW_DAYS} days more", ends, cure)
    elif set(row.hosts) != set(hosts):
        yield _aged(f"tls.{row.name}", _listed(hosts), _listed(row.hosts), cure)


def _listed(hosts: Sequence[str]) -> str:
    return f"good for {', '.join(sorted(hosts))}"


def _aged(name: str, declared: str, live: str, cure: Cure) -> Drift:
    return Drift(kind=Kind.SECRET_AGE, name=name, declared=declared, live=live, cure=cure)
