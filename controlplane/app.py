"""The REST API as one value: everything it reaches is handed in."""

from litestar import Litestar
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from prometheus_client import CollectorRegistry

from controlplane.auth import ApiKeys, Keyring
from controlplane.edge import write
from controlplane.errors import handlers
from controlplane.health import Health
from controlplane.placement import Outputs, instances
from controlplane.routes import (
    context,
    conversations,
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
    *health_routes.ROUTES,
    *topology_routes.ROUTES,
)
# Swagger UI would fetch its scripts from elsewhere, so the document is served alone.
OPENAPI = OpenAPIConfig(
    title="HelixAgent data platform",
    version=health_routes.VERSION,
    path="/schema",
    render_plugins=[JsonRenderPlugin()],
    components=Components(
        security_schemes={"key": SecurityScheme(type="http", scheme="bearer")},
    ),
    security=[{"key": []}],
)


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
    app = Litestar(
        ROUTES,
        dependencies={
            "world": Provide(lambda: world, sync_to_thread=False),
            "health": Provide(lambda: health, sync_to_thread=False),
            "registry": Provide(lambda: registry, sync_to_thread=False),
            "started_at": Provide(lambda: started_at, sync_to_thread=False),
            "live": Provide(lambda: live, sync_to_thread=False),
            "write": Provide(write),
        },
        exception_handlers=handlers(world.clock),
        middleware=[DefineMiddleware(ApiKeys, keyring=Keyring(world.keys))],
        openapi_config=OPENAPI,
        request_max_body_size=settings.http.body_bytes_max,
        debug=False,
        pdb_on_exception=False,
        logging_config=None,
    )
    app.asgi_handler = Telemetry(app.asgi_handler, registry, world.ids)
    return app
