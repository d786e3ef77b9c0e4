"""Starts the plugin: what the engine runs through `pulumi-resource-kubernetes`."""

import os
import sys

from infra.provider.serving import Engine, address, serve
from infra.toolchain.plugins.kubernetes.kubeconfig import usual
from infra.toolchain.plugins.kubernetes.plugin import VERSION, Plugin


def main() -> None:
    args = sys.argv[1:]
    kubeconfig = usual(os.environ)  # noqa: TID251 - a composition root
    plugin = Plugin(Engine(address(args)), kubeconfig=kubeconfig)
    serve(plugin, version=VERSION, args=args, orphaned=plugin.orphaned)


if __name__ == "__main__":
    main()
