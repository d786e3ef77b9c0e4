"""Starts the plugin: what the engine runs through `pulumi-resource-docker`."""

import sys

from infra.provider.serving import Engine, address, serve
from infra.toolchain.plugins.docker.inputs import VERSION
from infra.toolchain.plugins.docker.plugin import Plugin


def main() -> None:
    args = sys.argv[1:]
    plugin = Plugin(Engine(address(args)))
    serve(plugin, version=VERSION, args=args, orphaned=plugin.orphaned)


if __name__ == "__main__":
    main()
