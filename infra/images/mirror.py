"""Bringing every image to a registry of one's own, for servers that reach no other."""

import json
from collections.abc import Iterator

from helix.topology.model import Topology
from infra.images.lock import published

Command = tuple[str, ...]


def commands(topology: Topology, prefix: str) -> list[Command]:
    """Fetch, rename and send what others publish; rename and send what is built here."""
    rows = [row for source in published(topology).values() for row in _carried(source, prefix)]
    for image in topology.images:
        if image.base:
            rows += _sent(image.reference, prefix)
    return list(dict.fromkeys(rows))


def _carried(reference: str, prefix: str) -> Iterator[Command]:
    yield ("docker", "pull", reference)
    yield from _sent(reference, prefix)


def _sent(reference: str, prefix: str) -> Iterator[Command]:
    yield ("docker", "tag", reference, mirrored(reference, prefix))
    yield ("docker", "push", mirrored(reference, prefix))


def mirrored(reference: str, prefix: str) -> str:
    """The same repository and tag below the prefix."""
    return f"{prefix.rstrip('/')}/{reference}"


def override(topology: Topology, prefix: str) -> str:
    """The value of the stack's setting `images` that runs everything from there."""
    return json.dumps({image.name: mirrored(image.reference, prefix) for image in topology.images})
