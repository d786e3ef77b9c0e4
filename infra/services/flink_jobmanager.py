"""Flink's JobManager: plans the streams and keeps their checkpoints."""

from infra.launch import Launch, Site
from infra.services import flink

NAME = "flink-jobmanager"
FIGURE = "flink_jobmanager_numRegisteredTaskManagers"
AFTER_BOOTSTRAP = True  # it reads the bucket of its metadata before it answers anything


def files(site: Site) -> dict[str, str]:
    """The shared configuration with this process's addresses and memory."""
    service = site.topology.service(NAME)
    address, listen = site.address(NAME, "rpc"), site.listen(NAME, "rpc")
    own: dict[str, object] = {
        "jobmanager": {
            "bind-host": listen.host,
            "rpc": {"address": address.host, "port": address.port},
            "execution": {"failover-strategy": "region"},
            "memory": {
                "process": {"size": f"{site.size(service).memory_mib}m"},
                "off-heap": {"size": "64m"},
                "jvm-metaspace": {"size": "160m"},
                "jvm-overhead": {"min": "64m", "max": "96m"},
            },
        },
        "blob": {"server": {"port": site.address(NAME, "blob").port}},
    }
    return flink.files(site, service, own)


def process(site: Site) -> Launch:
    """One JVM."""
    service = site.topology.service(NAME)
    return flink.process(site, service, script="jobmanager.sh", files=files(site), figure=FIGURE)
