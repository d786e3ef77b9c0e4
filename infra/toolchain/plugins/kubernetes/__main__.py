"""Starts the plugin: what the engine runs through `pulumi-resource-kubernetes`."""

import os
import sys

from infra.provider.serving import Engine, address, serve
from infra.toolchain.plugins.kubernetes.kubeconfig import usual
from infra.toolchain.plugins.kubernetes.plugin import VERSION, Plugin


def main() -> None:
    args = sys.argv[1:]
    kubeconfig = usual(os.environ)  # noqa: TID251 - a composition root
    serve(Plugin(Engine(address(args)), kubeconfig=kubeconfig), version=VERSION, args=args)


if __name__ == "__main__":
    main()
