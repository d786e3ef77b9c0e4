"""ZooKeeper: keeps Flink's JobManager findable and its metadata agreed upon."""

from infra.launch import Launch, Site, check, lines
from infra.services import jvm

NAME = "zookeeper"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
METRICS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"


def _config(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "zoo.cfg")


def files(site: Site) -> dict[str, str]:
    """`zoo.cfg`: one node, four-letter words for the probe, figures for Prometheus."""
    client, metrics = site.address(NAME, "client"), site.address(NAME, "metrics")
    config = {
        "tickTime": 1000,
        "dataDir": site.data(site.topology.service(NAME)),
        "clientPort": client.port,
        "clientPortAddress": client.host,
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "ruok,stat,mntr,srvr",
        "autopurge.purgeInterval": 24,  # hours; snapshots pile up for ever without it
        "metricsProvider.className": METRICS,
        "metricsProvider.httpHost": metrics.host,
        "metricsProvider.httpPort": metrics.port,
    }
    return {_config(site): lines(config)}


def process(site: Site) -> Launch:
    """One JVM."""
    service = site.topology.service(NAME)
    program = jvm.Program(
        main=MAIN,
        classpath=(jvm.jars(site, NAME),),
        options=("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",),
        arguments=(_config(site),),
    )
    return Launch(
        name=NAME,
        argv=jvm.command(site, site.size(service), program),
        check=check(site, service),
        cwd=str(site.data(service)),
        files=files(site),
        folders=(str(site.data(service)),),
    )
