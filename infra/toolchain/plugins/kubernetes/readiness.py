"""Whether an object works, from what the cluster says of it; and if not, what keeps it from that.

Everything here is pure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from helix.topology.model import Record
from infra.toolchain.plugins.kubernetes.objects import Object, name

PODS_TOLD_MAX = 5
REVISION_LABEL = "controller-revision-hash"
NO_REASON = "no reason given"


class Standing(Record, frozen=True):
    """How far an object is; one that failed does not become ready by waiting."""

    ready: bool
    text: str = ""
    failed: bool = False


READY = Standing(ready=True)


def standing(live: Object) -> Standing:
    """How far the object is; kinds that have nothing to wait for are ready."""
    look = _LOOKS.get(live["kind"])
    return look(live, live.get("spec") or {}, live.get("status") or {}) if look else READY


Look = Callable[[Object, Mapping[str, Any], Mapping[str, Any]], Standing]


def _deployment(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    progressing = condition(status, "Progressing")
    if not _seen(live, status):
        return Standing(ready=False, text="not yet seen by its controller")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Standing(ready=False, failed=True, text=said(progressing))
    want = spec.get("replicas", 1)
    return _replicas(status, want, updated=want)


def _stateful_set(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    if not _seen(live, status):
        return Standing(ready=False, text="not yet seen by its controller")
    want, strategy = spec.get("replicas", 1), spec.get("updateStrategy") or {}
    kept = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    updated = 0 if strategy.get("type") == "OnDelete" else max(0, want - kept)
    return _replicas(status, want, updated=updated)


def _replicas(status: Mapping[str, Any], want: int, *, updated: int) -> Standing:
    """Ready when all wanted ones work and none of a former generation is left."""
    ready, fresh = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    working = min(ready, status.get("availableReplicas", 0))
    done = fresh >= updated and working >= want and status.get("replicas", 0) == want
    return Standing(ready=done, text=f"{ready} of {want} replicas ready, {fresh} up to date")


def _daemon_set(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    del spec
    if not _seen(live, status):
        return Standing(ready=False, text="not yet seen by its controller")
    want = status.get("desiredNumberScheduled", 0)
    ready, fresh = status.get("numberReady", 0), status.get("updatedNumberScheduled", 0)
    text = f"{ready} of {want} pods ready, {fresh} up to date"
    return Standing(ready=min(ready, fresh) >= want, text=text)


def _job(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    del live
    for kind in ("Failed", "FailureTarget"):
        failed = condition(status, kind)
        if failed.get("status") == "True":
            return Standing(ready=False, failed=True, text=f"failed: {said(failed)}")
    done = condition(status, "Complete").get("status") == "True" or bool(spec.get("suspend"))
    text = f"{status.get('succeeded', 0)} of {spec.get('completions', 1)} done"
    return Standing(ready=done, text=f"{text}, {status.get('active', 0)} running")


def _pod(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    del live, spec
    phase = status.get("phase", "Pending")
    ready = phase == "Succeeded" or condition(status, "Ready").get("status") == "True"
    return Standing(ready=ready, failed=phase == "Failed", text=f"it is {phase}")


def _claim(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    del live, spec
    phase = status.get("phase", "Pending")
    return Standing(ready=phase == "Bound", failed=phase == "Lost", text=f"it is {phase}")


def _definition(live: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    del live, spec
    established = condition(status, "Established")
    ready = established.get("status") == "True"
    return Standing(ready=ready, text=f"not established: {said(established)}")


_LOOKS: dict[str, Look] = {
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "StatefulSet": _stateful_set,
}


def _seen(live: Object, status: Mapping[str, Any]) -> bool:
    return status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of that type; empty when nobody set it."""
    rows = status.get("conditions") or []
    return next((row for row in rows if row["type"] == kind), {})


def said(row: Mapping[str, Any]) -> str:
    """Reason and message of a condition, of an event, of a container's state."""
    parts = [str(row[key]) for key in ("reason", "message") if row.get(key)]
    return ": ".join(parts) or NO_REASON


def reasons(live: Object, events: Sequence[Object]) -> list[str]:
    """What the object itself says of its trouble: bad conditions, its last warning."""
    status = live.get("status") or {}
    failure = condition(status, "ReplicaFailure")
    found = [said(failure)] if failure else []
    return [*found, *_warning(events)]


def complaints(pods: Sequence[Object], events: Mapping[str, Sequence[Object]]) -> list[str]:
    """One sentence for each pod that does not work; `events` by the pod's name."""
    bad = [pod for pod in sorted(pods, key=name) if not standing(pod).ready]
    told = [_complaint(pod, events.get(name(pod), ())) for pod in bad[:PODS_TOLD_MAX]]
    return [*told, *([f"{len(bad) - len(told)} more pods"] if len(bad) > len(told) else [])]


def stuck(live: Object, pods: Sequence[Object]) -> list[str]:
    """The pods a StatefulSet leaves as they are until somebody deletes them.

    It replaces a pod of a former revision only once that works: a mended template alone is not
    enough.
    """
    revision = (live.get("status") or {}).get("updateRevision")
    if live["kind"] != "StatefulSet" or not revision:
        return []
    bad = [pod for pod in sorted(pods, key=name) if not standing(pod).ready]
    return [
        f"pod `{name(pod)}` is of a former revision and keeps the new one away: delete it"
        for pod in bad
        if (pod["metadata"].get("labels") or {}).get(REVISION_LABEL, revision) != revision
    ]


def _complaint(pod: Object, events: Sequence[Object]) -> str:
    status = pod.get("status") or {}
    details = [*_own(status), *_containers(status), *_warning(events)]
    reason = "; ".join(dict.fromkeys(details)) or "no event yet"
    return f"pod `{name(pod)}` is {status.get('phase', 'Pending')}: {reason}"


def _own(status: Mapping[str, Any]) -> Iterator[str]:
    if status.get("reason") or status.get("message"):
        yield said(status)
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        yield said(scheduled)


def _containers(status: Mapping[str, Any]) -> Iterator[str]:
    every = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    for row in every:
        state = row.get("state") or {}
        waiting, ended = state.get("waiting"), state.get("terminated")
        before = (row.get("lastState") or {}).get("terminated")
        if waiting and waiting.get("reason") != "PodInitializing":
            yield f"container `{row['name']}` waits: {said(waiting)}"
        for end in (ended, before):
            if end and end.get("exitCode"):
                yield f"container `{row['name']}` ended with {end['exitCode']}: {said(end)}"
        if state.get("running") and not row.get("ready"):
            yield f"container `{row['name']}` runs but is not ready"


def _warning(events: Sequence[Object]) -> Iterator[str]:
    warnings = [event for event in events if event.get("type") == "Warning"]
    if warnings:
        yield f"last event {said(max(warnings, key=_moment))}"


def _moment(event: Object) -> str:
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((moment for moment in moments if moment), "")
