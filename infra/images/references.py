"""Which reference of an image a stack runs."""

from collections.abc import Mapping

from helix.topology.model import Image

OTHERS = "*"


def reference_of(image: Image, overrides: Mapping[str, str], locked: Mapping[str, str]) -> str:
    """What the stack says for the image or for every other one, the locked digest, or the tag."""
    chosen = overrides.get(image.name) or overrides.get(OTHERS)
    return chosen or locked.get(image.name) or image.reference
