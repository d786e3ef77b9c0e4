"""`python -m infra.kube`: a Kubernetes cluster on loopback to try the platform's manifests on."""

import argparse
import os
import sys

from helix.errors import HelixError
from infra.artifacts.commands import on_stderr
from infra.artifacts.fetch import cache_folder
from infra.kube import cluster
from infra.kube.launches import Plan, Tools
from infra.toolchain.places import state_folder

FOLDER = "kube"


def main() -> int:
    """0 when it was done, 1 with one line saying what was not."""
    parser = argparse.ArgumentParser(prog="python -m infra.kube", description=__doc__)
    parser.add_argument("action", choices=("tools", "up", "down", "kubeconfig"))
    parser.add_argument("--name", default="cluster", help="of the cluster, to have several")
    parser.add_argument("--offset", type=int, default=0, help="added to every port")
    arguments = parser.parse_args()
    env = dict(os.environ)  # noqa: TID251 - a composition root
    home = str(state_folder(env) / FOLDER / arguments.name)
    unused = Tools(kubebox="", kwok="", stages=())
    plan = Plan(home=home, tools=unused, offset=arguments.offset)
    try:
        _ACTIONS[arguments.action](plan, env)
    except HelixError as error:
        on_stderr(error.message)
        return 1
    return 0


def _tools(plan: Plan, env: dict[str, str]) -> Tools:
    del plan
    return cluster.tools(cache_folder(env), on_stderr)


def _up(plan: Plan, env: dict[str, str]) -> None:
    ready = Plan(home=plan.home, tools=_tools(plan, env), offset=plan.offset)
    cluster.start(ready)
    on_stderr(f"{plan.server} answers; its kubeconfig: `python -m infra.kube kubeconfig`")


def _down(plan: Plan, env: dict[str, str]) -> None:
    del env
    cluster.stop(plan)


def _kubeconfig(plan: Plan, env: dict[str, str]) -> None:
    del env
    sys.stdout.write(cluster.kubeconfig(plan))


_ACTIONS = {"tools": _tools, "up": _up, "down": _down, "kubeconfig": _kubeconfig}

if __name__ == "__main__":
    sys.exit(main())
