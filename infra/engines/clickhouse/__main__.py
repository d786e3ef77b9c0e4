"""The engine behind ClickHouse's HTTP interface; its configuration is the one argument."""

import os
import socket
import sys
import uuid

from helix.errors import TopologyError
from infra.engines.clickhouse.app import Application
from infra.engines.clickhouse.config import Config, lay_out
from infra.engines.clickhouse.figures import Beside, Figures
from infra.engines.clickhouse.links import Engine
from infra.engines.serving import read_config, serve


def main(arguments: list[str]) -> int:
    """Serve until told to stop; 2 if the config does not hold, 1 if the start failed."""
    try:
        config = read_config(arguments, Config)
    except TopologyError as error:
        sys.stderr.write(f"clickhouse: {error}\n")
        return 2
    os.umask(0o077)
    at = config.metrics
    try:
        door = socket.create_server((at.host, at.port))
    except OSError as error:
        sys.stderr.write(
            f"clickhouse: `{at.host}:{at.port}` cannot be opened: {error}; "
            "stop the process that listens there\n"
        )
        return 1
    try:
        engine = Engine(lay_out(config), threads=config.threads)
    except (OSError, RuntimeError) as error:
        sys.stderr.write(
            f"clickhouse: `{config.data}` cannot be opened: {error}; "
            "stop the process that holds the folder, or read its log\n"
        )
        return 1
    # A client's own name for a query goes first; this one only fills the gap.
    app = Application(engine, users=config.users, ids=lambda: str(uuid.uuid4()))  # noqa: TID251 - root
    return 0 if serve(Beside(app, Figures(engine), door), config) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
