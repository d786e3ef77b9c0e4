"""Flink's TaskManager: runs the streams."""

from infra.launch import Launch, Site
from infra.services import flink

NAME = "flink-taskmanager"
FIGURE = "flink_taskmanager_Status"


def files(site: Site) -> dict[str, str]:
    """The shared configuration with this process's addresses, slots and memory."""
    service = site.topology.service(NAME)
    rpc, data = site.address(NAME, "rpc"), site.address(NAME, "data")
    listen = site.listen(NAME, "rpc")
    own: dict[str, object] = {
        "taskmanager": {
            "host": rpc.host,
            "bind-host": listen.host,
            "rpc": {"port": rpc.port},
            "data": {"port": data.port, "bind-port": data.port},
            "numberOfTaskSlots": flink.SLOTS,
            "memory": {
                "process": {"size": f"{site.size(service).memory_mib}m"},
                "managed": {"size": "64m"},
                "framework": {"heap": {"size": "64m"}, "off-heap": {"size": "64m"}},
                "jvm-metaspace": {"size": "192m"},
                "network": {"min": "48m", "max": "48m"},
                "jvm-overhead": {"min": "64m", "max": "96m"},
            },
        },
        "io": {"tmp": {"dirs": str(site.data(service) / "tmp")}},
    }
    return flink.files(site, service, own)


def process(site: Site) -> Launch:
    """One JVM."""
    service = site.topology.service(NAME)
    return flink.process(site, service, script="taskmanager.sh", files=files(site), figure=FIGURE)
