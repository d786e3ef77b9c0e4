"""The processes of this machine as rendered against what their supervisor runs."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from helix.topology.model import Service
from infra.drift.model import ABSENT, PRESENT, Cure, Drift, Kind
from infra.drift.running import Lookup, Process, differences, environment
from infra.launch import Launch
from infra.provider import accounts, layout
from infra.provider.supervision import State, states
from infra.services.registry import face
from infra.substrates.site import LocalSite

RUNNING = "running"
STATE, ARTIFACTS, CODE = "state", "artifacts", "code"


def look(site: LocalSite, services: Sequence[Service], lookup: Lookup) -> list[Drift]:
    """Every process; `UnavailableError` when the supervisor is gone."""
    live = {state.name: state for state in states(site.home)}
    here = _as_run(site)
    rendered = {service.name: face(service).process(here) for service in services}
    return [
        *(
            drift
            for name, launch in rendered.items()
            for drift in _process(here, launch, live.get(name), lookup)
        ),
        *(_image(name, ABSENT, PRESENT) for name in sorted(live.keys() - rendered.keys())),
    ]


def _as_run(site: LocalSite) -> LocalSite:
    """As `pulumi up` renders it: by the Python that Pulumi.yaml names, whichever runs this."""
    return msgspec.structs.replace(site, python=str(site.root / ".venv" / "bin" / "python"))


def _process(site: LocalSite, launch: Launch, state: State | None, lookup: Lookup) -> list[Drift]:
    path = layout.spec(site.home, launch.name)
    if state is None or not path.exists():
        return [_image(launch.name, PRESENT, ABSENT)]
    cache = artifacts_below(site.cache)
    live = found(json.loads(path.read_text()), state, cache)
    return differences(declared(launch, cache), live, lookup)


def declared(launch: Launch, artifacts: Callable[[str], str]) -> Process:
    """What the launch asks for."""
    who = accounts.account(launch.user)
    env = accounts.environment(who, launch.env)
    return Process(
        name=launch.name,
        image={
            STATE: RUNNING,
            ARTIFACTS: artifacts(_words(launch.argv, env)),
            CODE: launch.digest,
        },
        settings={
            "command": shlex.join(launch.argv),
            "folder": launch.cwd,
            "user": str(who.uid),
            "open files": str(launch.nofile),
        },
        texts={**environment(env), **launch.files},
    )


def found(spec: Mapping[str, Any], state: State, artifacts: Callable[[str], str]) -> Process:
    """What the supervisor runs, and the files as they are by now."""
    return Process(
        name=spec["name"],
        image={
            STATE: RUNNING if state.holds else state.state.lower(),
            ARTIFACTS: artifacts(_words(spec["argv"], spec["env"])),
            CODE: spec["digest"],
        },
        settings={
            "command": shlex.join(spec["argv"]),
            "folder": spec["cwd"],
            "user": str(spec["uid"]),
            "open files": str(spec["nofile"]),
        },
        texts={
            **environment(spec["env"]),
            **{path: Path(path).read_text() for path in spec["files"] if Path(path).exists()},
        },
    )


def artifacts_below(cache: Path) -> Callable[[str], str]:
    """Which folders of the cache a text names: versions of programs."""
    below = re.compile(re.escape(f"{cache}/") + r"([^/\s:'\"]+)")
    return lambda text: " ".join(sorted(set(below.findall(text))))


def _words(argv: Sequence[str], env: Mapping[str, str]) -> str:
    return " ".join([*argv, *env.values()])


def _image(name: str, declared: str, live: str) -> Drift:
    cure = Cure.UP if declared == PRESENT else Cure.DECIDE
    return Drift(kind=Kind.IMAGE, name=name, declared=declared, live=live, cure=cure)
