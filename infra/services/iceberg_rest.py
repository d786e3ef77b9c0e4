"""The lake's catalogue: Iceberg's own REST servlet over a JDBC catalogue in PostgreSQL."""

from infra.launch import Launch, Site, Tls, check, lines, secret
from infra.services import health, jvm, postgres, s3

NAME = "iceberg-rest"
TOKEN = secret("iceberg")
HEALTH = "/healthz"  # needs no token
# How PostgreSQL ends its connections when it stops or crashed; without them Iceberg makes a
# connection again for class 08 alone, and the first requests after a restart would fail.
CONNECTION_ENDED = "57P01,57P02"


def _config(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "rest.properties")


def files(site: Site) -> dict[str, str]:
    """Where it listens, where the catalogue's tables are, where the lake's files go."""
    listen, sql = site.listen(NAME, "http"), site.address("postgres", "sql")
    service = site.topology.service(NAME)
    conf, tls = site.conf(service), site.tls(service)
    settings = {
        "rest.host": listen.host,
        "rest.port": listen.port,
        **(_security(tls) if tls else {}),
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:postgresql://{sql}/{postgres.DATABASE_LAKE}{_verified(tls)}",
        "jdbc.user": postgres.USER,
        "jdbc.password": postgres.PASSWORD,
        "jdbc.schema-version": "V1",
        "retryable_status_codes": CONNECTION_ENDED,
        "warehouse": s3.bucket(site, "helixagent-iceberg", "warehouse"),
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": s3.endpoint(site),
        "s3.path-style-access": "true",
        "s3.access-key-id": s3.USER,
        "s3.secret-access-key": s3.PASSWORD,
        "client.region": s3.REGION,
    }
    return {_config(site): lines(settings), **(jvm.trust_files(conf, tls) if tls else {})}


def _security(tls: Tls) -> dict[str, str]:
    return {
        "rest.tls.keystore": tls.keystore,
        "rest.tls.password": jvm.KEYSTORE_PASSWORD,
        "rest.token": TOKEN,
    }


def _verified(tls: Tls | None) -> str:
    """The part of a database's URL that lets nobody stand between."""
    return f"?sslmode=verify-full&sslrootcert={tls.authority}" if tls else ""


def process(site: Site) -> Launch:
    """One JVM."""
    service = site.topology.service(NAME)
    data, tls = str(site.data(service)), site.tls(service)
    program = jvm.Program(
        main="IcebergRest",
        classpath=(str(site.part(NAME, "classes")), jvm.jars(site, NAME)),
        options=(
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *((jvm.trust(site.conf(service)),) if tls else ()),
        ),
        arguments=(_config(site),),
    )
    return Launch(
        name=NAME,
        argv=jvm.command(site, site.size(service), program),
        check=check(site, service, password=TOKEN if tls else ""),
        cwd=data,
        files=files(site),
        folders=(data,),
        health=health.curl(site.listen(NAME, "http"), HEALTH, tls.authority) if tls else (),
    )
