"""Neo4j community: heap on the Java command line, page cache in its configuration."""

from infra.launch import Init, Launch, Site, check, lines, secret
from infra.services import jvm

NAME = "neo4j"
USER = "neo4j"
PASSWORD = secret("neo4j")
OPEN_FILES = 16_384

# From the server's own launcher, which is bypassed: one process, no script between.
OPTIONS = (
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:+DisableExplicitGC",
    "-Djdk.nio.maxCachedBufferSize=1024",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Djdk.tls.ephemeralDHKeySize=2048",
    "-Dfile.encoding=UTF-8",
    "-Dlog4j2.disable.jmx=true",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
)


def files(site: Site) -> dict[str, str]:
    """`neo4j.conf`, the JMX rules, and the first password as a file of arguments."""
    service = site.topology.service(NAME)
    size, conf = site.size(service), site.conf(service)
    bolt, http = site.address(NAME, "bolt"), site.address(NAME, "http")
    settings = {
        "server.default_listen_address": bolt.host,
        "server.bolt.listen_address": bolt,
        "server.bolt.advertised_address": bolt,
        "server.http.listen_address": http,
        "server.http.advertised_address": http,
        "server.https.enabled": "false",
        "server.memory.pagecache.size": f"{size.cache_mib}m",
        "db.memory.transaction.total.max": f"{size.heap_mib // 2}m",
        "db.tx_log.rotation.retention_policy": "256M size",
        "db.logs.query.enabled": "OFF",
        "dbms.usage_report.enabled": "false",
    }
    return {
        str(conf / "neo4j.conf"): lines(settings),
        str(conf / "jmx.yaml"): "rules:\n" + jvm.JMX_RULE_JVM,
        # `--` ends the options: a password may begin with a dash.
        str(conf / "password.args"): f"--\n{PASSWORD}\n",
    }


def process(site: Site) -> Launch:
    """The server, after its first password was set; the password is never an argument."""
    service = site.topology.service(NAME)
    size, conf, data = site.size(service), site.conf(service), site.data(service)
    env = {"NEO4J_HOME": str(data), "NEO4J_CONF": str(conf)}
    classpath = (jvm.jars(site, NAME),)
    agent = jvm.metrics_agent(
        site, NAME, listen=site.address(NAME, "metrics"), rules=str(conf / "jmx.yaml")
    )
    server = jvm.Program(
        main="org.neo4j.server.CommunityEntryPoint",
        classpath=classpath,
        options=(*OPTIONS, agent),
        arguments=(f"--home-dir={data}", f"--config-dir={conf}", "--console-mode"),
    )
    password = jvm.Program(
        main="org.neo4j.cli.AdminTool",
        classpath=classpath,
        arguments=("dbms", "set-initial-password", f"@{conf / 'password.args'}"),
    )
    return Launch(
        name=NAME,
        argv=jvm.command(site, size, server),
        check=check(site, service, user=USER, password=PASSWORD),
        cwd=str(data),
        env=env,
        files=files(site),
        folders=tuple(str(data / folder) for folder in ("data", "logs", "run")),
        init=(
            Init(
                argv=jvm.command(site, size, password),
                unless=str(data / "data" / "dbms" / "auth.ini"),
                env=env,
            ),
        ),
        nofile=OPEN_FILES,
        stop_s_max=30,
    )
