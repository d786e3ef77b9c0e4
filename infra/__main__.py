"""`pulumi up`: settings, check, substrate, every service of the catalogue, outputs."""

# ruff: noqa: E402 - the imports below need the root on the path, and Pulumi adds `infra/` alone

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec
import pulumi

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.check import faults
from infra import outputs
from infra.artifacts.fetch import cache_folder
from infra.substrates.local import Local
from infra.substrates.placing import chosen, place_all
from infra.substrates.site import LocalSite
from infra.toolchain.java import java_command
from infra.toolchain.pulumi import state_folder


def site(config: pulumi.Config, env: Mapping[str, str]) -> LocalSite:
    """The machine as the stack's configuration wants it used."""
    disabled: Any = config.get_object("disabled", [])
    return LocalSite(
        topology=CATALOG,
        stack=pulumi.get_stack(),
        home=state_folder(env) / pulumi.get_stack(),
        cache=cache_folder(env),
        root=ROOT,
        java=str(java_command(env, report=pulumi.log.info)),
        python=sys.executable,
        port_offset=config.get_int("port_offset", 0) or 0,
        switches_accounts=os.geteuid() == 0,
        disabled=frozenset(msgspec.convert(disabled, list[str])),
    )


def main(env: Mapping[str, str]) -> None:
    """A catalogue that does not hold places nothing."""
    if found := faults(CATALOG):
        raise TopologyError("the catalogue does not hold:\n" + "\n".join(found))
    here = site(pulumi.Config(), env)
    place_all(Local(here), chosen(here.topology, here.disabled))
    pulumi.export("document", msgspec.to_builtins(outputs.document(here)))


main(os.environ)  # noqa: TID251 - the composition root of `pulumi up`
