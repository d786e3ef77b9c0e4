"""The lake's catalogue: Iceberg's own REST servlet over a JDBC catalogue in PostgreSQL."""

from infra.launch import Launch, Site, check, lines
from infra.services import jvm, postgres, s3

NAME = "iceberg-rest"


def _config(site: Site) -> str:
    return str(site.conf(site.topology.service(NAME)) / "rest.properties")


def files(site: Site) -> dict[str, str]:
    """Where it listens, where the catalogue's tables are, where the lake's files go."""
    address, sql = site.address(NAME, "http"), site.address("postgres", "sql")
    settings = {
        "rest.host": address.host,
        "rest.port": address.port,
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:postgresql://{sql}/{postgres.DATABASE_LAKE}",
        "jdbc.user": postgres.USER,
        "jdbc.password": postgres.PASSWORD,
        "jdbc.schema-version": "V1",
        "warehouse": s3.bucket(site, "helixagent-iceberg", "warehouse"),
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": s3.endpoint(site),
        "s3.path-style-access": "true",
        "s3.access-key-id": s3.USER,
        "s3.secret-access-key": s3.PASSWORD,
        "client.region": s3.REGION,
    }
    return {_config(site): lines(settings)}


def process(site: Site) -> Launch:
    """One JVM."""
    service = site.topology.service(NAME)
    data = str(site.data(service))
    program = jvm.Program(
        main="IcebergRest",
        classpath=(str(site.part(NAME, "classes")), jvm.jars(site, NAME)),
        options=("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",),
        arguments=(_config(site),),
    )
    return Launch(
        name=NAME,
        argv=jvm.command(site, site.size(service), program),
        check=check(site, service),
        cwd=data,
        files=files(site),
        folders=(data,),
    )
