"""The platform on a fleet: the same `pulumi up` as for real servers, with laptop sizes."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from infra import stack
from infra.artifacts import fetch
from infra.artifacts.commands import Commands, Report
from infra.artifacts.workshop import Workshop
from infra.composition import hosted_site
from infra.fleet import engines, image, network
from infra.fleet.image import ImageFacts
from infra.fleet.plan import Fleet
from infra.fleet.plan import Host as Place
from infra.hosts.host import host
from infra.hosts.script import render
from infra.stack import Stack
from infra.substrates.wanted import Kind, Sizes, Wanted, typed
from infra.toolchain import programs
from infra.toolchain.places import state_folder
from infra.toolchain.pulumi import command

CHECKOUT = Path(__file__).resolve().parents[2]
# No registry ships it as a package: see docs/reference/parity.md.
ABSENT = ("grafana",)


def configuration(fleet: Fleet, facts: ImageFacts) -> dict[str, str]:
    """What `pulumi config` says of a stack on the fleet."""
    hosts = {place.server: {"engine": place.url, "address": place.address} for place in fleet.hosts}
    return {
        "substrate": Kind.DOCKER,
        "sizes": Sizes.LAPTOP,
        "servers": str(len(fleet.hosts)),
        "engines": "true",
        "hosts": json.dumps(hosts),
        "images": json.dumps({"*": facts.reference}),
        "binds": json.dumps([str(bind) for bind in facts.binds]),
        "disabled": json.dumps(ABSENT),
    }


def servers(fleet: Fleet, env: Mapping[str, str], say: Report) -> ImageFacts:
    """Three engines that answer and have the image."""
    shop = Workshop(fetch.cache_folder(env), say, Commands())
    programs.ensure(programs.needed(programs.Target.FLEET), shop)
    facts = image.ensure(CATALOG, checkout=CHECKOUT, shop=shop)
    engines.up(fleet, say)
    image.load_all(fleet, facts)
    return facts


def deploy(fleet: Fleet, env: Mapping[str, str], say: Report) -> None:
    """Servers, their preparation, the stack of the fleet's name, and a real meeting through it."""
    settings = configuration(fleet, servers(fleet, env, say))
    wanted = typed(settings)
    for place in fleet.hosts:
        prepare(fleet, place, wanted, env)
    mine = Stack(fleet.name, command(env), state_folder(env))
    stack.up(mine, settings)
    found = stack.outputs(mine)
    stack.demo(mine, found)
    stack.farewell(mine, found)


def prepare(fleet: Fleet, place: Place, wanted: Wanted, env: Mapping[str, str]) -> None:
    """The server's own firewall, by the script that real servers are prepared with."""
    instances = hosted_site(wanted, env, fleet.name).instances
    addresses = {other.server: other.address for other in fleet.hosts}
    script = render(
        host(CATALOG, instances, stack=fleet.name, server=place.server, addresses=addresses)
    )
    done = subprocess.run(
        network.within(place, ("sh", "-s", "apply", "--firewall-only")),
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(
            place.server, f"`{place.server}` could not be prepared: {done.stderr.strip()}"
        )


def withdraw(fleet: Fleet, env: Mapping[str, str], say: Report) -> None:
    """No container, volume, namespace or network is left, nor Pulumi's record of the stack."""
    engines.up(fleet, say)  # volumes are deleted by the engines that hold them
    engines.each(fleet.hosts, engines.kill_containers)  # no data is left to be stopped for
    stack.purge(Stack(fleet.name, command(env), state_folder(env)))
    engines.down(fleet, say)
