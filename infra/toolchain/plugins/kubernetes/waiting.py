"""Waiting for an object to work or to be gone, with what keeps it from that on the way."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from helix.errors import UnavailableError
from infra.provider.runs import Stopped
from infra.toolchain.plugins.kubernetes.api import SERVICE, Api
from infra.toolchain.plugins.kubernetes.objects import SKIP_AWAIT, Object, annotation, name, title
from infra.toolchain.plugins.kubernetes.readiness import (
    READY,
    Standing,
    complaints,
    reasons,
    stuck,
)
from infra.toolchain.plugins.kubernetes.readiness import standing as standing_of

WAIT_S_MAX = 600.0
LOOK_S = 0.25
LOOK_S_MAX = 2.0
EXPLAIN_S = 5.0  # the reasons take more questions: they are asked less often
WORKLOADS = ("DaemonSet", "Deployment", "Job", "StatefulSet")
STORAGE = "storage.k8s.io/v1"


@dataclass(frozen=True)
class Wait:
    """How long an operation may take, who may end it, and who hears how far it is."""

    stopping: threading.Event
    report: Callable[[str], None] = lambda _: None
    s_max: float = WAIT_S_MAX


class NotReadyError(UnavailableError):
    """The object is there and does not work; `live` is what was seen last."""

    def __init__(self, message: str, live: Object) -> None:
        super().__init__(SERVICE, message)
        self.live = live


class _Looks:
    """The moments at which to look again: soon at first, then ever less often."""

    def __init__(self, wait: Wait) -> None:
        self._wait = wait
        self._deadline = time.monotonic() + wait.s_max
        self._pause = LOOK_S

    def again(self, item: Object) -> bool:
        """False when the time is up; `Stopped` when somebody asked for it."""
        if time.monotonic() > self._deadline:
            return False
        if self._wait.stopping.wait(self._pause):
            raise Stopped(SERVICE, f"{title(item)}: the wait was ended; run `pulumi up` again")
        self._pause = min(self._pause * 1.5, LOOK_S_MAX)
        return True


def wait_ready(api: Api, live: Object, wait: Wait) -> Object:
    """The object once it works; `NotReadyError` saying which part does not, and why."""
    if annotation(live, SKIP_AWAIT) == "true":
        return live
    try:
        return _ready(api, live, wait)
    except Stopped as error:
        raise NotReadyError(error.message, live) from error


def _ready(api: Api, live: Object, wait: Wait) -> Object:
    looks, explained = _Looks(wait), time.monotonic()
    while not (now := _standing(api, live)).ready:
        if now.failed:
            raise NotReadyError(_text(api, live, now.text), live)
        if time.monotonic() - explained > EXPLAIN_S:
            explained = time.monotonic()
            wait.report(_text(api, live, now.text))
        else:
            wait.report(now.text)
        if not looks.again(live):
            why = f"not ready within {wait.s_max:g} s: {now.text}"
            raise NotReadyError(_text(api, live, why), live)
        live = _still_there(api, live)
    return live


def wait_gone(api: Api, item: Object, wait: Wait) -> None:
    """Returns when the object and all it owns is gone, or another one has taken its name."""
    looks, first = _Looks(wait), api.get(item)
    left = first
    while first and left and left["metadata"]["uid"] == first["metadata"]["uid"]:
        held = ", ".join(f"`{key}`" for key in left["metadata"].get("finalizers") or [])
        wait.report(f"waiting for its end{f', held by {held}' if held else ''}")
        if not looks.again(item):
            raise UnavailableError(
                SERVICE,
                f"{title(left)} is not gone within {wait.s_max:g} s"
                f"{f', held by its finalizers {held}' if held else ''}; "
                "end what uses it, then run `pulumi destroy` again",
            )
        left = api.get(item)


def _still_there(api: Api, item: Object) -> Object:
    live = api.get(item)
    if live is None:
        raise UnavailableError(
            SERVICE, f"{title(item)} was deleted while it was waited for; run `pulumi up` again"
        )
    return live


def _standing(api: Api, live: Object) -> Standing:
    """A claim that waits for its first consumer is as ready as it can be."""
    now = standing_of(live)
    if live["kind"] == "PersistentVolumeClaim" and not now.ready and _waits_for_consumer(api, live):
        return READY
    return now


def _waits_for_consumer(api: Api, claim: Object) -> bool:
    wanted = claim["spec"].get("storageClassName")
    if not wanted:
        return False
    kind = {"apiVersion": STORAGE, "kind": "StorageClass", "metadata": {"name": wanted}}
    found = api.get(kind)
    return bool(found and found.get("volumeBindingMode") == "WaitForFirstConsumer")


def _text(api: Api, live: Object, why: str) -> str:
    """What is known of the object's trouble, in sentences."""
    own = reasons(live, api.events(live))
    pods = api.pods(live["metadata"]["namespace"], _labels(live)) if _labels(live) else []
    if live["kind"] == "Pod":
        pods = [live]
    events = {name(pod): api.events(pod) for pod in pods}
    parts = [f"{title(live)}: {why}", *own, *complaints(pods, events), *stuck(live, pods)]
    return "; ".join(parts)


def _labels(live: Object) -> dict[str, str]:
    """What the object's pods are found by; selectors by expressions are left out."""
    if live["kind"] not in WORKLOADS:
        return {}
    return (live["spec"].get("selector") or {}).get("matchLabels") or {}
