"""Neo4j community: heap on the Java command line, page cache in its configuration."""

from pathlib import Path

from infra.launch import Init, Launch, Site, Tls, check, lines, secret
from infra.services import health, jvm

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
    bolt, tls = site.listen(NAME, "bolt"), site.tls(service)
    settings = {
        "server.default_listen_address": bolt.host,
        "server.bolt.listen_address": bolt,
        "server.bolt.advertised_address": site.address(NAME, "bolt"),
        **_web(site, "https" if tls else "http"),
        **(_security(site.data(service), tls) if tls else {}),
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


def _web(site: Site, scheme: str) -> dict[str, object]:
    """The query interface over `scheme`, and over that alone."""
    settings: dict[str, object] = {
        f"server.{scheme}.listen_address": site.listen(NAME, "http"),
        f"server.{scheme}.advertised_address": site.address(NAME, "http"),
    }
    if scheme == "https":
        return {"server.http.enabled": "false", "server.https.enabled": "true"} | settings
    return settings | {"server.https.enabled": "false"}


def _security(data: Path, tls: Tls) -> dict[str, object]:
    """The same certificate for both interfaces; clients prove themselves by their password."""
    policies = {
        "enabled": "true",
        "base_directory": _certificates(data),
        "private_key": tls.key,
        "public_certificate": tls.certificate,
        "trusted_dir": _certificates(data) / "trusted",
        "revoked_dir": _certificates(data) / "revoked",
        "client_auth": "NONE",
        "tls_versions": "TLSv1.3,TLSv1.2",
    }
    return {
        "server.bolt.tls_level": "REQUIRED",
        **{
            f"dbms.ssl.policy.{interface}.{name}": value
            for interface in ("bolt", "https")
            for name, value in policies.items()
        },
    }


def _certificates(data: Path) -> Path:
    """Where the server looks for clients' certificates: nobody's."""
    return data / "certificates"


def process(site: Site) -> Launch:
    """The server, after its first password was set; the password is never an argument."""
    service = site.topology.service(NAME)
    size, conf, data = site.size(service), site.conf(service), site.data(service)
    tls = site.tls(service)
    env = {"NEO4J_HOME": str(data), "NEO4J_CONF": str(conf)}
    classpath = (jvm.jars(site, NAME),)
    agent = jvm.metrics_agent(
        site, NAME, listen=site.listen(NAME, "metrics"), rules=str(conf / "jmx.yaml")
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
        folders=tuple(str(folder) for folder in _folders(data, tls)),
        init=(
            Init(
                argv=jvm.command(site, size, password),
                unless=str(data / "data" / "dbms" / "auth.ini"),
                env=env,
            ),
        ),
        health=_health(site, tls) if tls else (),
        nofile=OPEN_FILES,
        stop_s_max=30,
    )


def _health(site: Site, tls: Tls) -> tuple[str, ...]:
    """Its image has wget, and neither curl nor openssl."""
    listen = site.listen(NAME, "http")
    url = f"https://{health.inside(listen)}:{listen.port}/"
    return ("wget", "-q", "-O", "/dev/null", f"--ca-certificate={tls.authority}", url)


def _folders(data: Path, tls: Tls | None) -> list[Path]:
    own = [data / name for name in ("data", "logs", "run")]
    return own + ([_certificates(data) / name for name in ("trusted", "revoked")] if tls else [])
