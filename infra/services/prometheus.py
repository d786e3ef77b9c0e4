"""Prometheus: scrapes every service of the catalogue that is placed, and judges the alert rules."""

import msgspec

from helix.topology.model import Metrics, Service
from infra.launch import Launch, Site, check
from infra.services import alerts, qdrant

NAME = "prometheus"
SCRAPE_S = 5
RETENTION_DAYS = 30
DISK_SHARE = 0.8  # of the volume: the newest block and the write-ahead log need the rest

# Services that ask who wants their figures.
AUTHORIZATION: dict[str, dict[str, object]] = {
    qdrant.NAME: {"authorization": {"credentials": qdrant.PASSWORD}},
}


def _yaml(document: object) -> str:
    """JSON with indentation, which is YAML as well."""
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def _job(site: Site, service: Service, metrics: Metrics) -> dict[str, object]:
    return {
        "job_name": service.name,
        "metrics_path": metrics.path,
        "static_configs": [{"targets": [str(site.address(service.name, metrics.port))]}],
        **AUTHORIZATION.get(service.name, {}),
    }


def _alerting(site: Site) -> dict[str, object]:
    service = site.topology.service("alertmanager")
    here = [str(site.address(service.name, "http"))] if site.placements(service) else []
    return {"alertmanagers": [{"static_configs": [{"targets": here}]}]}


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
    conf, data = site.conf(service), str(site.data(service))
    disk_mib = int(service.volumes[0].size_gib * 1024 * DISK_SHARE)
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "bin/prometheus")),
            f"--config.file={conf / 'prometheus.yml'}",
            f"--storage.tsdb.path={data}",
            f"--storage.tsdb.retention.time={RETENTION_DAYS}d",
            f"--storage.tsdb.retention.size={disk_mib}MB",
            f"--web.listen-address={site.address(NAME, 'http')}",
        ),
        check=check(site, service),
        cwd=data,
        env={"GOMEMLIMIT": f"{site.size(service).memory_mib}MiB"},
        files=files(site),
        folders=(data,),
    )
