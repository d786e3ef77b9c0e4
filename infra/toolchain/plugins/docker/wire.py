"""Between Pulumi's properties and our inputs: what is refused, what differs, what is secret."""

from collections.abc import Mapping
from typing import Any

import msgspec
from pulumi.provider.experimental import provider
from pulumi.provider.experimental.property_value import PropertyValue

from helix.errors import InvalidError
from infra.provider.values import Kind as Change
from infra.provider.values import changes, plain, unknown, within
from infra.toolchain.plugins.docker.inputs import KINDS, Inputs, Kind, Settings

AT = " - at `$"  # how msgspec names the place of what it refuses
HIDDEN = "[secret]"
SECRET_CHARS_MIN = 4  # a shorter text would hide half of every message
ENGINE_SETTINGS = frozenset({"version", "pluginDownloadURL"})
JSON_SETTINGS = frozenset({"registryAuth", "sshOpts"})  # structured settings cross as JSON
Properties = Mapping[str, PropertyValue]
REPLACING = {
    Change.ADD: Change.ADD_REPLACE,
    Change.DELETE: Change.DELETE_REPLACE,
    Change.UPDATE: Change.UPDATE_REPLACE,
}


def kind_of(token: str) -> Kind:
    """The type of resource, refused by name when it is not served."""
    if kind := KINDS.get(token):
        return kind
    known = ", ".join(f"`{name}`" for name in KINDS)
    raise InvalidError(
        f"`{token}` is not served by the project's own Docker plugin; it serves {known}; use the "
        "official Pulumi release for anything else"
    )


def bare(given: Properties) -> dict[str, PropertyValue]:
    """Without what is the engine's own."""
    return {key: value for key, value in given.items() if not key.startswith("__")}


def faults(shape: type[Inputs], given: Properties) -> list[provider.CheckFailure]:
    """What is wrong with the inputs; what is not known yet is not judged yet."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    names = ", ".join(f"`{name}`" for name in fields)
    found = [
        provider.CheckFailure(key, f"is not served by this plugin; it takes {names}")
        for key in sorted(given.keys() - fields.keys())
    ]
    for name, field in fields.items():
        if name not in given:
            if field.required:
                found.append(provider.CheckFailure(name, "is missing; give it a value"))
        elif not unknown(given[name]):
            found += _misfits(name, field.type, plain(given[name]))
    return found


def _misfits(name: str, shape: Any, value: object) -> list[provider.CheckFailure]:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(AT)
        return [provider.CheckFailure(f"{name}{place.rstrip('`')}", reason)]
    return []


def wanted(kind: Kind, properties: Properties) -> Any:
    """The inputs among the properties."""
    names = {field.encode_name for field in msgspec.structs.fields(kind.inputs)}
    values = {key: plain(value) for key, value in properties.items() if key in names}
    return msgspec.convert(values, kind.inputs)


def settings_inputs(given: Properties) -> dict[str, PropertyValue]:
    """The provider's settings with those opened that cross as JSON."""
    return {
        key: _opened(value) if key in JSON_SETTINGS else value
        for key, value in bare(given).items()
        if key not in ENGINE_SETTINGS
    }


def _opened(value: PropertyValue) -> PropertyValue:
    if unknown(value) or not isinstance(value.value, str):
        return value
    return _wrapped(msgspec.json.decode(value.value))


def _wrapped(value: Any) -> PropertyValue:
    if isinstance(value, dict):
        return PropertyValue({key: _wrapped(item) for key, item in value.items()})
    if isinstance(value, list):
        return PropertyValue([_wrapped(item) for item in value])
    return PropertyValue(value)


def settings(given: Properties) -> Settings:
    """Which engine is meant; what is not set is as the settings say."""
    values = {key: plain(value) for key, value in settings_inputs(given).items()}
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise InvalidError(f"the Docker provider's settings: {error}; correct them") from error


def difference(kind: Kind, request: provider.DiffRequest) -> provider.DiffResponse:
    """What an update would change, and whether that takes another resource."""
    new = {key: plain(value) for key, value in bare(request.new_inputs).items()}
    names = {field.encode_name for field in msgspec.structs.fields(kind.inputs)}
    judged = {name for name in names if name in new or name not in kind.found}
    old = {key: plain(value) for key, value in request.old_state.items() if key in judged}
    found = {
        path: change
        for path, change in changes(old, new).items()
        if not within(path, request.ignore_changes)
    }
    replaces = {
        _top(path) for path in found if kind.replaces(_top(path), taken_away=_top(path) not in new)
    }
    detail = {
        path: provider.PropertyDiff(REPLACING[change] if _top(path) in replaces else change, True)
        for path, change in found.items()
    }
    return provider.DiffResponse(
        changes=bool(detail),
        replaces=sorted(replaces),
        diffs=sorted({_top(path) for path in detail}),
        delete_before_replace=bool(replaces) and kind.deletes_first,
        detailed_diff=detail,
    )


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def secrets_in(properties: Properties) -> set[str]:
    """Every text that must not be shown: the secret values, and those of `NAME=value` pairs."""
    texts = {text for value in properties.values() for text in _secret_texts(value)}
    texts |= {text.partition("=")[2] for text in texts}
    return {text for text in texts if len(text) >= SECRET_CHARS_MIN}


def _secret_texts(value: PropertyValue, *, inside: bool = False) -> set[str]:
    inside = inside or value.is_secret
    if isinstance(value.value, str):
        return {value.value} if inside else set()
    if isinstance(value.value, Mapping):
        items = tuple(value.value.values())
    else:
        items = value.value if isinstance(value.value, tuple) else ()
    return {text for item in items for text in _secret_texts(item, inside=inside)}


def hidden(text: str, secret_texts: set[str]) -> str:
    """The text without any of those."""
    for secret in sorted(secret_texts, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
