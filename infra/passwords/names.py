"""Which passwords a stack has, those that what it renders refers to, and how old they are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from helix.topology.model import Record, Service
from infra.certificates.authority import PREFIX
from infra.provider import tokens
from infra.provider.secrets import FIRST, MASTER, current_version, references, version_file
from infra.services.registry import face
from infra.substrates.containers import containers
from infra.substrates.hosted import Hosted
from infra.substrates.site import LocalSite


class Made(Record, frozen=True):
    """A password and when it became what it is."""

    name: str
    at: datetime


def passwords(here: LocalSite | Hosted, services: Sequence[Service]) -> list[str]:
    """By name; what signs a token is one of them, certificates and their keys are not."""
    text = "".join(msgspec.json.encode(one).decode() for one in _rendered(here, services))
    named = [name for name in references(text) if not name.startswith(PREFIX)]
    return sorted({tokens.signer(name) for name in named})


def _rendered(here: LocalSite | Hosted, services: Sequence[Service]) -> list[Record]:
    if isinstance(here, LocalSite):
        return [face(service).process(here) for service in services]
    return [one for service in services for one in containers(here, service)]


def made(home: Path, names: Sequence[str]) -> list[Made]:
    """When each began: a first version is as old as the master it derives from."""
    return [Made(name=name, at=datetime.fromtimestamp(_since(home, name), UTC)) for name in names]


def _since(home: Path, name: str) -> float:
    first = current_version(home, name) == FIRST
    return (home / MASTER if first else version_file(home, name)).stat().st_mtime
