"""`python -m controlplane`: the REST API over the real stores, until it is told to stop.

`python -m controlplane keys` issues, revokes and lists API keys.
"""

import gc
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

import click
import structlog
import uvicorn
import uvloop

from controlplane.app import create
from controlplane.health import Monitor, questions
from controlplane.keys import keys
from controlplane.listening import listening
from controlplane.placement import instances, outputs
from helix.adapters.tokens import count
from helix.adapters.world import connected
from helix.errors import HelixError
from helix.settings import Settings, from_env
from helix.topology.catalog import CATALOG

GC_THRESHOLDS = (100_000, 50, 50)  # a long replay makes many short-lived objects and few cycles
IDS_AT_ONCE = 256


def clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class RandomIds:
    """Random UUIDs; their bits are drawn from the system many at once, from any thread."""

    def __init__(self) -> None:
        self._stock: list[str] = []

    def __call__(self) -> str:
        """A new unique id."""
        while True:
            try:
                return self._stock.pop()
            except IndexError:
                self._stock.extend(_uuids(secrets.token_hex(16 * IDS_AT_ONCE)))


def _uuids(drawn: str) -> Iterator[str]:
    for at in range(0, len(drawn), 32):
        yield (
            f"{drawn[at : at + 8]}-{drawn[at + 8 : at + 12]}-4{drawn[at + 13 : at + 16]}"
            f"-a{drawn[at + 17 : at + 20]}-{drawn[at + 20 : at + 32]}"
        )


def log_as_json() -> None:
    """One JSON object a line on standard output, ours and the libraries' alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


async def serve(settings: Settings) -> None:
    """Answer until SIGTERM or SIGINT; what is being answered then is finished first."""
    found = outputs(settings)
    asked = questions(CATALOG, settings, instances(CATALOG, settings, found))
    monitor = Monitor(asked, clock)
    count("")  # the vocabulary is read before the first request needs it
    async with connected(settings, clock=clock, ids=RandomIds()) as world:
        app = create(world, settings, CATALOG, monitor, outputs=found)
        config = listening(app, settings.http, clock)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        structlog.get_logger().info("serving", host=settings.http.host, port=settings.http.port)
        await uvicorn.Server(config).serve()
    monitor.close()


def ignored(number: int, _: FrameType | None) -> None:
    """Only note it: uvicorn has stopped for this signal already."""
    structlog.get_logger().info("stopped", signal=number)


def outlive_the_signal() -> None:
    """Survive the signal that uvicorn raises again once it has stopped: the stores close after."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ignored)


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Serve the REST API until told to stop."""
    try:
        env = os.environ  # noqa: TID251 - the composition root of this program
        context.obj = from_env(env)
        if context.invoked_subcommand is None:
            log_as_json()
            outlive_the_signal()
            uvloop.run(serve(context.obj))
    except HelixError as error:
        raise click.ClickException(error.message) from error


main.add_command(keys)

if __name__ == "__main__":
    main(prog_name="python -m controlplane")
