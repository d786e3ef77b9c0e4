"""The resource plugin `kubernetes`: the SDK's resources as objects, for where no official one is.

It serves plain objects of the API of any group and version, and refuses the rest by name.
"""

import json
from collections.abc import Mapping

from pulumi.provider.experimental import provider
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.proto import provider_pb2
from pulumi.runtime.rpc import UNKNOWN

from helix.errors import InvalidError
from infra.provider.busy import Interruptible
from infra.provider.plugin import REPLACING
from infra.provider.serving import Engine, HalfMadeError
from infra.provider.values import COMPUTED, changes, plain, unknown, within, wrap
from infra.toolchain.plugins.kubernetes import objects
from infra.toolchain.plugins.kubernetes.objects import Object
from infra.toolchain.plugins.kubernetes.settings import Settings, place, problems, settings, target
from infra.toolchain.plugins.kubernetes.targets import Files, Nowhere, Target
from infra.toolchain.plugins.kubernetes.waiting import WAIT_S_MAX, NotReadyError, Wait

VERSION = "4.34.2"  # of the SDK this stands in for
INPUTS = "__inputs"  # a diff is told the outputs alone, and those carry the server's defaults
NEXT = "use Pulumi's own release with its own plugin, or write the objects out as resources"
CONTENT = ("data", "stringData")
Properties = Mapping[str, PropertyValue]


class Plugin(Interruptible):
    """Pulumi's protocol on one side, a cluster or a folder of files on the other."""

    def __init__(self, engine: Engine, *, kubeconfig: str = "") -> None:
        super().__init__()
        self._engine = engine
        self._kubeconfig = kubeconfig
        self._settings = Settings()
        self._target: Target = Nowhere("default")

    async def get_schema(self, request: provider.GetSchemaRequest) -> provider.GetSchemaResponse:
        del request
        return provider.GetSchemaResponse(json.dumps({"name": "kubernetes", "version": VERSION}))

    async def check_config(self, request: provider.CheckRequest) -> provider.CheckResponse:
        refused = problems(plain(request.new_inputs))
        failures = [provider.CheckFailure(key, why) for key, why in sorted(refused.items())]
        return provider.CheckResponse(request.new_inputs, failures)

    async def diff_config(self, request: provider.DiffRequest) -> provider.DiffResponse:
        """Another cluster has none of our objects: everything in the old one is made anew."""
        old, new = plain(request.old_state), plain(request.new_inputs)
        found = sorted({path.partition(".")[0] for path in changes(old, new)})
        moved = not unknown(new) and place(settings(old)) != place(settings(new))
        # The wheel hands this value on as the protocol's number.
        verdict = (
            provider_pb2.DiffResponse.DIFF_SOME if found else (provider_pb2.DiffResponse.DIFF_NONE)
        )
        return provider.DiffResponse(
            changes=verdict,  # pyright: ignore[reportArgumentType] - see above
            replaces=found if moved else [],
            diffs=found,
        )

    async def configure(self, request: provider.ConfigureRequest) -> provider.ConfigureResponse:
        self._settings = settings(plain(request.args))
        self._target = target(self._settings, default=self._kubeconfig)
        return await super().configure(request)

    async def invoke(self, request: provider.InvokeRequest) -> provider.InvokeResponse:
        raise InvalidError(f"`{request.tok}` is not served by this stand-in; {NEXT}")

    async def construct(self, request: provider.ConstructRequest) -> provider.ConstructResponse:
        raise InvalidError(f"`{request.resource_type}` is not served by this stand-in; {NEXT}")

    async def check(self, request: provider.CheckRequest) -> provider.CheckResponse:
        given = request.new_inputs
        if why := objects.refused(request.type, str(plain(given.get("kind")) or "")):
            raise InvalidError(f"`{request.type}`: {why} by this stand-in; {NEXT}")
        if "generateName" in mapping(given.get("metadata")):
            failure = provider.CheckFailure("metadata.generateName", "is not served; give `name`")
            return provider.CheckResponse(dict(given), [failure])
        fresh = f"{request.name}-{request.random_seed.hex()[: objects.SUFFIX_CHARS]}"
        named_ = named(given, request.old_inputs, fresh=fresh)
        return provider.CheckResponse(hidden(placed(named_, self._target.namespace)))

    async def diff(self, request: provider.DiffRequest) -> provider.DiffResponse:
        old = objects.pruned(plain(own(given_before(request.old_state))))
        new = objects.pruned(plain(own(request.new_inputs)))
        found = {
            path: change
            for path, change in changes(old, new).items()
            if not within(path, request.ignore_changes)
        }
        fixed = objects.fixed(new, mutable=self._settings.mutable)
        detail = {
            path: provider.PropertyDiff(
                REPLACING[change] if within(path, fixed) else change, input_diff=True
            )
            for path, change in found.items()
        }
        replaces = sorted({_top(path) for path in found if within(path, fixed)})
        return provider.DiffResponse(
            changes=bool(detail),
            replaces=replaces,
            diffs=sorted({_top(path) for path in detail}),
            delete_before_replace=bool(replaces) and same_name(old, new),
            detailed_diff=detail,
        )

    async def create(self, request: provider.CreateRequest) -> provider.CreateResponse:
        if request.preview:
            return provider.CreateResponse(properties=self._preview(request.properties))
        given, wait = own(request.properties), self._wait(request.urn, request.timeout)
        live = await self._in_thread(lambda: self._put(given, wait))
        return provider.CreateResponse(objects.identity(live), state(given, live))

    async def update(self, request: provider.UpdateRequest) -> provider.UpdateResponse:
        if request.preview:
            return provider.UpdateResponse(self._preview(request.news))
        given, wait = own(request.news), self._wait(request.urn, request.timeout)
        live = await self._in_thread(lambda: self._put(given, wait))
        return provider.UpdateResponse(state(given, live))

    async def read(self, request: provider.ReadRequest) -> provider.ReadResponse:
        given = own(request.inputs)
        if "kind" not in given:  # `get` and an import know no more than the id
            found = objects.from_identity(request.type, request.resource_id)
            given = {key: wrap(value) for key, value in found.items()}
        before: Object = objects.pruned(plain(given))
        item = objects.manifest(before)
        seen = await self._in_thread(lambda: self._target.see(item))
        if seen is None:
            return provider.ReadResponse(resource_id="")  # gone
        now = renewed(given, objects.observed(before, seen.live, seen.wanted))
        return provider.ReadResponse(request.resource_id, state(now, seen.live), now)

    async def delete(self, request: provider.DeleteRequest) -> None:
        item: Object = plain(request.properties)
        wait = self._wait(request.urn, request.timeout)
        await self._in_thread(lambda: self._target.remove(item, wait))

    def _put(self, given: Properties, wait: Wait) -> Object:
        item = objects.manifest(plain(given))
        private = item["kind"] == "Secret" or any(v.contains_secret() for v in given.values())
        try:
            return self._target.put(item, wait, private=private)
        except NotReadyError as error:
            raise HalfMadeError(
                error.service,
                error.message,
                identity=objects.identity(error.live),
                properties=state(given, error.live),
            ) from error

    def _preview(self, properties: Properties) -> dict[str, PropertyValue]:
        status = {} if isinstance(self._target, Files) else {"status": COMPUTED}
        return {**own(properties), **status}

    def _wait(self, urn: str, timeout_s: float) -> Wait:
        return Wait(self._stopping, self._engine.reporter(urn), timeout_s or WAIT_S_MAX)


def named(given: Properties, old: Properties, *, fresh: str) -> dict[str, PropertyValue]:
    """With a name: the given one, the one it was given before by itself, or a fresh one."""
    metadata = given.get("metadata", PropertyValue({}))
    if metadata.value == UNKNOWN or "name" in mapping(metadata):
        return dict(given)
    before: Object = {"metadata": plain(mapping(old.get("metadata")))}
    kept = before["metadata"].get("name") if objects.annotation(before, objects.AUTONAMED) else None
    marks = mapping(mapping(metadata).get("annotations"))
    more = {
        "name": PropertyValue(kept or fresh),
        "annotations": PropertyValue({**marks, objects.AUTONAMED: PropertyValue("true")}),
    }
    return {**given, "metadata": extended(metadata, more)}


def placed(given: Properties, namespace: str) -> dict[str, PropertyValue]:
    """With a namespace, where the kind is known to need one and the program gave none."""
    metadata = given["metadata"]
    if metadata.value == UNKNOWN or "namespace" in mapping(metadata):
        return dict(given)
    if not objects.namespaced(plain(given)):
        return dict(given)
    return {**given, "metadata": extended(metadata, {"namespace": PropertyValue(namespace)})}


def hidden(given: Properties) -> dict[str, PropertyValue]:
    """A Secret's content is secret, whether the program marked it or not."""
    if plain(given["kind"]) != "Secret":
        return dict(given)
    return {key: secret(value) if key in CONTENT else value for key, value in given.items()}


def state(given: Properties, live: Object) -> dict[str, PropertyValue]:
    """The object as the cluster has it; what was given as a secret stays one."""
    secrets = {key for key, value in given.items() if value.contains_secret()}
    secrets |= set(CONTENT) if live["kind"] == "Secret" else set()
    outputs = {key: wrap(value) for key, value in live.items()}
    shown = {key: secret(value) if key in secrets else value for key, value in outputs.items()}
    texts = {"stringData": given["stringData"]} if "stringData" in given else {}
    return {**shown, **texts, INPUTS: PropertyValue(dict(given))}


def renewed(given: Properties, now: Object) -> dict[str, PropertyValue]:
    """The inputs as they are now; unchanged ones stay the very values, marks and all."""
    return {key: _renewed(given[key], value) for key, value in now.items()}


def _renewed(before: PropertyValue, now: object) -> PropertyValue:
    if objects.pruned(plain(before)) == now:
        return before
    return secret(wrap(now)) if before.contains_secret() else wrap(now)


def own(properties: Properties) -> dict[str, PropertyValue]:
    """Without what the engine or we keep beside the object."""
    return {key: value for key, value in properties.items() if not key.startswith("__")}


def given_before(outputs: Properties) -> Properties:
    """The inputs an object was last made of; those of another plugin's state are its outputs."""
    return mapping(outputs.get(INPUTS)) or outputs


def same_name(old: Object, new: Object) -> bool:
    """Whether the new object cannot be there while the old one is."""
    pairs = [
        (item["metadata"].get("name"), item["metadata"].get("namespace")) for item in (old, new)
    ]
    return old["kind"] == new["kind"] and pairs[0] == pairs[1]


def mapping(value: PropertyValue | None) -> Mapping[str, PropertyValue]:
    """The value's entries; none where it is no map or not known yet."""
    entries = value.value if value else None
    return entries if isinstance(entries, Mapping) else {}


def extended(value: PropertyValue, more: Properties) -> PropertyValue:
    """The map with more entries; its marks stay."""
    return PropertyValue({**mapping(value), **more}, value.is_secret, value.dependencies)


def secret(value: PropertyValue) -> PropertyValue:
    return PropertyValue(value.value, is_secret=True, dependencies=value.dependencies)


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]
