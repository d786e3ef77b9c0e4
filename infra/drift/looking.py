"""One look at a stack, read-only: every kind of drift, and what could not be looked at."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from helix.adapters import kafka, minio, qdrant
from helix.errors import HelixError, MissingError
from helix.settings import Settings, from_env
from infra import outputs
from infra.composition import home, identities, now, services, site
from infra.drift import ages, buckets, machine, schemas, servers, topics, vectors
from infra.drift.model import Away, Drift, Kind, Report
from infra.drift.running import Lookup
from infra.drift.vault import standing
from infra.passwords.names import made, passwords
from infra.substrates.hosted import Hosted
from infra.substrates.site import LocalSite
from infra.substrates.wanted import Kind as Substrate
from infra.substrates.wanted import Wanted

PROCESSES = (Kind.IMAGE, Kind.CONFIG, Kind.SECRET_AGE)
STORES: tuple[tuple[str, tuple[Kind, ...], Callable[[Settings], list[Drift]]], ...] = (
    (kafka.SERVICE, (Kind.TOPIC,), topics.look),
    *((store, (Kind.DDL, Kind.INDEX), schemas.looking(store)) for store in schemas.STORES),
    (qdrant.SERVICE, (Kind.INDEX,), vectors.look),
    (minio.SERVICE, (Kind.BUCKET_POLICY,), buckets.look),
)


class Look(NamedTuple):
    """One thing to look at, and which kinds of drift are found there."""

    name: str
    kinds: tuple[Kind, ...]
    act: Callable[[], list[Drift]]


def look(settings: Wanted, env: Mapping[str, str], stack: str) -> Report:
    """Everything that is not as declared; what is away hides nothing else."""
    here, folder = site(settings, env, stack), home(env, stack)
    known = identities(here) if isinstance(here, Hosted) else {}
    lookup, authority = standing(folder, known)

    def secrets() -> list[Drift]:
        names = passwords(here, services(settings, here))
        rows = authority.rows() if known else []
        aged = ages.old_passwords(made(folder, names), now())
        return [*ages.certificates(rows, known), *aged]

    looks = [
        *_processes(settings, here, lookup),
        *_stores(here, lookup),
        Look("secrets", (Kind.SECRET_AGE,), secrets),
    ]
    return report(stack, looks)


def reached(here: LocalSite | Hosted, lookup: Lookup) -> Settings:
    """How the stores are reached by who operates the stack; `MissingError` before it was up."""
    document = outputs.document(here)
    if document.ca and not Path(document.ca).exists():
        raise MissingError(f"`{document.ca}` is missing: a complete `make up` writes it")
    return from_env(document.environment(lookup))


def report(stack: str, looks: Iterable[Look]) -> Report:
    """What all looks found; one that failed is named, and stops no other."""
    drifts: list[Drift] = []
    away: list[Away] = []
    for one in looks:
        try:
            drifts += one.act()
        except HelixError as error:
            away.append(Away(name=one.name, kinds=one.kinds, why=error.message))
    return Report(stack=stack, drifts=tuple(drifts), away=tuple(away))


def _processes(settings: Wanted, here: LocalSite | Hosted, lookup: Lookup) -> Iterator[Look]:
    """Of this machine or of each server; what runs in a cluster is the cluster's to compare."""
    chosen = services(settings, here)
    if isinstance(here, LocalSite):
        yield Look("supervisor", PROCESSES, partial(machine.look, here, chosen, lookup))
    elif settings.substrate is Substrate.DOCKER:
        for server, wanted in servers.planned(here, chosen).items():
            act = partial(
                servers.look,
                server,
                settings.host(server),
                stack=here.stack,
                wanted=wanted,
                lookup=lookup,
            )
            yield Look(server, PROCESSES, act)


def _stores(here: LocalSite | Hosted, lookup: Lookup) -> Iterator[Look]:
    def asked(act: Callable[[Settings], list[Drift]]) -> list[Drift]:
        return act(reached(here, lookup))

    for service, kinds, act in STORES:
        if here.answers(service):
            yield Look(service, kinds, partial(asked, act))
