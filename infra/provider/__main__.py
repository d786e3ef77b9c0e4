"""Starts the plugin: what the engine runs through `pulumi-resource-helix`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from helix.topology.catalog import CATALOG
from infra.artifacts import fetch
from infra.provider.plugin import VERSION, Plugin
from infra.provider.serving import Engine, address, serve


class Cache:
    """The catalogue's artifacts in the user's cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure(self, name: str, report: Callable[[str], None]) -> Path:
        return fetch.ensure(CATALOG.artifact(name), cache=self._folder, report=report)

    def find(self, name: str) -> Path | None:
        artifact = CATALOG.artifact(name)
        complete = fetch.complete(artifact, self._folder)
        return fetch.path(artifact, self._folder) if complete else None


def main() -> None:
    cache = Cache(fetch.cache_folder(os.environ))  # noqa: TID251 - a composition root
    args = sys.argv[1:]
    plugin = Plugin(cache, Engine(address(args)))
    serve(plugin, version=VERSION, args=args, orphaned=plugin.orphaned)


if __name__ == "__main__":
    main()
