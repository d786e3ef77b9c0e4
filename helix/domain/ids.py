"""Ids and keys that the same input always gives again."""

import uuid

NAMESPACE = uuid.UUID("6d0f6c0e-5d9e-5c8a-9f0e-9c2f4b1d7a31")


def event_id(tenant: str, route: str, key: str, index: int = 0) -> str:
    """The id of the event at `index` of a request the client named by `key`: a retry finds it."""
    return _uuid(tenant, route, key, str(index))


def derived_id(source: str, kind: str, index: int = 0) -> str:
    """The id of an event that a worker derives from the event `source`."""
    return _uuid(source, kind, str(index))


def log_key(tenant: str, name: str) -> str:
    """The key of a record: tenant and the id whose order matters, never two pairs with one key."""
    return f"{_escaped(tenant)}/{_escaped(name)}"


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")


def _uuid(*parts: str) -> str:
    # Lengths in front keep ("a", "bc") and ("ab", "c") apart.
    return str(uuid.uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts)))
