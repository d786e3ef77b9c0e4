"""Where objects go: to a cluster, or into files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from helix.errors import InvalidError
from infra.toolchain.plugins.kubernetes import rendering
from infra.toolchain.plugins.kubernetes.api import Api
from infra.toolchain.plugins.kubernetes.objects import SKIP_AWAIT, Object, annotation, title
from infra.toolchain.plugins.kubernetes.waiting import Wait, wait_gone, wait_ready


@dataclass(frozen=True)
class Seen:
    """An object as it is, and as applying what we gave would make it."""

    live: Object
    wanted: Object


class Target(Protocol):
    """A place for objects."""

    @property
    def namespace(self) -> str:
        """Where objects go that name no namespace."""
        ...

    def put(self, item: Object, wait: Wait, *, private: bool) -> Object:
        """The object as it is there, once it works."""
        ...

    def see(self, item: Object) -> Seen | None:
        """None when it is gone."""
        ...

    def remove(self, item: Object, wait: Wait) -> None:
        """Returns when it is gone."""
        ...


class Files:
    """A folder of YAML."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.namespace = namespace
        self._folder = folder

    def put(self, item: Object, wait: Wait, *, private: bool) -> Object:
        del wait
        rendering.write(self._folder, item, private=private)
        return item

    def see(self, item: Object) -> Seen | None:
        live = rendering.read(self._folder, item)
        return Seen(live, item) if live else None

    def remove(self, item: Object, wait: Wait) -> None:
        del wait
        rendering.remove(self._folder, item)


class Cluster:
    """A running cluster."""

    def __init__(self, api: Api) -> None:
        self.namespace = api.namespace
        self._api = api

    def put(self, item: Object, wait: Wait, *, private: bool) -> Object:
        del private
        return wait_ready(self._api, self._api.apply(item), wait)

    def see(self, item: Object) -> Seen | None:
        live = self._api.get(item)
        if live is None:
            return None
        try:
            return Seen(live, self._api.apply(item, dry_run=True))
        except InvalidError:  # what cannot be applied any more can still be compared
            return Seen(live, item)

    def remove(self, item: Object, wait: Wait) -> None:
        if self._api.delete(item) and annotation(item, SKIP_AWAIT) != "true":
            wait_gone(self._api, item, wait)


class Nowhere:
    """No cluster was named: what needs one says so."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def put(self, item: Object, wait: Wait, *, private: bool) -> Object:
        del wait, private
        raise self._error(item)

    def see(self, item: Object) -> Seen | None:
        raise self._error(item)

    def remove(self, item: Object, wait: Wait) -> None:
        del wait
        raise self._error(item)

    def _error(self, item: Object) -> InvalidError:
        return InvalidError(
            f"{title(item)} has no cluster to go to; set the provider's `kubeconfig`, "
            "or `renderYamlToDirectory` for files"
        )
