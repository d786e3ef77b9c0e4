"""Spark's master: places the batch jobs on the workers."""

from infra.launch import Launch, Site
from infra.services import spark

NAME = "spark-master"
MAIN = "org.apache.spark.deploy.master.Master"


def files(site: Site) -> dict[str, str]:
    """The shared properties."""
    return spark.files(site, site.topology.service(NAME))


def process(site: Site) -> Launch:
    """One JVM."""
    rpc, ui = site.address(NAME, "rpc"), site.address(NAME, "ui")
    arguments = ("--host", rpc.host, "--port", str(rpc.port), "--webui-port", str(ui.port))
    return spark.process(site, site.topology.service(NAME), main=MAIN, arguments=arguments)
