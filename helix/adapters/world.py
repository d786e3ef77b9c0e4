"""The real World: every port on its store."""

import contextlib
from collections.abc import AsyncGenerator

from helix.adapters import clickhouse, kafka, postgres, redis
from helix.adapters.summariser import ChatSummariser
from helix.ports import Clock, Ids, World
from helix.settings import Settings


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, clock: Clock, ids: Ids) -> AsyncGenerator[World]:
    """The world over the stores the settings name; stores that are away are met when used."""
    edge = postgres.Edge(settings.postgres)
    engine = clickhouse.Engine(settings.clickhouse)
    log = kafka.Log(settings.kafka)
    server = redis.Server(settings.redis)
    summariser = ChatSummariser(settings.summariser) if settings.summariser.url else None
    await edge.open()
    try:
        yield World(
            clock=clock,
            ids=ids,
            log=log,
            conversations=postgres.States(edge),
            events=clickhouse.Events(engine, postgres.Marks(edge)),
            keys=postgres.ApiKeys(edge),
            cache=redis.Cache(server),
            limits=redis.Limits(server.lease),
            summariser=summariser,
        )
    finally:
        if summariser is not None:
            await summariser.close()
        log.close()
        engine.close()
        await server.close()
        await edge.close()
