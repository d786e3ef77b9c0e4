"""The Java command of a service: memory bounded by its size, and dead rather than half alive."""

from pathlib import Path

from helix.errors import TopologyError
from helix.topology.model import Maven, Record, Size
from infra.launch import Address, Site, Tls, secret

# Below this the serial collector needs the least memory and threads; above it pauses would show.
SERIAL_HEAP_MIB_MAX = 1024
STACK_KIB = 256  # per thread: servers have hundreds of shallow ones
JMX_AGENT = "jmx_prometheus_javaagent"
KEYSTORE_PASSWORD = secret("keystore")

# What the JVM itself does, whatever runs on it; servers add their own rules in front.
JMX_RULE_JVM = "- pattern: java.lang<type=(.*)>\n"


class Program(Record, frozen=True):
    """A main class with what it needs: `options` go to the JVM, `arguments` to the class."""

    main: str
    classpath: tuple[str, ...]
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def command(site: Site, size: Size, program: Program) -> tuple[str, ...]:
    """The argument list that runs the program within `size`."""
    serial = size.heap_mib <= SERIAL_HEAP_MIB_MAX
    return (
        site.java,
        f"-Xms{size.heap_mib // 2}m",
        f"-Xmx{size.heap_mib}m",
        "-XX:+UseSerialGC" if serial else "-XX:+UseG1GC",
        f"-Xss{STACK_KIB}k",
        "-XX:+ExitOnOutOfMemoryError",
        *program.options,
        "-cp",
        ":".join(program.classpath),
        program.main,
        *program.arguments,
    )


def jars(site: Site, artifact: str) -> str:
    """The class path entry that stands for every jar of an artifact."""
    return str(site.part(artifact, "lib") / "*")


def home(site: Site) -> str:
    """What scripts call JAVA_HOME: the folder whose `bin/java` is the site's Java."""
    return str(Path(site.java).parent.parent)


def trust(conf: Path) -> str:
    """The option that makes everything in a JVM believe the stack's authority.

    The launcher takes it from a file: a process's arguments are for everybody to see.
    """
    return f"@{_trust(conf)}"


def trust_files(conf: Path, tls: Tls) -> dict[str, str]:
    """What that option reads."""
    options = (
        f"-Djavax.net.ssl.trustStore={tls.keystore}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
        f"-Djavax.net.ssl.trustStorePassword={KEYSTORE_PASSWORD}",
    )
    return {_trust(conf): "".join(f"{option}\n" for option in options)}


def _trust(conf: Path) -> str:
    return str(conf / "trust.args")


def metrics_agent(site: Site, artifact: str, *, listen: Address, rules: str) -> str:
    """The option that serves the process's JMX figures to Prometheus on `listen`."""
    jar = site.part(artifact, f"lib/{JMX_AGENT}-{_agent_version(site, artifact)}.jar")
    return f"-javaagent:{jar}={listen}:{rules}"


def _agent_version(site: Site, artifact: str) -> str:
    record = site.topology.artifact(artifact)
    coordinates = record.coordinates if isinstance(record, Maven) else ()
    for coordinate in coordinates:
        _, name, version, *_ = coordinate.split(":")
        if name == JMX_AGENT:
            return version
    raise TopologyError(f"artifact `{artifact}` lacks `{JMX_AGENT}`: add it to its coordinates")
