"""Pulumi's property values as plain Python and back, and what differs between two of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pulumi.provider.experimental import provider
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

Kind = provider.PropertyDiffKind

# The wheel neither reads nor writes its own Computed class: a value that is not known yet crosses
# the wire, both ways, as this marker string.
COMPUTED = PropertyValue(UNKNOWN)
ABSENT = object()


def plain(value: Any) -> Any:
    """Numbers arrive as floats: whole ones become integers again."""
    bare = value.value if isinstance(value, PropertyValue) else value
    if isinstance(bare, Mapping):
        return {key: plain(item) for key, item in bare.items()}
    if isinstance(bare, Sequence) and not isinstance(bare, str):
        return [plain(item) for item in bare]
    if isinstance(bare, float) and bare.is_integer():
        return int(bare)
    return bare


def unknown(value: Any) -> bool:
    """Whether any part of it is known only after another resource is made."""
    bare = plain(value)
    if isinstance(bare, Mapping):
        return any(unknown(item) for item in bare.values())
    if isinstance(bare, list):
        return any(unknown(item) for item in bare)
    return bare == UNKNOWN


def wrap(value: Any) -> PropertyValue:
    """The value as Pulumi takes it."""
    if isinstance(value, Mapping):
        return PropertyValue({key: wrap(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return PropertyValue([wrap(item) for item in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)


def wrap_all(values: Mapping[str, object]) -> dict[str, PropertyValue]:
    return {key: wrap(value) for key, value in values.items()}


def changes(old: Any, new: Any, path: str = "") -> dict[str, Kind]:
    """The smallest properties that differ, by Pulumi's path: `launch.env.PORT`, `argv[2]`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = _entries(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        pairs = _elements(old, new, path)
    else:
        return {} if old == new and not unknown(new) else {path: _kind(old, new)}
    found: dict[str, Kind] = {}
    for inner, before, after in pairs:
        found |= changes(before, after, inner)
    return found


def _entries(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(old.keys() | new.keys()):
        yield _joined(path, key), old.get(key, ABSENT), new.get(key, ABSENT)


def _elements(old: list[Any], new: list[Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    for at in range(max(len(old), len(new))):
        before = old[at] if at < len(old) else ABSENT
        after = new[at] if at < len(new) else ABSENT
        yield f"{path}[{at}]", before, after


def _joined(path: str, key: str) -> str:
    if not key.replace("_", "").isalnum():
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def _kind(old: object, new: object) -> Kind:
    if old is ABSENT:
        return Kind.ADD
    return Kind.DELETE if new is ABSENT else Kind.UPDATE


def within(path: str, prefixes: Sequence[str]) -> bool:
    """Whether the property is one of these, or a part of one."""
    return any(
        path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")) for prefix in prefixes
    )
