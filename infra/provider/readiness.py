"""A process is ready when it answers in its own protocol; until then, what keeps it from that."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from helix.adapters.probes import ask
from helix.errors import UnavailableError
from infra.launch import Launch
from infra.provider import layout
from infra.provider.programs import resolved
from infra.provider.runs import Stopped, tail
from infra.provider.secrets import vault
from infra.provider.supervision import State, state_of

LOOK_S = 0.2
LOG_LINES = 15
RESTARTS_MAX = 3  # while it starts: a program that keeps dying never becomes ready


def wait_ready(
    home: Path,
    launch: Launch,
    *,
    stopping: threading.Event,
    report: Callable[[str], None] = lambda _: None,
) -> str:
    """What the service answered; else an error naming the blocker, the state and the log's end."""
    check = resolved(launch, vault(home)).check
    deadline = time.monotonic() + check.start_s_max
    first = state_of(home, launch.name)
    before = first.restarts if first else 0
    said = "not asked yet"
    while True:
        state = state_of(home, launch.name)
        if reason := _hopeless(state, before):
            raise _not_ready(home, launch, state, f"{reason}; {said}")
        try:
            answer = ask(check)
            if _same(state, state_of(home, launch.name)):
                return answer
            said = "something else answered in its place"
        except UnavailableError as error:
            said = error.message
        if time.monotonic() > deadline:
            raise _not_ready(home, launch, state, f"not ready within {check.start_s_max} s; {said}")
        report(f"waiting: {said}")
        if stopping.wait(LOOK_S):
            raise Stopped(launch.name, f"`{launch.name}` was asked to stop while it started")


def _same(before: State | None, after: State | None) -> bool:
    """Whether one process was there before and after the answer: then the answer is its own."""
    return bool(before and after and before.pid and before.pid == after.pid)


def _hopeless(state: State | None, before: int) -> str:
    if state is None or state.state in {"STOPPED", "STOPPING", "EXITED", "UNKNOWN"}:
        return "nobody keeps it running"
    if state.state == "FATAL":
        return "given up on, as it ends right after each start"
    if state.restarts - before >= RESTARTS_MAX:
        return f"it keeps dying: {state.restarts - before} restarts"
    return ""


def _not_ready(home: Path, launch: Launch, state: State | None, why: str) -> UnavailableError:
    seen = f"{state.state}, pid {state.pid}, {state.restarts} restarts" if state else "unknown"
    return UnavailableError(
        launch.name,
        f"`{launch.name}` is not ready: {why} (state: {seen}); its log "
        f"`{layout.log(home, launch.name)}` ends with:\n{tail(home, launch.name, LOG_LINES)}",
    )
