"""`python -m infra.engines.qdrant CONFIG.json`: Qdrant's engine behind its REST interface."""

import os
import sys

from prometheus_client import disable_created_metrics

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from infra.engines.qdrant.app import Application
from infra.engines.qdrant.collections import Collections
from infra.engines.qdrant.config import Config
from infra.engines.serving import read_config, serve


def main(arguments: list[str]) -> int:
    """Serve until told to stop; 2 if the config does not hold, 1 if the start failed."""
    try:
        config = read_config(arguments, Config)
    except TopologyError as error:
        sys.stderr.write(f"qdrant: {error}\n")
        return 2
    os.umask(0o077)
    disable_created_metrics()  # the server has none
    try:
        collections = Collections(config)
    except Exception as error:  # noqa: BLE001 - the engine raises nothing more precise
        sys.stderr.write(
            f"qdrant: `{config.data}` cannot be opened: {error}; "
            "stop the process that holds the folder, or rebuild it from the log\n"
        )
        return 1
    version = CATALOG.artifact("qdrant").version
    app = Application(collections, api_key=config.api_key, version=version)
    return 0 if serve(app, config) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
