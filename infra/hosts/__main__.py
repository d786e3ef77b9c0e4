"""`python -m infra.hosts render`: the script that prepares one server of a Docker stack."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from helix.errors import HelixError
from helix.topology.catalog import CATALOG
from infra.composition import hosted_site
from infra.hosts.host import EVERYBODY, host
from infra.hosts.script import render
from infra.stack import Stack
from infra.toolchain.places import state_folder
from infra.toolchain.pulumi import command


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Exit 1 with one sentence when the script cannot be rendered."""
    parser = argparse.ArgumentParser(prog="python -m infra.hosts", description=__doc__)
    parser.add_argument("command", choices=["render"])
    parser.add_argument("--stack", required=True)
    parser.add_argument("--server", required=True, help="server-1, ...")
    parser.add_argument(
        "--clients",
        action="append",
        metavar="CIDR",
        help=f"a network that may use what is for clients, repeatable; default {EVERYBODY}",
    )
    arguments = parser.parse_args(argv)
    try:
        sys.stdout.write(_rendered(arguments, env))
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def _rendered(arguments: argparse.Namespace, env: Mapping[str, str]) -> str:
    stack = Stack(arguments.stack, command(env), state_folder(env))
    settings = stack.wanted()
    site = hosted_site(settings, env, stack.name)
    servers = dict.fromkeys(one.server for one in site.instances)
    return render(
        host(
            CATALOG,
            site.instances,
            stack=stack.name,
            server=arguments.server,
            addresses={server: settings.host(server).address for server in servers},
            clients=arguments.clients or (EVERYBODY,),
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - a composition root
