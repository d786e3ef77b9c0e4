"""ZooKeeper: keeps Flink's JobManager findable and its metadata agreed upon."""

from infra.launch import Init, Launch, Site, Tls, check, lines, secret
from infra.services import health, jvm

NAME = "zookeeper"
USER = "flink"
PASSWORD = secret("zookeeper")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
METRICS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
PEER_FIRST = 1
INIT_TICKS = 20  # for a peer to copy the state from the leader
SYNC_TICKS = 10  # a peer that is that late is left behind
SERVING = "^uptime "  # the figure is there while the peer is part of a quorum

LOGIN = f"""\
Server {{
  org.apache.zookeeper.server.auth.DigestLoginModule required user_{USER}="{PASSWORD}";
}};
"""

# The official image logs through logback, which without a file logs everything.
LOGBACK = """\
<configuration>
  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>[%d] %p %m \\(%c\\)%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="CONSOLE"/></root>
</configuration>
"""


def files(site: Site) -> dict[str, str]:
    """`zoo.cfg`, and where there is TLS who may log in."""
    service = site.topology.service(NAME)
    conf, tls = site.conf(service), site.tls(service)
    metrics = site.listen(NAME, "metrics")
    config = {
        "tickTime": 1000,
        "dataDir": site.data(service),
        **_client(site, "secureClientPort" if tls else "clientPort"),
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "ruok,stat,mntr,srvr",
        "autopurge.purgeInterval": 24,  # hours; snapshots pile up for ever without it
        "metricsProvider.className": METRICS,
        "metricsProvider.httpHost": metrics.host,
        "metricsProvider.httpPort": metrics.port,
        **_ensemble(site),
        **(_security(tls) if tls else {}),
    }
    secure = {str(conf / "jaas.conf"): LOGIN, str(conf / "logback.xml"): LOGBACK} if tls else {}
    return {str(conf / "zoo.cfg"): lines(config), **secure}


def _client(site: Site, setting: str) -> dict[str, object]:
    listen = site.listen(NAME, "client")
    return {setting: listen.port, f"{setting}Address": listen.host}


def _ensemble(site: Site) -> dict[str, object]:
    """Every peer by number; nothing where there is one."""
    peers = site.addresses(NAME, "peer")
    elections = site.addresses(NAME, "election")
    if len(peers) == 1:
        return {}
    elsewhere = site.listen(NAME, "peer") != site.address(NAME, "peer")
    return {
        "initLimit": INIT_TICKS,
        "syncLimit": SYNC_TICKS,
        "quorumListenOnAllIPs": str(elsewhere).lower(),
        **{
            f"server.{number}": f"{peer}:{election.port}"
            for number, (peer, election) in enumerate(
                zip(peers, elections, strict=True), PEER_FIRST
            )
        },
    }


def _security(tls: Tls) -> dict[str, object]:
    """TLS towards clients, who log in; mutual TLS among the peers."""
    stores = {
        "keyStore.type": "PEM",
        "keyStore.location": tls.bundle,
        "trustStore.type": "PEM",
        "trustStore.location": tls.authority,
    }
    return {
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        **{f"ssl.{name}": value for name, value in stores.items()},
        "ssl.clientAuth": "none",
        "authProvider.sasl": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "enforce.auth.enabled": "true",
        "enforce.auth.schemes": "sasl",
        "sslQuorum": "true",
        **{f"ssl.quorum.{name}": value for name, value in stores.items()},
    }


def process(site: Site) -> Launch:
    """One JVM, after its number among its peers was written where it looks for it."""
    service = site.topology.service(NAME)
    conf, data = site.conf(service), site.data(service)
    secure = site.tls(service) is not None
    program = jvm.Program(
        main=MAIN,
        classpath=(jvm.jars(site, NAME),),
        options=(
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *(
                (
                    f"-Djava.security.auth.login.config={conf / 'jaas.conf'}",
                    f"-Dlogback.configurationFile={conf / 'logback.xml'}",
                )
                if secure
                else ()
            ),
        ),
        arguments=(str(conf / "zoo.cfg"),),
    )
    return Launch(
        name=NAME,
        argv=jvm.command(site, site.size(service), program),
        check=check(site, service),
        cwd=str(data),
        files=files(site),
        folders=(str(data),),
        init=_number(site) if len(site.placements(service)) > 1 else (),
        health=health.page(site.listen(NAME, "metrics"), "/metrics", SERVING) if secure else (),
    )


def _number(site: Site) -> tuple[Init, ...]:
    path = site.data(site.topology.service(NAME)) / "myid"
    number = str(PEER_FIRST + site.instance)
    return (Init(argv=("sh", "-c", 'echo "$1" > "$2"', "sh", number, str(path))),)
