"""What Spark's master and worker share: the class path, the secret, the figures."""

from helix.topology.model import Service
from infra.launch import Launch, Site, check, lines, secret
from infra.services import health, jvm

SCALA = "2.13"  # the launcher asks for it when it builds an executor's command

METRICS = """\
*.sink.prometheusServlet.class=org.apache.spark.metrics.sink.PrometheusServlet
*.sink.prometheusServlet.path=/metrics/prometheus
master.sink.prometheusServlet.path=/metrics/master/prometheus
applications.sink.prometheusServlet.path=/metrics/applications/prometheus
"""

# What Spark's own launcher adds on Java 17; the launcher is bypassed: one process, no second JVM.
OPENED = (
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
)
OPTIONS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-Dio.netty.tryReflectionSetAccessible=true",
    *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED),
)


def files(site: Site, service: Service) -> dict[str, str]:
    """The properties of a process, with the secret a job must know to be let in."""
    conf = site.conf(service)
    tls = site.tls(service)
    settings = {
        **security(encrypted=tls is not None),
        "spark.worker.cleanup.enabled": "true",
    }
    return {
        str(conf / "spark-defaults.conf"): lines(settings, between=" "),
        str(conf / "metrics.properties"): METRICS,
        **(jvm.trust_files(conf, tls) if tls else {}),
    }


def security(*, encrypted: bool) -> dict[str, str]:
    """What master, workers, drivers and executors have to agree upon."""
    login = {"spark.authenticate": "true", "spark.authenticate.secret": secret("spark")}
    encryption = {
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.cipher": "AES/GCM/NoPadding",
        "spark.network.crypto.saslFallback": "false",  # the secret alone, unencrypted
    }
    return login | (encryption if encrypted else {})


def process(site: Site, service: Service, *, main: str, arguments: tuple[str, ...]) -> Launch:
    """One JVM, bound to its address."""
    home, conf, data = site.part("spark"), site.conf(service), str(site.data(service))
    secure, ui = site.tls(service) is not None, site.listen(service.name, "ui")
    program = jvm.Program(
        main=main,
        classpath=(str(conf), f"{home}/jars/*"),
        options=OPTIONS,
        arguments=("--properties-file", str(conf / "spark-defaults.conf"), *arguments),
    )
    return Launch(
        name=service.name,
        argv=jvm.command(site, site.size(service), program),
        check=check(site, service),
        cwd=data,
        env={
            "PATH": "/usr/bin:/bin",
            "JAVA_HOME": jvm.home(site),
            "PYSPARK_PYTHON": site.python,  # else the system's Python, which has none of ours
            "SPARK_CONF_DIR": str(conf),
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": ui.host,  # the web pages listen here
            "SPARK_SCALA_VERSION": SCALA,
            # Executors inherit it: they read the lake over TLS.
            **({"JDK_JAVA_OPTIONS": jvm.trust(conf)} if secure else {}),
        },
        files=files(site, service),
        folders=(data,),
        health=health.page(ui, service.probe.path, service.probe.expect) if secure else (),
    )
