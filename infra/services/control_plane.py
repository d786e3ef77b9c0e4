"""The control plane: the REST API."""

import msgspec

from helix.settings import PREFIX
from infra.launch import Launch, Site, secret
from infra.services import programs

NAME = "control-plane"
SCRAPER_TOKEN = secret("control-plane-metrics")  # its own: no other program is told it


def files(site: Site) -> dict[str, str]:
    """The stack's output document; settings come by the environment."""
    return programs.files(site, site.topology.service(NAME))


def process(site: Site) -> Launch:
    """One process."""
    launch = programs.process(site, site.topology.service(NAME), module=("controlplane",))
    own = {f"{PREFIX}HTTP__METRICS_TOKEN": SCRAPER_TOKEN}
    return msgspec.structs.replace(launch, env=launch.env | own)
