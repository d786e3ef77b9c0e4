"""The stand-in for the resource plugin `docker`: Pulumi's protocol over an engine's own."""

import functools
import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pulumi.provider.experimental import provider
from pulumi.provider.experimental.property_value import PropertyValue

from helix.errors import HelixError, InvalidError
from infra.provider.busy import Answer, Interruptible
from infra.provider.serving import Engine
from infra.provider.values import COMPUTED, plain, wrap, wrap_all
from infra.toolchain.plugins.docker import wire
from infra.toolchain.plugins.docker.inputs import VERSION, Settings
from infra.toolchain.plugins.docker.work import Work

if TYPE_CHECKING:
    from infra.toolchain.plugins.docker.actions import Actions
    from infra.toolchain.plugins.docker.server import Server

IMAGE = "docker:index/remoteImage:RemoteImage"  # the one whose name is never made up
SUFFIX_CHARS = 7  # of the names that are made up, as the official plugin's


class Plugin(Interruptible):
    """Converts, decides what differs, and hands the rest to the actions; blocking work in threads.

    The libraries that talk to an engine are imported with the first action: most plans need none.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._settings = Settings()
        self._connecting = threading.Lock()
        self._unreachable: HelixError | None = None

    async def get_schema(self, request: provider.GetSchemaRequest) -> provider.GetSchemaResponse:
        del request
        return provider.GetSchemaResponse(json.dumps({"name": "docker", "version": VERSION}))

    async def check_config(self, request: provider.CheckRequest) -> provider.CheckResponse:
        opened = wire.settings_inputs(request.new_inputs)
        failures = wire.faults(Settings, opened)
        return provider.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def configure(self, request: provider.ConfigureRequest) -> provider.ConfigureResponse:
        self._settings = wire.settings(request.args)
        return await super().configure(request)

    async def invoke(self, request: provider.InvokeRequest) -> provider.InvokeResponse:
        raise InvalidError(
            f"`{request.tok}` is not served by the project's own Docker plugin; use the official "
            "Pulumi release for data sources"
        )

    async def check(self, request: provider.CheckRequest) -> provider.CheckResponse:
        kind = wire.kind_of(request.type)
        given = named(request)
        failures = wire.faults(kind.inputs, given)
        return provider.CheckResponse(inputs=given, failures=failures)

    async def diff(self, request: provider.DiffRequest) -> provider.DiffResponse:
        return wire.difference(wire.kind_of(request.type), request)

    async def create(self, request: provider.CreateRequest) -> provider.CreateResponse:
        kind = wire.kind_of(request.type)
        if request.preview:
            unknown = dict.fromkeys(kind.outputs, COMPUTED)
            return provider.CreateResponse(properties={**unknown, **request.properties})
        wanted, work = wire.wanted(kind, request.properties), self._work(request.urn)
        secret = wire.secrets_in(request.properties)
        identity, outputs = await self._do(
            lambda: self._actions(request.type).create(self._server, wanted, work), secret
        )
        return provider.CreateResponse(identity, _all(request.properties, outputs, secret))

    async def update(self, request: provider.UpdateRequest) -> provider.UpdateResponse:
        kind = wire.kind_of(request.type)
        changed = {
            key
            for key in kind.renewing | kind.limits
            if plain(request.olds.get(key)) != plain(request.news.get(key))
        }
        former = {key: request.olds[key] for key in kind.outputs if key in request.olds}
        kept = {**former, **request.news}
        if request.preview:
            anew = kind.outputs if changed & kind.renewing else ()
            return provider.UpdateResponse({**kept, **dict.fromkeys(anew, COMPUTED)})
        update = self._actions(request.type).update
        if update is None or not changed:
            return provider.UpdateResponse(kept)
        wanted, work = wire.wanted(kind, request.news), self._work(request.urn)
        secret = wire.secrets_in(request.news)
        outputs = await self._do(
            lambda: update(self._server, request.resource_id, wanted, work), secret
        )
        return provider.UpdateResponse(_all(kept, outputs, secret))

    async def read(self, request: provider.ReadRequest) -> provider.ReadResponse:
        kind = wire.kind_of(request.type)
        if not request.inputs:
            raise InvalidError(
                f"`{request.resource_id}` cannot be imported by the project's own Docker plugin; "
                "remove it on its server and run `pulumi up`, or import it with the official "
                "Pulumi release"
            )
        inputs = wire.bare(request.inputs)
        wanted, secret = wire.wanted(kind, inputs), wire.secrets_in(inputs)
        found = await self._do(
            lambda: self._actions(request.type).read(self._server, request.resource_id, wanted),
            secret,
        )
        if found is None:
            return provider.ReadResponse(resource_id="")  # gone
        outputs, drift = found
        inputs = {**inputs, **{key: _as_secret(inputs, key, drift[key]) for key in drift}}
        known = {key: value for key, value in request.properties.items() if key in kind.outputs}
        properties = _all({**known, **inputs}, outputs, secret)
        return provider.ReadResponse(request.resource_id, properties, inputs)

    async def delete(self, request: provider.DeleteRequest) -> None:
        kind = wire.kind_of(request.type)
        wanted, work = wire.wanted(kind, request.properties), self._work(request.urn)
        await self._do(
            lambda: self._actions(request.type).delete(
                self._server, request.resource_id, wanted, work
            ),
            wire.secrets_in(request.properties),
        )

    def _work(self, urn: str) -> Work:
        return Work(urn, self._stopping, self._engine.reporter(urn))

    async def _do(self, action: Callable[[], Answer], secret: set[str]) -> Answer:
        """In a thread of its own; no secret is in its error."""
        try:
            return await self._in_thread(action)
        except HelixError as error:
            error.args = (wire.hidden(error.message, secret),)
            raise

    def _actions(self, token: str) -> "Actions":
        from infra.toolchain.plugins.docker.actions import ACTIONS  # noqa: PLC0415 - see the class

        return ACTIONS[token]

    @property
    def _server(self) -> "Server":
        """Asked for once: the resources of a server that is down need not wait one by one."""
        with self._connecting:
            if self._unreachable:
                raise self._unreachable
            try:
                return self._connected
            except HelixError as error:
                self._unreachable = error
                raise

    @functools.cached_property
    def _connected(self) -> "Server":
        from infra.toolchain.plugins.docker.server import Server  # noqa: PLC0415 - see the class

        return Server(self._settings)


def named(request: provider.CheckRequest) -> dict[str, PropertyValue]:
    """The inputs with a name; one that is made up stays the same for the resource's life."""
    given = wire.bare(request.new_inputs)
    if "name" in given or request.type == IMAGE:
        return given
    suffix = request.random_seed.hex()[:SUFFIX_CHARS]
    former = request.old_inputs.get("name")
    return {**given, "name": former or PropertyValue(f"{request.name}-{suffix}")}


def _all(
    given: wire.Properties, outputs: Mapping[str, object], secret: set[str]
) -> dict[str, PropertyValue]:
    """The properties with the outputs told, and no secret among those."""
    told = {
        key: wire.hidden(value, secret) if isinstance(value, str) else value
        for key, value in outputs.items()
    }
    return {**given, **wrap_all(told)}


def _as_secret(inputs: wire.Properties, key: str, value: object) -> PropertyValue:
    """As it is now, as secret as what was given."""
    secret = key in inputs and inputs[key].contains_secret()
    return PropertyValue(wrap(value).value, is_secret=secret)
