"""Alertmanager: groups what Prometheus judges; receivers are added by the operator."""

from infra.launch import Launch, Site, check
from infra.services import health

NAME = "alertmanager"

# No receiver is invented: alerts are grouped, shown and kept until somebody names one.
CONFIG = """\
route:
  receiver: page
  group_by: [alertname, job]
receivers:
- name: page
"""


def _config(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "alertmanager.yml")


def files(site: Site) -> dict[str, str]:
    """`alertmanager.yml`."""
    return {_config(site): CONFIG}


def process(site: Site) -> Launch:
    """One process; without peers it opens no cluster port."""
    service = site.topology.service(NAME)
    data, listen = str(site.data(service)), site.listen(NAME, "http")
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus-alertmanager")),
            f"--config.file={_config(site)}",
            f"--storage.path={data}",
            f"--web.listen-address={listen}",
            "--cluster.listen-address=",
        ),
        check=check(site, service),
        cwd=data,
        env={"GOMEMLIMIT": f"{site.size(service).memory_mib}MiB"},
        files=files(site),
        folders=(data,),
        health=health.fetched(listen, service.probe.path) if site.tls(service) else (),
    )
