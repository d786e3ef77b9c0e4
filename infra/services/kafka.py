"""Kafka: KRaft, the same processes are brokers and controllers: the log needs no other service."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from helix.events import EVENT_BYTES_MAX
from helix.topology.check import replication
from helix.topology.model import Topology
from infra.launch import Address, Init, Launch, Site, Tls, check, lines, secret
from infra.services import health, jvm

NAME = "kafka"
NODE_ID_FIRST = 1
UUID_BYTES = 16
CODE_CACHE_MIB = 64
OPEN_FILES = 16_384  # two files a segment, and every partition keeps several open

# Users. Brokers know each other before there is a log with credentials in it: controllers do not
# use SCRAM among themselves.
USER = "helix"  # every program
USER_BROKER = "broker"
USER_CONTROLLER = "controller"
PASSWORD = secret("kafka")
PASSWORD_BROKER = secret("kafka-broker")
PASSWORD_CONTROLLER = secret("kafka-controller")
MECHANISM = "SCRAM-SHA-512"
PLAIN = "PLAINTEXT"
SECURE = "SASL_SSL"
CONTROLLER = "CONTROLLER"
LOGIN_OF_PROGRAMS = {"user": USER, "password": PASSWORD}
LOGIN = "org.apache.kafka.common.security"

LOG4J = """\
Configuration:
  name: kafka
  status: WARN
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: { pattern: "[%d] %p %m (%c)%n" }
  Loggers:
    Root: { level: INFO, AppenderRef: { ref: STDOUT } }
"""

# Only what is named is asked of the broker: each answer takes processor time, and there are
# thousands of beans.
JMX = """\
lowercaseOutputName: true
includeObjectNames:
- kafka.server:type=BrokerTopicMetrics,name=*
- kafka.server:type=ReplicaManager,name=*
- kafka.server:type=KafkaServer,name=BrokerState
- kafka.controller:type=KafkaController,name=*
- java.lang:*
rules:
- pattern: kafka.server<type=BrokerTopicMetrics, name=(.+)><>Count
  name: kafka_server_brokertopicmetrics_$1_total
  type: COUNTER
- pattern: kafka.server<type=ReplicaManager, name=(.+)><>Value
  name: kafka_server_replicamanager_$1
- pattern: kafka.server<type=KafkaServer, name=BrokerState><>Value
  name: kafka_server_brokerstate
- pattern: kafka.controller<type=KafkaController, name=(.+)><>Value
  name: kafka_controller_$1
"""
RUNNING = "^kafka_server_brokerstate 3"

# Formatting prints what it makes of the users' passwords.
QUIET = 'exec "$@" > /dev/null'


def cluster_id(stack: str) -> str:
    """The stack's own cluster id: stable, so that a restart never meets a foreign log."""
    return _uuid(f"kafka:{stack}")


def directory_id(stack: str, node: int) -> str:
    """The id of a node's log folder: every node can name those of the whole first quorum."""
    return _uuid(f"kafka:{stack}:{node}")


def _uuid(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()[:UUID_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _listeners(site: Site, broker: str) -> dict[str, object]:
    def both(where: Callable[[str, str], Address]) -> str:
        return f"{broker}://{where(NAME, 'broker')},{CONTROLLER}://{where(NAME, 'controller')}"

    controllers = site.addresses(NAME, "controller")
    return {
        "process.roles": "broker,controller",
        "node.id": NODE_ID_FIRST + site.instance,
        "controller.quorum.bootstrap.servers": ",".join(map(str, controllers)),
        "listeners": both(site.listen),
        "advertised.listeners": both(site.address),
        "inter.broker.listener.name": broker,
        "controller.listener.names": CONTROLLER,
    }


def _security(tls: Tls) -> dict[str, object]:
    """TLS and a login on both listeners; who is not named here may do nothing."""
    listener = f"listener.name.{SECURE.lower()}"
    controller = f"listener.name.{CONTROLLER.lower()}"
    users = (USER_BROKER, USER_CONTROLLER, USER)
    return {
        "listener.security.protocol.map": f"{SECURE}:{SECURE},{CONTROLLER}:{SECURE}",
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        "sasl.mechanism.controller.protocol": "PLAIN",
        f"{listener}.{MECHANISM.lower()}.sasl.jaas.config": (
            f"{LOGIN}.scram.ScramLoginModule required"
            f' username="{USER_BROKER}" password="{PASSWORD_BROKER}";'
        ),
        f"{controller}.sasl.enabled.mechanisms": "PLAIN",
        f"{controller}.plain.sasl.jaas.config": (
            f"{LOGIN}.plain.PlainLoginModule required"
            f' username="{USER_CONTROLLER}" password="{PASSWORD_CONTROLLER}"'
            f' user_{USER_CONTROLLER}="{PASSWORD_CONTROLLER}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": tls.bundle,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": tls.authority,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": ";".join(f"User:{user}" for user in users),
    }


def _durability(topology: Topology, brokers: int) -> dict[str, object]:
    """What the catalogue asks for, as far as there are brokers for it."""
    replicas, in_sync = replication(topology, brokers)
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def files(site: Site) -> dict[str, str]:
    """The broker's properties, its log format and its JMX rules."""
    service = site.topology.service(NAME)
    tls = site.tls(service)
    settings = {
        **_listeners(site, SECURE if tls else PLAIN),
        **(_security(tls) if tls else {}),
        "log.dirs": site.data(service),
        **_durability(site.topology, len(site.placements(service))),
        "auto.create.topics.enable": "false",  # topics come from the catalogue alone
        "message.max.bytes": EVENT_BYTES_MAX,
        "replica.fetch.max.bytes": EVENT_BYTES_MAX,
        "log.retention.check.interval.ms": 300_000,
        "group.initial.rebalance.delay.ms": 0,
        "num.network.threads": 3,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": site.size(service).heap_mib * 1024 * 1024 // 10,
    }
    conf = site.conf(service)
    return {
        str(conf / "server.properties"): lines(settings),
        str(conf / "log4j2.yaml"): LOG4J,
        str(conf / "jmx.yaml"): JMX + jvm.JMX_RULE_JVM,
        **({_format(conf): "\n".join(_formatting(site, users=True))} if tls else {}),
    }


def _format(conf: Path) -> str:
    return str(conf / "format.args")


def _formatting(site: Site, *, users: bool) -> tuple[str, ...]:
    """The arguments that make a node's log folder, with the quorum and the users it starts with."""
    config = site.conf(site.topology.service(NAME)) / "server.properties"
    passwords = {USER: PASSWORD, USER_BROKER: PASSWORD_BROKER} if users else {}
    return (
        "format",
        f"--cluster-id={cluster_id(site.stack)}",
        f"--config={config}",
        _voters(site),
        "--ignore-formatted",
        *(
            f"--add-scram={MECHANISM}=[name={user},password={password}]"
            for user, password in passwords.items()
        ),
    )


def _voters(site: Site) -> str:
    """Who forms the first quorum; later ones are in the log itself."""
    controllers = site.addresses(NAME, "controller")
    if len(controllers) == 1:
        return "--standalone"
    voters = (
        f"{node}@{address}:{directory_id(site.stack, node)}"
        for node, address in enumerate(controllers, NODE_ID_FIRST)
    )
    return f"--initial-controllers={','.join(voters)}"


def process(site: Site) -> Launch:
    """The broker, after its folder was formatted for this cluster."""
    service = site.topology.service(NAME)
    size, conf, data = site.size(service), site.conf(service), site.data(service)
    properties = str(conf / "server.properties")
    log4j = f"-Dlog4j2.configurationFile={conf / 'log4j2.yaml'}"
    classpath = (jvm.jars(site, NAME),)
    broker = jvm.Program(
        main="kafka.Kafka",
        classpath=classpath,
        options=(
            f"-XX:ReservedCodeCacheSize={CODE_CACHE_MIB}m",
            f"-XX:MaxDirectMemorySize={size.overhead_mib // 4}m",
            log4j,
            jvm.metrics_agent(
                site,
                NAME,
                listen=site.listen(NAME, "metrics"),
                rules=str(conf / "jmx.yaml"),
            ),
        ),
        arguments=(properties,),
    )
    secure = site.tls(service) is not None
    return Launch(
        name=NAME,
        argv=jvm.command(site, size, broker),
        check=check(site, service, **(LOGIN_OF_PROGRAMS if secure else {})),
        cwd=str(data),
        files=files(site),
        folders=(str(data),),
        init=(Init(argv=_storage(site, log4j), unless=str(data / "meta.properties")),),
        health=health.page(site.listen(NAME, "metrics"), "/metrics", RUNNING) if secure else (),
        nofile=OPEN_FILES,
        stop_s_max=30,
    )


def _storage(site: Site, log4j: str) -> tuple[str, ...]:
    """Formats the log folder; where there are passwords, from a file of arguments."""
    service = site.topology.service(NAME)
    secure = site.tls(service) is not None
    program = jvm.Program(
        main="kafka.tools.StorageTool",
        classpath=(jvm.jars(site, NAME),),
        options=(log4j,),
        arguments=(
            (f"@{_format(site.conf(service))}",) if secure else _formatting(site, users=False)
        ),
    )
    command = jvm.command(site, site.size(service), program)
    return ("sh", "-c", QUIET, "sh", *command) if secure else command
