"""What the workers answer over HTTP: alive, ready, figures."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from helix.settings import Http
from runtime.meters import Meters, Readiness

TEXT = "text/plain; charset=utf-8"
Answer = tuple[int, str, bytes]


def answer(path: str, meters: Meters, readiness: Readiness) -> Answer:
    """Status, content type and body for a path."""
    match path.partition("?")[0]:
        case "/livez":
            return 200, TEXT, b"alive\n"
        case "/readyz":
            blockers = readiness.blockers()
            if blockers:
                return 503, TEXT, ("\n".join(blockers) + "\n").encode()
            return 200, TEXT, b"ready\n"
        case "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(meters.registry)
        case _:
            return 404, TEXT, b"ask /livez, /readyz or /metrics\n"


def serve(settings: Http, meters: Meters, readiness: Readiness) -> ThreadingHTTPServer:
    """A server that answers in threads of its own until `shutdown`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answer(self.path, meters, readiness)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Requests are not logged: Prometheus asks every few seconds."""

    server = ThreadingHTTPServer((settings.host, settings.port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
