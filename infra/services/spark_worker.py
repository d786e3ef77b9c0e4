"""Spark's worker: lends memory and cores to the executors of batch jobs."""

from infra.launch import Launch, Site
from infra.services import spark

NAME = "spark-worker"
MAIN = "org.apache.spark.deploy.worker.Worker"


def files(site: Site) -> dict[str, str]:
    """The shared properties."""
    return spark.files(site, site.topology.service(NAME))


def process(site: Site) -> Launch:
    """One JVM; what its own heap and overhead leave goes to the executors."""
    service = site.topology.service(NAME)
    size, rpc, ui = site.size(service), site.address(NAME, "rpc"), site.address(NAME, "ui")
    lent_mib = size.memory_mib - size.heap_mib - size.overhead_mib
    arguments = (
        *("--host", rpc.host),
        *("--port", str(rpc.port)),
        *("--webui-port", str(ui.port)),
        *("--cores", str(max(1, int(size.cores)))),
        *("--memory", f"{lent_mib}m"),
        *("--work-dir", str(site.data(service))),
        f"spark://{site.address('spark-master', 'rpc')}",
    )
    return spark.process(site, service, main=MAIN, arguments=arguments)
