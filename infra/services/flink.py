"""What Flink's two processes share: one configuration, and scripts that become the JVM."""

from pathlib import Path

import msgspec

from helix.topology.model import Service
from infra.launch import Launch, Site, Tls, check
from infra.services import health, jvm, kafka, s3, zookeeper

SLOTS = 4  # one a stream: windows and the archive of every topic share a TaskManager
CHECKPOINT_S = 10

# Java 17 keeps these closed; Flink and its serialisers need them.
OPENED = (
    "lang",
    "net",
    "io",
    "nio",
    "lang.reflect",
    "text",
    "time",
    "util",
    "util.concurrent",
    "util.concurrent.atomic",
    "util.concurrent.locks",
)
JAVA_OPTIONS = (
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in OPENED),
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",  # out of memory in its threads it would hang on, half alive
)

ARTIFACT = "flink-jars"  # carries the agent
JMX_REPORTER = "org.apache.flink.metrics.jmx.JMXReporterFactory"
BEAN = "org.apache.flink.(.+?)<" + "".join(
    f"(?:(?=.*{label}=([^,>]+)))?"
    for label in ("job_name", "task_name", "subtask_index", "operator_name")
)
LABELS = '{job_name: "$2", task_name: "$3", subtask_index: "$4", operator_name: "$5"}'
# The names that Flink's own Prometheus reporter gives.
JMX = f"""\
rules:
- pattern: '{BEAN}.*><>(?:Value|Count)'
  name: flink_$1
  labels: {LABELS}
- pattern: '{BEAN}.*><>(Rate|Mean)'
  name: flink_$1_$6
  labels: {LABELS}
"""

# Without a login of its own a job logs in to Kafka as this.
LOGIN = f"""\
Client {{
  org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.auth.DigestLoginModule required
  username="{zookeeper.USER}" password="{zookeeper.PASSWORD}";
}};
KafkaClient {{
  org.apache.flink.kafka.shaded.{kafka.LOGIN}.scram.ScramLoginModule required
  username="{kafka.USER}" password="{kafka.PASSWORD}";
}};
"""
ZOOKEEPER_SOCKET = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.ClientCnxnSocketNetty"

LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
logger.hadoop.name = org.apache.hadoop
logger.hadoop.level = WARN
"""
# A process begins its log with the options of its JVM.
LOG4J_DISCREET = """\
appender.console.filter.secrets.type = RegexFilter
appender.console.filter.secrets.regex = .*[pP]assword=.*
appender.console.filter.secrets.onMatch = DENY
appender.console.filter.secrets.onMismatch = NEUTRAL
"""


def files(site: Site, service: Service, own: dict[str, object]) -> dict[str, str]:
    """`config.yaml` of one process: what both share, then what is its own."""
    conf, tls = site.conf(service), site.tls(service)
    config = _shared(site, tls) | figures(site, service) | own
    text = msgspec.json.format(msgspec.json.encode(config)).decode()  # JSON is YAML
    return {
        str(conf / "config.yaml"): text + "\n",
        str(conf / "log4j-console.properties"): LOG4J + (LOG4J_DISCREET if tls else ""),
        _rules(site, service): JMX,
        **({_login(conf): LOGIN} | jvm.trust_files(conf, tls) if tls else {}),
    }


def process(
    site: Site, service: Service, *, script: str, files: dict[str, str], figure: str
) -> Launch:
    """The script of the distribution: it works out the memory and becomes the JVM.

    `figure` is one that is served once the process does its work.
    """
    data, secure = site.data(service), site.tls(service) is not None
    listen = site.listen(service.name, "metrics")
    return Launch(
        name=service.name,
        argv=(str(site.part("flink", "bin") / script), "start-foreground"),
        check=check(site, service),
        cwd=str(data),
        env=_env(site, service, data),
        files=files,
        folders=(str(data), str(data / "tmp")),
        health=health.page(listen, "/metrics", f"^{figure}") if secure else (),
    )


def _env(site: Site, service: Service, data: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "JAVA_HOME": jvm.home(site),
        "FLINK_CONF_DIR": str(site.conf(service)),
        "FLINK_LOG_DIR": str(data),
        "FLINK_PID_DIR": str(data),
        "FLINK_IDENT_STRING": site.stack,
        "AWS_REGION": s3.REGION,
    }


def _shared(site: Site, tls: Tls | None) -> dict[str, object]:
    rpc = site.address("flink-jobmanager", "rpc")
    rest = site.address("flink-jobmanager", "rest")
    bound = site.listen("flink-jobmanager", "rest")
    return {
        "jobmanager": {"rpc": {"address": rpc.host, "port": rpc.port}},
        "rest": {"address": rest.host, "bind-address": bound.host, "port": rest.port},
        "parallelism": {"default": 1},
        "state": {"backend": {"type": "hashmap"}},
        "execution": {"checkpointing": _checkpoints(site)},
        "restart-strategy": {
            "type": "exponential-delay",
            "exponential-delay": {"initial-backoff": "1s", "max-backoff": "60s"},
        },
        "high-availability": _high_availability(site, tls),
        "s3": {
            "endpoint": s3.endpoint(site),
            "path-style-access": True,
            "access-key": s3.USER,
            "secret-key": s3.PASSWORD,
            "endpoint.region": s3.REGION,
        },
        "classloader": {"check-leaked-classloader": False},
        **({"security": {"ssl": _ssl(tls)}} if tls else {}),
    }


def _ssl(tls: Tls) -> dict[str, object]:
    """Nobody speaks to a process, nor it to anybody, without a certificate of the authority."""
    stores = {
        "enabled": True,
        "keystore": tls.keystore,
        "keystore-password": jvm.KEYSTORE_PASSWORD,
        "key-password": jvm.KEYSTORE_PASSWORD,
        "truststore": tls.keystore,
        "truststore-password": jvm.KEYSTORE_PASSWORD,
    }
    return {"internal": stores, "rest": stores | {"authentication-enabled": True}}


def _checkpoints(site: Site) -> dict[str, object]:
    return {
        "interval": f"{CHECKPOINT_S}s",
        "min-pause": "1s",
        "dir": s3.bucket(site, "helixagent-checkpoints", "flink"),
        "savepoint-dir": s3.bucket(site, "helixagent-flink", "savepoints"),
    }


def _high_availability(site: Site, tls: Tls | None) -> dict[str, object]:
    """Which job runs and from which checkpoint survives the JobManager, in ZooKeeper."""
    return {
        "type": "zookeeper",
        "cluster-id": f"/{site.stack}",
        "storageDir": s3.bucket(site, "helixagent-flink", "ha"),
        "jobmanager": {"port": site.address("flink-jobmanager", "rpc").port},
        "zookeeper": {
            "quorum": ",".join(map(str, site.addresses("zookeeper", "client"))),
            "path": {"root": "/flink"},
            "client": {
                "session-timeout": 10_000,
                "connection-timeout": 5_000,
                **({"acl": "creator"} if tls else {}),
            },
        },
    }


def figures(site: Site, service: Service) -> dict[str, object]:
    """Configuration that serves a process's figures on its own address.

    Flink's own Prometheus reporter listens on every interface and has no setting for the host; its
    figures go to JMX instead, and the agent that reads them there listens where it is told.
    """
    role = service.name.removeprefix("flink-")
    agent = jvm.metrics_agent(
        site, ARTIFACT, listen=site.listen(service.name, "metrics"), rules=_rules(site, service)
    )
    tls = site.tls(service)
    options = (*JAVA_OPTIONS, *(_java_security(site.conf(service), tls) if tls else ()))
    return {
        "env": {"java": {"opts": {"all": " ".join(options), role: agent}}},
        "metrics": {
            "reporters": "jmx",
            "reporter": {"jmx": {"factory": {"class": JMX_REPORTER}}},
        },
    }


def _java_security(conf: Path, tls: Tls) -> tuple[str, ...]:
    """What Flink has no settings for: whom S3 clients trust, ZooKeeper over TLS, the logins."""
    return (
        jvm.trust(conf),
        f"-Djava.security.auth.login.config={_login(conf)}",
        "-Dzookeeper.client.secure=true",
        f"-Dzookeeper.clientCnxnSocket={ZOOKEEPER_SOCKET}",
        "-Dzookeeper.ssl.protocol=TLSv1.3",  # the server's; this client's own default is older
        "-Dzookeeper.ssl.trustStore.type=PEM",
        f"-Dzookeeper.ssl.trustStore.location={tls.authority}",
    )


def _login(conf: Path) -> str:
    return str(conf / "jaas.conf")


def _rules(site: Site, service: Service) -> str:
    return str(site.conf(service) / "jmx.yml")
