"""The REST API as one value: everything it reaches is handed in."""

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from prometheus_client import CollectorRegistry

from controlplane.auth import SCHEMA, Gate, Keyring
from controlplane.direct import Direct
from controlplane.edge import RETRIES, WORLD
from controlplane.errors import handlers
from controlplane.health import Health
from controlplane.jwts import tokens
from controlplane.placement import Outputs, instances
from controlplane.retries import Retries
from controlplane.routes import (
    analytics,
    context,
    conversations,
    events,
)
from controlplane.routes import (
    health as health_routes,
)
from controlplane.routes import (
    topology as topology_routes,
)
from controlplane.telemetry import Telemetry
from helix.ports import World
from helix.settings import Settings
from helix.topology.model import Topology

ROUTES = (
    *conversations.ROUTES,
    *context.ROUTES,
    *events.ROUTES,
    *analytics.ROUTES,
    *health_routes.ROUTES,
    *topology_routes.ROUTES,
)
# Swagger UI would fetch its scripts from elsewhere, so the document is served alone.
OPENAPI = OpenAPIConfig(
    title="HelixAgent data platform",
    version=health_routes.VERSION,
    path=SCHEMA,
    render_plugins=[JsonRenderPlugin()],
    components=Components(
        security_schemes={"key": SecurityScheme(type="http", scheme="bearer")},
    ),
    security=[{"key": []}],
)


METHODS = ["GET", "POST", "PATCH", "DELETE"]
ASKED_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-Request-ID"]
SHOWN_HEADERS = [
    "Link",
    "Preference-Applied",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
    "X-Total-Count",
]


def create(
    world: World,
    settings: Settings,
    topology: Topology,
    health: Health,
    *,
    outputs: Outputs | None = None,
) -> Litestar:
    """The application over that world; it opens and closes nothing itself."""
    registry = CollectorRegistry()
    started_at = world.clock()
    live = topology_routes.live_of(topology, instances(topology, settings, outputs))
    retries = Retries(world.cache, world.conversations)
    gate = DefineMiddleware(
        Gate,
        keyring=Keyring(world.keys, tokens(settings.jwt)),
        limits=world.limits,
        limit=settings.http.requests_per_min_max,
        scraper=settings.http.metrics_token,
    )
    direct = DefineMiddleware(Direct, body_bytes_max=settings.http.body_bytes_max)
    app = Litestar(
        ROUTES,
        dependencies={
            "world": Provide(lambda: world, sync_to_thread=False),
            "health": Provide(lambda: health, sync_to_thread=False),
            "registry": Provide(lambda: registry, sync_to_thread=False),
            "started_at": Provide(lambda: started_at, sync_to_thread=False),
            "live": Provide(lambda: live, sync_to_thread=False),
        },
        exception_handlers=handlers(world.clock),
        middleware=[gate, direct],
        state=State({WORLD: world, RETRIES: retries}),
        cors_config=_cors(settings.http.cors_origins),
        openapi_config=OPENAPI,
        request_max_body_size=settings.http.body_bytes_max,
        debug=False,
        pdb_on_exception=False,
        logging_config=None,
    )
    app.asgi_handler = Telemetry(app.asgi_handler, registry, world.ids)
    return app


def _cors(origins: str) -> CORSConfig | None:
    """Who may call from a browser; None: nobody."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not allowed:
        return None
    return CORSConfig(
        allow_origins=allowed,
        allow_methods=METHODS,  # pyright: ignore[reportArgumentType] - a list of its literals
        allow_headers=ASKED_HEADERS,
        expose_headers=SHOWN_HEADERS,
    )
