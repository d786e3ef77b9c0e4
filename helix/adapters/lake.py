"""The lake's catalogue: its namespaces, through Iceberg's REST interface."""

from collections.abc import Iterable

import httpx

from helix.adapters import trust
from helix.errors import UnavailableError
from helix.settings import Iceberg

SERVICE = "iceberg-rest"
ANSWER_S_MAX = 10.0
CONFLICT = 409


def ensure(settings: Iceberg, namespaces: Iterable[str]) -> list[str]:
    """What was changed so that every namespace is there."""
    made: list[str] = []
    token = settings.token.reveal()
    try:
        with httpx.Client(
            base_url=f"{trust.scheme(settings.ca)}://{settings.host}:{settings.port}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=ANSWER_S_MAX,
            verify=trust.verified(settings.ca),
        ) as client:
            for name in namespaces:
                body = {"namespace": [name], "properties": {}}
                answer = client.post("/v1/namespaces", json=body)
                if answer.status_code != CONFLICT:
                    answer.raise_for_status()
                    made.append(f"created {name}")
    except httpx.HTTPError as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error
    return made
