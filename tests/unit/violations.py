"""A container for each policy that it breaks."""

import msgspec

from helix.topology.model import Size, Volume
from infra.launch import Launch
from infra.substrates.containers import Container
from tests.unit.rendered import CONTAINERS

SOUND = next(one for one in CONTAINERS if one.name == "redis")


def container(**changes: object) -> Container:
    return msgspec.structs.replace(SOUND, **changes)


def launched(**changes: object) -> Container:
    launch: Launch = msgspec.structs.replace(SOUND.launch, **changes)
    return msgspec.structs.replace(SOUND, launch=launch)


def _unlimited() -> Container:
    size = Size(memory_mib=0, cores=1)
    return container(instance=msgspec.structs.replace(SOUND.instance, size=size))


VIOLATIONS: dict[str, Container] = {
    "an image that is not pinned: `redis:latest`": container(reference="redis:latest"),
    "an image that is not pinned: `redis`": container(reference="redis"),
    "runs as root": container(uid=0),
    "holds a literal secret in `/etc/x`": launched(files={"/etc/x": "password = hunter2"}),
    "holds a literal secret in its environment": launched(env={"API_KEY": "hunter2"}),
    "holds a literal secret in its arguments": launched(argv=("x", "--password=hunter2")),
    "shows a secret to whoever may look": launched(argv=("x", "${secret:redis}")),
    "has no memory limit": _unlimited(),
    "has no health check": launched(health=()),
    "volume `data` of `redis` would be deleted": container(
        volumes=(Volume(name="data", mount="/data", size_gib=1, kept=False),)
    ),
    "is bound to every interface and speaks no TLS": launched(files={"/etc/x": "bind 0.0.0.0"}),
}
