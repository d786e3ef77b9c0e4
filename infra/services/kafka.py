"""Kafka: KRaft, the same process is broker and controller, so the log needs no other service."""

import base64
import hashlib

from helix.events import EVENT_BYTES_MAX
from helix.topology.check import replication
from helix.topology.model import Topology
from infra.launch import Init, Launch, Site, check, lines
from infra.services import jvm

NAME = "kafka"
NODE_ID = 1
CODE_CACHE_MIB = 64
OPEN_FILES = 16_384  # two files a segment, and every partition keeps several open

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

JMX = """\
lowercaseOutputName: true
rules:
- pattern: kafka.server<type=BrokerTopicMetrics, name=(.+)><>Count
  name: kafka_server_brokertopicmetrics_$1_total
  type: COUNTER
- pattern: kafka.server<type=ReplicaManager, name=(.+)><>Value
  name: kafka_server_replicamanager_$1
- pattern: kafka.controller<type=KafkaController, name=(.+)><>Value
  name: kafka_controller_$1
"""


def cluster_id(stack: str) -> str:
    """The stack's own cluster id: stable, so that a restart never meets a foreign log."""
    digest = hashlib.sha256(f"kafka:{stack}".encode()).digest()[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _listeners(site: Site) -> dict[str, object]:
    broker, controller = site.address(NAME, "broker"), site.address(NAME, "controller")
    listeners = f"PLAINTEXT://{broker},CONTROLLER://{controller}"
    return {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.bootstrap.servers": controller,
        "listeners": listeners,
        "advertised.listeners": listeners,
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
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
    settings = {
        **_listeners(site),
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
    }


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
                listen=site.address(NAME, "metrics"),
                rules=str(conf / "jmx.yaml"),
            ),
        ),
        arguments=(properties,),
    )
    storage = jvm.Program(
        main="kafka.tools.StorageTool",
        classpath=classpath,
        options=(log4j,),
        arguments=(
            "format",
            f"--cluster-id={cluster_id(site.stack)}",
            f"--config={properties}",
            "--standalone",
            "--ignore-formatted",
        ),
    )
    return Launch(
        name=NAME,
        argv=jvm.command(site, size, broker),
        check=check(site, service),
        cwd=str(data),
        files=files(site),
        folders=(str(data),),
        init=(Init(argv=jvm.command(site, size, storage), unless=str(data / "meta.properties")),),
        nofile=OPEN_FILES,
        stop_s_max=30,
    )
