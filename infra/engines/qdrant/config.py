"""The engine's configuration, as `pulumi up` writes it."""

from typing import Annotated

import msgspec

from infra.engines.serving import Place

POINTS_MIN = 10_000


class Config(Place, frozen=True):
    """Where the engine listens, keeps its data, whom it answers and when it builds an index."""

    data: str
    api_key: Annotated[str, msgspec.Meta(min_length=1)]
    # Below this a plain scan is as fast as the graph, and needs no building.
    index_points_min: Annotated[int, msgspec.Meta(ge=1)] = POINTS_MIN
