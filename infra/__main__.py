"""`pulumi up`: settings, check, substrate, every service of the catalogue, outputs."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Pulumi puts `infra/` alone on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec
import pulumi

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.check import faults
from infra import outputs
from infra.composition import services, site, substrate
from infra.substrates.placing import place_all
from infra.substrates.wanted import wanted


def main(env: Mapping[str, str]) -> None:
    """A catalogue that does not hold, or a rendering that breaks a policy, places nothing."""
    if found := faults(CATALOG):
        raise TopologyError("the catalogue does not hold:\n" + "\n".join(found))
    settings, stack = wanted(env), pulumi.get_stack()
    here = site(settings, env, stack)
    place_all(substrate(settings, env, stack), services(settings, here))
    pulumi.export("document", msgspec.to_builtins(outputs.document(here)))


main(os.environ)  # noqa: TID251 - the composition root of `pulumi up`
