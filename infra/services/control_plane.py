"""The control plane: the REST API."""

from infra.launch import Launch, Site
from infra.services import programs

NAME = "control-plane"


def files(site: Site) -> dict[str, str]:
    """The stack's output document; settings come by the environment."""
    return programs.files(site, site.topology.service(NAME))


def process(site: Site) -> Launch:
    """One process."""
    return programs.process(site, site.topology.service(NAME), module=("controlplane",))
