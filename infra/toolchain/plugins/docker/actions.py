"""What is done for each type of resource; importing it is what costs, so plans do without."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.toolchain.plugins.docker import containers, stores
from infra.toolchain.plugins.docker.server import Server
from infra.toolchain.plugins.docker.work import Work

Outputs = dict[str, object]


@dataclass(frozen=True)
class Actions:
    """`read` gives the outputs and the inputs that are not as given; None when it is gone."""

    create: Callable[[Server, Any, Work], tuple[str, Outputs]]
    read: Callable[[Server, str, Any], tuple[Outputs, Outputs] | None]
    delete: Callable[[Server, str, Any, Work], None]
    update: Callable[[Server, str, Any, Work], Outputs] | None = None


ACTIONS = {
    "docker:index/network:Network": Actions(
        stores.create_network, stores.read_network, stores.delete_network
    ),
    "docker:index/volume:Volume": Actions(
        stores.create_volume, stores.read_volume, stores.delete_volume
    ),
    "docker:index/remoteImage:RemoteImage": Actions(
        stores.create_image, stores.read_image, stores.delete_image, stores.update_image
    ),
    "docker:index/container:Container": Actions(
        containers.create, containers.read, containers.delete, containers.update
    ),
}
