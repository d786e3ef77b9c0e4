"""The stack's output document: where everything answers, and what its secrets are called."""

from collections.abc import Callable

import msgspec

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.model import Record, Service
from infra.launch import Address, Site
from infra.provider.secrets import resolve
from infra.services import settings

ADOPTED = "adopted"  # in place of a server's name: somebody else's


class Instance(Record, frozen=True, omit_defaults=True):
    """One running instance of a service; of an adopted one the server is `ADOPTED`."""

    ports: dict[str, Address]
    server: str
    name: str = ""  # of a service that runs more than once


class Outputs(Record, frozen=True, omit_defaults=True):
    """One document for the control plane, validation and the load test alike; no secret is in it.

    `settings` are the environment of a program of the stack, secrets as `${secret:NAME}`. `ca` is
    the path of the authority that its reader trusts; empty where everything is asked in plain.
    """

    stack: str
    services: dict[str, tuple[Instance, ...]]
    topics: tuple[str, ...]
    settings: dict[str, str]
    ca: str = ""

    @property
    def url(self) -> str:
        """Where the API answers; `TopologyError` when it is switched off."""
        found = self.services.get("control-plane")
        if not found:
            raise TopologyError("`control-plane` is switched off: remove it from `disabled`")
        return f"{'https' if self.ca else 'http'}://{found[0].ports['http']}"

    def addresses(self) -> dict[str, str]:
        """Where each service is asked whether it works: the port its clients use."""
        return {
            name: str(instances[0].ports[CATALOG.service(name).probe.port])
            for name, instances in self.services.items()
        }

    def environment(self, lookup: Callable[[str], str]) -> dict[str, str]:
        """The settings with their secrets in place, for a program started outside the stack."""
        return {name: resolve(value, lookup) for name, value in self.settings.items()}


def document(site: Site, program: str = "control-plane") -> Outputs:
    """What a site will answer once it is up: pure, so that programs know it before they start.

    `program` is who reads it: beyond one machine each finds the authority in a folder of its own.
    """
    tls = site.tls(site.topology.service(program))
    return Outputs(
        stack=site.stack,
        services={
            service.name: _instances(site, service)
            for service in site.topology.services
            if site.answers(service.name)
        },
        topics=tuple(topic.name for topic in site.topology.topics),
        settings=settings.environment(site, program),
        ca=tls.authority if tls else "",
    )


def _instances(site: Site, service: Service) -> tuple[Instance, ...]:
    addresses = {port.name: site.addresses(service.name, port.name) for port in service.ports}
    servers = [placement.server for placement in site.placements(service)] or [ADOPTED]
    return tuple(
        Instance(
            ports={port: found[index] for port, found in addresses.items()},
            server=server,
            name=f"{service.name}-{index + 1}" if len(servers) > 1 else "",
        )
        for index, server in enumerate(servers)
    )


def read(text: str) -> Outputs:
    """The document from the stack's output; `TopologyError` when another version wrote it."""
    try:
        return msgspec.convert(msgspec.json.decode(text), Outputs, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise TopologyError(f"unreadable stack output: {error}: run `make up` again") from error
