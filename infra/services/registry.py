"""Finds the module of a service by the service's name: a new service is a record and a file."""

import importlib
from typing import Protocol, cast

from helix.errors import TopologyError
from helix.topology.model import Kind, Service
from infra.launch import Launch, Site


class Face(Protocol):
    """What every module of this folder offers for its service."""

    def files(self, site: Site) -> dict[str, str]:
        """Its configuration: absolute path to text, rendered from the catalogue."""
        ...

    def process(self, site: Site) -> Launch:
        """How it starts as a plain process."""
        ...


def face(service: Service) -> Face:
    """The module of that service; `TopologyError` names the file that is missing."""
    name = f"infra.services.{service.name.replace('-', '_')}"
    try:
        return cast("Face", importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        path = f"{name.replace('.', '/')}.py"
        raise TopologyError(
            f"service `{service.name}` has no module: write `{path}` with files() and process()"
        ) from error


def after_bootstrap(service: Service) -> bool:
    """Whether it can only start once topics, tables and buckets are there."""
    return service.kind is Kind.APP or getattr(face(service), "AFTER_BOOTSTRAP", False)
