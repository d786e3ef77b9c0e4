"""How the API is served: bounded, quiet, and encrypted where the settings name a certificate."""

import uvicorn
from litestar import Litestar

from controlplane.protocol import bounded
from helix.ports import Clock
from helix.settings import Http

STOP_S_MAX = 5
CONNECTIONS_WAITING_MAX = 1024
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, the oldest that is spoken; 1.3 has its own


def listening(app: Litestar, at: Http, clock: Clock) -> uvicorn.Config:
    """The server's configuration; `OSError` from it where the certificate cannot be read."""
    return uvicorn.Config(
        app,
        host=at.host,
        port=at.port,
        ssl_certfile=at.certificate or None,
        ssl_keyfile=at.key or None,
        ssl_ciphers=CIPHERS,
        http=bounded(clock),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=CONNECTIONS_WAITING_MAX,
        timeout_graceful_shutdown=STOP_S_MAX,
    )
