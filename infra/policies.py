"""What must hold of everything that is rendered, before anything is placed.

`helix.topology.check` judges the catalogue; these judge what a substrate makes of it. Every rule
returns sentences that name the instance; none means nothing is wrong.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from helix.topology.check import RESERVE
from helix.topology.model import MIB_PER_GIB, Exposure, Server
from infra.provider.secrets import OPENING
from infra.substrates.containers import Container
from infra.substrates.plan import Instance, loads

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
TAG = re.compile(r":(?!latest$)[\w.-]*\d[\w.-]*$")
ANYWHERE = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])|\[::\]")
# A key and a value, as property files, YAML, XML and environments write them.
PASSWORD = re.compile(
    r"(?:password|passwd|requirepass|default_pass|secret[-_.]?key|api[-_]?key)[\"']?\s*[=:>]\s*[\"']?"
    r"(?P<value>[^\s\"'<,;}]+)",
    re.IGNORECASE,
)


def violations(rendered: Iterable[Container]) -> list[str]:
    """Every rule that a container breaks."""
    return [fault for one in rendered for rule in RULES for fault in rule(one)]


def pinned(one: Container) -> Iterator[str]:
    """An image is a version that cannot change under its name."""
    if not DIGEST.search(one.reference) and not TAG.search(one.reference):
        yield f"`{one.name}` runs an image that is not pinned: `{one.reference}`"


def no_root(one: Container) -> Iterator[str]:
    """Nobody runs as root."""
    if one.uid == 0:
        yield f"`{one.name}` runs as root: give its image a `uid`"


def no_literal_secrets(one: Container) -> Iterator[str]:
    """A secret is a reference until the edge, and in no argument list even then."""
    for where, text in _texts(one):
        for found in PASSWORD.finditer(text):
            if not _harmless(found["value"]):
                yield f"`{one.name}` holds a literal secret in {where}: `{found[0][:20]}...`"
    for word in (*one.launch.argv, *one.launch.health, *one.launch.env.values()):
        if OPENING in word:
            yield f"`{one.name}` shows a secret to whoever may look at its container"


def _texts(one: Container) -> Iterator[tuple[str, str]]:
    yield from ((f"`{path}`", text) for path, text in one.launch.files.items())
    yield from (("its environment", f"{name}={value}") for name, value in one.launch.env.items())
    yield "its arguments", " ".join(one.launch.argv)


def _harmless(value: str) -> bool:
    """A reference, a path to a file that holds it, a setting that names a mechanism."""
    return OPENING in value or value.startswith(("/", "$", "file:"))


def memory_limit(one: Container) -> Iterator[str]:
    """Whoever may take a server's whole memory takes it at the worst moment."""
    if one.memory_bytes <= 0:
        yield f"`{one.name}` has no memory limit"


def health_check(one: Container) -> Iterator[str]:
    """Running is not working."""
    if not one.ends and not one.launch.health:
        yield f"`{one.name}` has no health check: let its module return one in `health`"


def kept_volumes(one: Container) -> Iterator[str]:
    """Data outlives whatever is done to its container."""
    for volume in one.volumes:
        if not volume.kept:
            yield f"volume `{volume.name}` of `{one.name}` would be deleted with its container"


def no_open_door(one: Container) -> Iterator[str]:
    """What is bound to every interface speaks TLS, unless a network policy keeps clients out."""
    said = msgspec.json.encode(one.launch).decode()
    clients = any(port.exposure is Exposure.CLIENTS for port in one.ports)
    if ANYWHERE.search(said) and (clients or not one.fenced) and not one.certified:
        yield f"`{one.name}` is bound to every interface and speaks no TLS"


RULES: tuple[Callable[[Container], Iterator[str]], ...] = (
    pinned,
    no_root,
    no_literal_secrets,
    memory_limit,
    health_check,
    kept_volumes,
    no_open_door,
)


def over_booked(
    instances: Sequence[Instance], servers: Mapping[str, Server], *, weighed: bool = False
) -> list[str]:
    """Servers whose instances ask for more than they have less the reserve.

    Cores that are shared by weight, `weighed`, are not booked.
    """
    faults: list[str] = []
    for name, (memory_mib, cores) in sorted(loads(instances).items()):
        server, kept = servers[name], 1 - RESERVE
        for unit, asked, have in (
            ("GiB", memory_mib / MIB_PER_GIB, server.memory_gib),
            ("cores", cores, float(server.cores)),
        ):
            if asked > have * kept and not (weighed and unit == "cores"):
                faults.append(
                    f"`{name}` is over-booked: {asked:g} {unit} asked of {have * kept:g}:"
                    " spread the stack (`servers`), take `sizes` laptop, or say in `hosts` how big"
                    " it is"
                )
    return faults
