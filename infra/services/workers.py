"""The workers: every row of the pipelines' table, folding events into the stores."""

from infra.launch import Launch, Site
from infra.services import programs

NAME = "workers"


def files(site: Site) -> dict[str, str]:
    """The stack's output document; settings come by the environment."""
    return programs.files(site, site.topology.service(NAME))


def process(site: Site) -> Launch:
    """One process group."""
    return programs.process(site, site.topology.service(NAME), module=("runtime", "--all"))
