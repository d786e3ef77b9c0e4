"""Starts the plugin: what the engine runs through `pulumi-resource-kubernetes`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.provider.serving import Engine, address, serve
from infra.toolchain.plugins.kubernetes.plugin import VERSION, Plugin


def default_kubeconfig(env: Mapping[str, str]) -> str:
    """Where `kubectl` would look; empty when nothing is there."""
    usual = Path(env.get("HOME", "~")).expanduser() / ".kube" / "config"
    return env.get("KUBECONFIG", "") or (str(usual) if usual.exists() else "")


def main() -> None:
    args = sys.argv[1:]
    kubeconfig = default_kubeconfig(os.environ)  # noqa: TID251 - a composition root
    serve(Plugin(Engine(address(args)), kubeconfig=kubeconfig), version=VERSION, args=args)


if __name__ == "__main__":
    main()
