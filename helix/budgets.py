"""What a deployment must keep to, and the figure that shows it: health and alerts judge alike."""

import msgspec

LAG_RECORDS = "helix_pipeline_lag_records"  # by pipeline and partition, exported by the workers
LAG_RECORDS_MAX = 10_000

ERRORS_RATIO_MAX = 0.01  # of all requests under load, refusals by the rate limit among them


class RouteBudget(msgspec.Struct, frozen=True):
    """How fast a route answers under load: `gate` must hold, `aim` is where we want to be."""

    route: str
    p95_ms_gate: float
    p95_ms_aim: float


ROUTE_BUDGETS = (
    RouteBudget("POST /v1/conversations", 200, 50),
    RouteBudget("POST /v1/conversations/{id}/messages", 200, 50),
    RouteBudget("POST /v1/conversations/{id}/complete", 200, 50),
    RouteBudget("GET /v1/conversations/{id}/messages", 200, 50),
    RouteBudget("GET /v1/context/stats/{id}", 200, 50),
    RouteBudget("POST /v1/context/replay", 200, 50),
)
