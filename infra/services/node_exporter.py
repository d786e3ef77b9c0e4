"""Figures of the machine: load, memory, disks."""

from infra.launch import Launch, Site, check
from infra.services import health

NAME = "node-exporter"


def files(site: Site) -> dict[str, str]:
    """None: it is configured by its arguments."""
    del site
    return {}


def process(site: Site) -> Launch:
    """One process."""
    service = site.topology.service(NAME)
    data, listen = str(site.data(service)), site.listen(NAME, "metrics")
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus-node-exporter")),
            f"--web.listen-address={listen}",
        ),
        check=check(site, service),
        cwd=data,
        env={"GOMEMLIMIT": f"{site.size(service).memory_mib}MiB"},
        folders=(data,),
        health=health.fetched(listen, "/") if site.tls(service) else (),
    )
