"""The resource plugin `helix`: Pulumi's protocol on one side, the five kinds on the other."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from pulumi.provider.experimental import provider
from pulumi.provider.experimental.property_value import PropertyValue

from helix.errors import InvalidError
from helix.topology.model import Record
from infra.launch import Launch
from infra.provider.busy import Interruptible
from infra.provider.kinds import KINDS, Kind, Store, Work
from infra.provider.serving import Engine
from infra.provider.values import COMPUTED, changes, plain, unknown, within, wrap_all

VERSION = "0.1.0"
AT = " - at `$."  # how msgspec names the place of what it refuses
Properties = Mapping[str, PropertyValue]
REPLACING = {
    provider.PropertyDiffKind.ADD: provider.PropertyDiffKind.ADD_REPLACE,
    provider.PropertyDiffKind.DELETE: provider.PropertyDiffKind.DELETE_REPLACE,
    provider.PropertyDiffKind.UPDATE: provider.PropertyDiffKind.UPDATE_REPLACE,
}


class Plugin(Interruptible):
    """Converts, decides what differs, and hands the rest to the kind; blocking work in threads."""

    def __init__(self, store: Store, engine: Engine) -> None:
        super().__init__()
        self._store = store
        self._engine = engine

    async def get_schema(self, request: provider.GetSchemaRequest) -> provider.GetSchemaResponse:
        del request
        resources = {token: _schema(kind) for token, kind in KINDS.items()}
        return provider.GetSchemaResponse(
            json.dumps({"name": "helix", "version": VERSION, "resources": resources})
        )

    async def check(self, request: provider.CheckRequest) -> provider.CheckResponse:
        inputs, failures = checked(request.type, request.new_inputs)
        return provider.CheckResponse(inputs=inputs, failures=failures)

    async def diff(self, request: provider.DiffRequest) -> provider.DiffResponse:
        kind = KINDS[request.type]
        old = plain(msgspec.to_builtins(_wanted(kind, request.old_state)))
        found = {
            path: change
            for path, change in changes(old, plain(request.new_inputs)).items()
            if not within(path, request.ignore_changes)
        }
        detail = {path: _detail(kind, path, change) for path, change in found.items()}
        for output in await self._in_thread(lambda: self._amiss(kind, request)):
            update = provider.PropertyDiffKind.UPDATE
            detail[output] = provider.PropertyDiff(update, input_diff=False)
        replaces = sorted({_top(path) for path in found if within(path, kind.replaces)})
        return provider.DiffResponse(
            changes=bool(detail),
            replaces=replaces,
            diffs=sorted({_top(path) for path in detail}),
            delete_before_replace=True,  # names and ports are taken until the old one is gone
            detailed_diff=detail,
        )

    async def create(self, request: provider.CreateRequest) -> provider.CreateResponse:
        kind = KINDS[request.type]
        if request.preview:
            return provider.CreateResponse(properties=_preview(kind, request.properties))
        wanted = _wanted(kind, request.properties)
        work = self._work(request.urn)
        outputs = await self._in_thread(lambda: kind.create(wanted, work))
        return provider.CreateResponse(
            kind.identity(wanted), {**request.properties, **wrap_all(outputs)}
        )

    async def update(self, request: provider.UpdateRequest) -> provider.UpdateResponse:
        kind = KINDS[request.type]
        if request.preview:
            return provider.UpdateResponse(_preview(kind, request.news))
        wanted = _wanted(kind, request.news)
        work = self._work(request.urn)
        outputs = await self._in_thread(lambda: kind.update(wanted, work))
        return provider.UpdateResponse({**request.news, **wrap_all(outputs)})

    async def read(self, request: provider.ReadRequest) -> provider.ReadResponse:
        kind = KINDS[request.type]
        known = {**request.properties, **request.inputs}
        inputs = {key: known[key] for key in kind.inputs.__struct_fields__ if key in known}
        wanted, work = _wanted(kind, inputs), self._work(request.urn)
        outputs = await self._in_thread(lambda: kind.read(wanted, work))
        if outputs is None:
            return provider.ReadResponse(resource_id="")  # gone
        return provider.ReadResponse(request.resource_id, {**inputs, **wrap_all(outputs)}, inputs)

    async def delete(self, request: provider.DeleteRequest) -> None:
        kind = KINDS[request.type]
        wanted, work = _wanted(kind, request.properties), self._work(request.urn)
        await self._in_thread(lambda: kind.delete(wanted, work))

    def _work(self, urn: str) -> Work:
        return Work(self._stopping, self._store, self._engine.reporter(urn))

    def _amiss(self, kind: Kind[Any], request: provider.DiffRequest) -> list[str]:
        """Outputs that are not as recorded, or not as promised.

        Looked at now, so that a plain `up` after a reboot starts what the state believes to run.
        """
        now = kind.read(_wanted(kind, request.old_state), self._work(request.urn))
        if now is None:
            return list(kind.outputs)
        before = plain(request.old_state)
        return [key for key, value in now.items() if value is False or value != before.get(key)]


def checked(
    token: str, given: Properties
) -> tuple[dict[str, PropertyValue], list[provider.CheckFailure]]:
    """The inputs with every default filled in, or what is wrong with them."""
    kind = KINDS.get(token)
    if kind is None:
        known = ", ".join(f"`{name}`" for name in KINDS)
        raise InvalidError(f"`{token}` is no resource of this plugin; it has {known}")
    given = {key: value for key, value in given.items() if not key.startswith("__")}
    if failures := _misnamed(token, kind, given):
        return dict(given), failures
    if unknown(given):
        return dict(given), []
    try:
        wanted = msgspec.convert(plain(given), kind.inputs)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(AT)
        return dict(given), [provider.CheckFailure(path.rstrip("`"), reason)]
    if problem := kind.problem(wanted):
        return dict(given), [provider.CheckFailure(*problem)]
    return {**wrap_all(msgspec.to_builtins(wanted)), **_secret(given)}, []


def _misnamed(token: str, kind: Kind[Any], given: Properties) -> list[provider.CheckFailure]:
    fields = msgspec.structs.fields(kind.inputs)
    names = ", ".join(f"`{field.name}`" for field in fields)
    strange = given.keys() - {field.name for field in fields}
    missing = {field.name for field in fields if field.required} - given.keys()
    return [
        *(provider.CheckFailure(key, f"is unknown; `{token}` takes {names}") for key in strange),
        *(provider.CheckFailure(key, f"is missing; `{token}` needs it") for key in missing),
    ]


def _secret(given: Properties) -> dict[str, PropertyValue]:
    """Marked values stay as they came: a conversion would lose the mark."""
    return {key: value for key, value in given.items() if value.contains_secret()}


def _wanted(kind: Kind[Any], properties: Properties) -> Any:
    """The kind's inputs among the properties; fields of another release's state are left out."""
    return msgspec.convert(_fitting(kind.inputs, plain(properties)), kind.inputs)


def _fitting(shape: Any, value: Any) -> Any:
    if not (isinstance(shape, type) and issubclass(shape, Record) and isinstance(value, Mapping)):
        return value
    fields = msgspec.structs.fields(shape)
    return {
        field.name: _fitting(field.type, value[field.name])
        for field in fields
        if field.name in value
    }


def _preview(kind: Kind[Any], inputs: Properties) -> dict[str, PropertyValue]:
    return {**inputs, **dict.fromkeys(kind.outputs, COMPUTED)}


def _detail(kind: Kind[Any], path: str, change: provider.PropertyDiffKind) -> provider.PropertyDiff:
    replacing = within(path, kind.replaces)
    return provider.PropertyDiff(REPLACING[change] if replacing else change, input_diff=True)


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


TEXT = {"type": "string"}
SCHEMAS: dict[Any, Mapping[str, object]] = {
    str: TEXT,
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    dict[str, str]: {"type": "object", "additionalProperties": TEXT},
    tuple[str, ...]: {"type": "array", "items": TEXT},
    Launch: {"$ref": "pulumi.json#/Any"},
}


def _schema(kind: Kind[Any]) -> dict[str, object]:
    fields = msgspec.structs.fields(kind.inputs)
    inputs = {field.name: SCHEMAS[field.type] for field in fields}
    outputs = {name: SCHEMAS[shape] for name, shape in kind.outputs.items()}
    return {
        "inputProperties": inputs,
        "requiredInputs": [field.name for field in fields if field.required],
        "properties": {**inputs, **outputs},
        "required": [*inputs, *outputs],
    }
