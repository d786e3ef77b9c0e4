"""What supervisord and the launcher read, as text: rendered from a launch, tested as values."""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from helix.errors import InvalidError
from infra.launch import Launch
from infra.provider import layout
from infra.provider.accounts import Account, environment
from infra.provider.secrets import OPENING, resolve

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
LOG_MB_MAX = 10
LOGS_KEPT = 2
START_RETRIES = 3
OPEN_FILES_MIN = 16384


def refused(name: str, argvs: Sequence[Sequence[str]]) -> str:
    """Why such a command cannot be run safely; empty when it can."""
    if not NAME.fullmatch(name):
        return f"`name` is `{name}`; use letters, digits, `_` and `-`"
    if not all(argvs):
        return "`argv` is empty; name the program and its arguments"
    if any(OPENING in word for argv in argvs for word in argv):
        return (
            "`argv` holds a secret reference, and every account can read argument lists; "
            "hand the secret over in `env` or `files`"
        )
    return ""


def resolved(launch: Launch, lookup: Callable[[str], str]) -> Launch:
    """The launch with its secrets in place: from here on it goes to private files only."""
    if reason := refused(launch.name, [launch.argv, *(init.argv for init in launch.init)]):
        raise InvalidError(reason)
    if launch.binaries:
        raise InvalidError(
            f"`{launch.name}` has `binaries`, which processes of this machine are not given: write"
            " the content as one of its `files`"
        )
    return msgspec.convert(_walk(msgspec.to_builtins(launch), lookup), Launch)


def _walk(value: object, lookup: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return resolve(value, lookup)
    if isinstance(value, dict):
        return {key: _walk(item, lookup) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, lookup) for item in value]
    return value


def spec(launch: Launch, home: Path, who: Account) -> str:
    """What the launcher reads; any difference that asks for a restart is a difference here."""
    files = {path: _sha(text) for path, text in sorted(launch.files.items())}
    return json.dumps(
        {
            "name": launch.name,
            "argv": launch.argv,
            "env": environment(who, launch.env),
            "cwd": launch.cwd,
            "uid": who.uid,
            "gid": who.gid,
            "groups": who.groups,
            "nofile": launch.nofile,
            "starts": str(layout.start(home, launch.name)),
            "digest": launch.digest,
            "files": files,
        },
        sort_keys=True,
        indent=1,
    )


def program(launch: Launch, home: Path, *, spec_text: str, launcher: Sequence[str]) -> str:
    """The program file: supervisord restarts a group when its file differs, hence SPEC_SHA.

    Not started by itself: each is started once what it needs is ready, a dead one restarts.
    """
    command = shlex.join([*launcher, str(layout.spec(home, launch.name))])
    settings = {
        "command": command.replace("%", "%%"),
        "environment": f'SPEC_SHA="{_sha(spec_text)}"',
        "autostart": "false",
        "autorestart": "true",
        "startsecs": 1,
        "startretries": START_RETRIES,
        "stopsignal": launch.stop_signal,
        "stopwaitsecs": launch.stop_s_max,
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": layout.log(home, launch.name),
        "stdout_logfile_maxbytes": f"{LOG_MB_MAX}MB",
        "stdout_logfile_backups": LOGS_KEPT,
    }
    return _section(f"program:{launch.name}", settings)


def supervisor(home: Path, *, user: str, open_files_max: int) -> str:
    """The daemon's own file; `minfds` above the hard limit would keep it from starting."""
    daemon = {
        "user": user,
        "directory": home,
        "logfile": layout.log(home, "supervisord"),
        "logfile_maxbytes": f"{LOG_MB_MAX}MB",
        "logfile_backups": LOGS_KEPT,
        "pidfile": layout.run(home) / "pid",
        "childlogdir": home / "log",
        "minfds": min(OPEN_FILES_MIN, open_files_max),
        "nocleanup": "true",
    }
    factory = "supervisor.rpcinterface:make_main_rpcinterface"
    return "\n".join(
        [
            _section("unix_http_server", {"file": layout.socket(home), "chmod": "0700"}),
            _section("supervisord", daemon),
            _section("rpcinterface:supervisor", {"supervisor.rpcinterface_factory": factory}),
            _section("include", {"files": layout.programs(home) / "*.conf"}),
        ]
    )


def _section(title: str, settings: Mapping[str, object]) -> str:
    return "".join([f"[{title}]\n", *(f"{key} = {value}\n" for key, value in settings.items())])


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
