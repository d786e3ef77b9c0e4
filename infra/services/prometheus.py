"""Prometheus: scrapes every service of the catalogue that is placed, and judges the alert rules."""

from collections.abc import Sequence

import msgspec

from helix.topology.model import Exposure, Metrics, Service, port_of
from infra.launch import Address, Launch, Site, check
from infra.services import alerts, control_plane, grafana, health, minio, qdrant, s3

NAME = "prometheus"
SCRAPE_S = 5
RETENTION_DAYS = 30
DISK_SHARE = 0.8  # of the volume: the newest block and the write-ahead log need the rest

# Services that ask who wants their figures.
AUTHORIZATION: dict[str, dict[str, object]] = {
    control_plane.NAME: {"authorization": {"credentials": control_plane.SCRAPER_TOKEN}},
    minio.NAME: {"authorization": {"credentials": s3.SCRAPER_TOKEN}},
    qdrant.NAME: {"authorization": {"credentials": qdrant.PASSWORD}},
    grafana.NAME: {
        "basic_auth": {"username": grafana.SCRAPER, "password": grafana.SCRAPER_PASSWORD}
    },
}


def _yaml(document: object) -> str:
    """JSON with indentation, which is YAML as well."""
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def _job(site: Site, service: Service, metrics: Metrics) -> dict[str, object]:
    return {
        "job_name": service.name,
        "metrics_path": metrics.path,
        "static_configs": _targets(site, service, metrics),
        **AUTHORIZATION.get(service.name, {}),
        **_encrypted(site, service, metrics),
    }


def _targets(site: Site, service: Service, metrics: Metrics) -> Sequence[object]:
    """Every instance; beyond one machine, with the server it is on."""
    addresses = [str(address) for address in site.addresses(service.name, metrics.port)]
    if site.tls(service) is None:
        return [{"targets": addresses}]
    placed = zip(addresses, site.placements(service), strict=True)
    return [
        {"targets": [address], "labels": {"server": placement.server}}
        for address, placement in placed
    ]


def _encrypted(site: Site, service: Service, metrics: Metrics) -> dict[str, object]:
    """What is open to clients is asked under the stack's authority; the rest speaks in plain."""
    tls = site.tls(site.topology.service(NAME))
    if tls is None or port_of(service, metrics.port).exposure is not Exposure.CLIENTS:
        return {}
    return {"scheme": "https", "tls_config": {"ca_file": tls.authority}}


def _alerting(site: Site) -> dict[str, object]:
    service = site.topology.service("alertmanager")
    here = [str(address) for address in _answering(site, service)]
    return {"alertmanagers": [{"static_configs": [{"targets": here}]}]}


def _answering(site: Site, service: Service) -> Sequence[Address]:
    return site.addresses(service.name, "http") if site.answers(service.name) else ()


def files(site: Site) -> dict[str, str]:
    """`prometheus.yml` and the alert rules."""
    conf = site.conf(site.topology.service(NAME))
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(conf / "alerts.yml")],
        "alerting": _alerting(site),
        "scrape_configs": [
            _job(site, service, service.metrics)
            for service in site.topology.services
            if service.metrics and site.placements(service)
        ],
    }
    return {
        str(conf / "prometheus.yml"): _yaml(config),
        str(conf / "alerts.yml"): _yaml(alerts.rules()),
    }


def process(site: Site) -> Launch:
    """One process, its store bounded in days and in bytes."""
    service = site.topology.service(NAME)
    conf, data, listen = site.conf(service), str(site.data(service)), site.listen(NAME, "http")
    disk_mib = int(service.volumes[0].size_gib * 1024 * DISK_SHARE)
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus")),
            f"--config.file={conf / 'prometheus.yml'}",
            f"--storage.tsdb.path={data}",
            f"--storage.tsdb.retention.time={RETENTION_DAYS}d",
            f"--storage.tsdb.retention.size={disk_mib}MB",
            f"--web.listen-address={listen}",
        ),
        check=check(site, service),
        cwd=data,
        env={"GOMEMLIMIT": f"{site.size(service).memory_mib}MiB"},
        files=files(site),
        folders=(data,),
        health=health.fetched(listen, service.probe.path) if site.tls(service) else (),
    )
