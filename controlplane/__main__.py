"""`python -m controlplane`: the REST API over the real stores, until it is told to stop."""

import logging
import os
import signal
import sys
import time
import uuid
from types import FrameType

import structlog
import uvicorn
import uvloop

from controlplane.app import create
from controlplane.health import Monitor, questions
from controlplane.placement import instances, outputs
from helix.adapters.tokens import count
from helix.adapters.world import connected
from helix.errors import HelixError
from helix.settings import Settings, from_env
from helix.topology.catalog import CATALOG

STOP_S_MAX = 5
CONNECTIONS_WAITING_MAX = 1024


def clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def ids() -> str:
    """A new unique id."""
    return str(uuid.uuid4())  # noqa: TID251 - the composition root hands ids to the world


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
    async with connected(settings, clock=clock, ids=ids) as world:
        app = create(world, settings, CATALOG, monitor, outputs=found)
        config = uvicorn.Config(
            app,
            host=settings.http.host,
            port=settings.http.port,
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=CONNECTIONS_WAITING_MAX,
            timeout_graceful_shutdown=STOP_S_MAX,
        )
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


def main() -> int:
    """Exit 0 after a stop that was asked for, 1 when the settings do not hold."""
    log_as_json()
    outlive_the_signal()
    try:
        env = os.environ  # noqa: TID251 - the composition root of this program
        uvloop.run(serve(from_env(env)))
    except HelixError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
