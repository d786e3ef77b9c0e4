"""Grafana: Prometheus as its one source, and one dashboard that follows from the catalogue."""

from typing import NamedTuple

import msgspec

from helix.budgets import LAG_RECORDS
from infra.launch import Launch, Site, check, lines, secret
from infra.services import health

NAME = "grafana"
USER = "admin"
PASSWORD = secret("grafana")
SCRAPER = "prometheus"
SCRAPER_PASSWORD = secret("grafana-metrics")
HOME = "/usr/share/grafana"  # in the official image
SOURCE = "prometheus"
DASHBOARD = "helix"
REFRESH_S = 10
WIDTH, HEIGHT = 12, 8  # of a panel; a row is 24 wide


class Panel(NamedTuple):
    """One question to Prometheus, drawn over time."""

    title: str
    expr: str
    legend: str
    unit: str


PANELS = (
    Panel("Targets that answer", "sum by (job) (up)", "{{job}}", "short"),
    Panel("Pipelines behind", f"sum by (pipeline) ({LAG_RECORDS})", "{{pipeline}}", "short"),
    Panel(
        "Requests, p95",
        "histogram_quantile(0.95, sum by (le) (rate(helix_http_request_seconds_bucket[1m])))",
        "p95",
        "s",
    ),
    Panel(
        "Records written to the log",
        "sum by (server) (rate(kafka_server_brokertopicmetrics_messagesinpersec_total[1m]))",
        "{{server}}",
        "cps",
    ),
    Panel(
        "Partitions with a replica behind",
        "sum by (server) (kafka_server_replicamanager_underreplicatedpartitions)",
        "{{server}}",
        "short",
    ),
    Panel(
        "Memory available",
        "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
        "{{server}}",
        "percentunit",
    ),
)


def files(site: Site) -> dict[str, str]:
    """`grafana.ini`, the source, and where the dashboard is."""
    conf = site.conf(site.topology.service(NAME))
    provisioned = conf / "provisioning"
    return {
        str(conf / "grafana.ini"): _settings(site),
        str(provisioned / "datasources" / "prometheus.yaml"): _text(_source(site)),
        str(provisioned / "dashboards" / "helix.yaml"): _text(_provider(str(conf / "dashboards"))),
        str(conf / "dashboards" / "helix.json"): _text(_dashboard(site)),
    }


def process(site: Site) -> Launch:
    """One process; its own few tables are in SQLite."""
    service = site.topology.service(NAME)
    conf, data, tls = site.conf(service), str(site.data(service)), site.tls(service)
    listen = site.listen(NAME, "http")
    return Launch(
        name=NAME,
        argv=(
            f"{HOME}/bin/grafana",
            "server",
            f"--homepath={HOME}",
            f"--config={conf / 'grafana.ini'}",
        ),
        check=check(site, service),
        cwd=data,
        env={
            # The image sets the folders in the environment, which goes before the file.
            "GF_PATHS_DATA": data,
            "GF_PATHS_LOGS": f"{data}/log",
            "GF_PATHS_PLUGINS": f"{data}/plugins",
            "GF_PATHS_PROVISIONING": str(conf / "provisioning"),
            "GOMEMLIMIT": f"{site.size(service).memory_mib}MiB",
        },
        files=files(site),
        folders=(data, f"{data}/plugins", f"{data}/log"),
        health=health.curl(listen, service.probe.path, tls.authority) if tls else (),
    )


def _settings(site: Site) -> str:
    service = site.topology.service(NAME)
    listen, tls = site.listen(NAME, "http"), site.tls(service)
    server: dict[str, object] = {"http_addr": listen.host, "http_port": listen.port}
    if tls:
        server |= {
            "protocol": "https",
            "cert_file": tls.certificate,
            "cert_key": tls.key,
            "min_tls_version": "TLS1.2",
        }
    sections: dict[str, dict[str, object]] = {
        "server": server,
        "log": {"mode": "console"},
        "security": {
            "admin_user": USER,
            "admin_password": PASSWORD,
            "cookie_secure": "true" if tls else "false",
        },
        "users": {"allow_sign_up": "false"},
        "auth.anonymous": {"enabled": "false"},
        "metrics": {
            "enabled": "true",
            "basic_auth_username": SCRAPER,
            "basic_auth_password": SCRAPER_PASSWORD,
        },
        "analytics": {
            "reporting_enabled": "false",
            "check_for_updates": "false",
            "check_for_plugin_updates": "false",
        },
        "plugins": {"preinstall_disabled": "true"},  # nothing is fetched at a start
        "news": {"news_feed_enabled": "false"},
    }
    return "\n".join(f"[{name}]\n{lines(keys, between=' = ')}" for name, keys in sections.items())


def _source(site: Site) -> object:
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "uid": SOURCE,
                "type": "prometheus",
                "access": "proxy",
                "url": f"http://{site.address('prometheus', 'http')}",
                "isDefault": True,
                "editable": False,
            }
        ],
    }


def _provider(folder: str) -> object:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "helix",
                "type": "file",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "options": {"path": folder},
            }
        ],
    }


def _dashboard(site: Site) -> object:
    """What Prometheus is asked, one panel a question."""
    return {
        "uid": DASHBOARD,
        "title": f"HelixAgent: {site.stack}",
        "editable": False,
        "refresh": f"{REFRESH_S}s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_panel(index, panel) for index, panel in enumerate(PANELS)],
    }


def _panel(index: int, panel: Panel) -> object:
    source = {"type": "prometheus", "uid": SOURCE}
    row, column = divmod(index, 2)
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": source,
                "expr": panel.expr,
                "legendFormat": panel.legend,
            }
        ],
    }


def _text(document: object) -> str:
    """JSON with indentation, which is YAML as well."""
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"
