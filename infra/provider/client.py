"""What we ask of supervisord: XML-RPC over its unix socket, a fresh connection a call."""

import http.client
import socket
import xmlrpc.client
from enum import IntEnum
from pathlib import Path
from typing import Any

from helix.errors import UnavailableError
from helix.topology.model import Record
from infra.provider import layout

CALL_S_MAX = 15.0
STOP_S_MAX = 300.0  # a stop waits for the slowest program's `stop_s_max`
ADDRESS = "http://localhost/RPC2"  # the host is never looked up: the transport knows the socket
RUNNING_STATES = ("STARTING", "RUNNING", "BACKOFF")


class Fault(IntEnum):
    """Of supervisord's faults, those that mean it is already so."""

    BAD_NAME = 10
    ALREADY_STARTED = 60
    NOT_RUNNING = 70
    ALREADY_ADDED = 90


class Info(Record, frozen=True):
    """What supervisord knows of a program."""

    name: str
    state: str
    pid: int
    uptime_s: int
    reason: str

    @property
    def alive(self) -> bool:
        """Supervisor keeps it running, or is about to start it again."""
        return self.state in RUNNING_STATES


class Client:
    """The calls we make; `UnavailableError` when no supervisord answers."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def answers(self) -> bool:
        """Whether a supervisord is there at all."""
        try:
            self._call("getState")
        except UnavailableError:
            return False
        return True

    def pid(self) -> int:
        return int(self._call("getPID"))

    def infos(self) -> list[Info]:
        return [_info(row) for row in self._call("getAllProcessInfo")]

    def info(self, name: str) -> Info | None:
        """None when supervisord does not know the name."""
        row = self._call("getProcessInfo", name, unless=Fault.BAD_NAME)
        return _info(row) if row else None

    def reload(self) -> set[str]:
        """Reads the program files again; the names whose running group differs from its file."""
        try:
            added, changed, removed = self._call("reloadConfig")[0]
        except xmlrpc.client.Fault as error:
            raise UnavailableError(
                "supervisor", f"supervisord refuses its files: {error.faultString}"
            ) from error
        return {*added, *changed, *removed}

    def add(self, name: str) -> None:
        self._call("addProcessGroup", name, unless=Fault.ALREADY_ADDED)

    def start(self, name: str) -> None:
        """Returns at once: whether it works is asked of the program itself."""
        self._call("startProcess", name, False, unless=Fault.ALREADY_STARTED)

    def stop(self, name: str) -> None:
        """Returns when the whole process group has ended."""
        if self.info(name):
            self._call("stopProcess", name, unless=Fault.NOT_RUNNING, s_max=STOP_S_MAX)

    def forget(self, name: str) -> None:
        self._call("removeProcessGroup", name, unless=Fault.BAD_NAME)

    def stop_all(self) -> None:
        """Together: one after another would take the sum of all their times."""
        self._call("stopAllProcesses", s_max=STOP_S_MAX)

    def shutdown(self) -> None:
        self._call("shutdown")

    def _call(
        self, method: str, *args: object, unless: Fault | None = None, s_max: float = CALL_S_MAX
    ) -> Any:  # XML-RPC answers are untyped: the callers above give them types
        path = str(layout.socket(self._home))
        try:
            with xmlrpc.client.ServerProxy(ADDRESS, transport=_Unix(path, s_max)) as proxy:
                return getattr(proxy.supervisor, method)(*args)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == unless:
                return None
            raise
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(
                "supervisor",
                f"no supervisord answers for `{self._home}` ({error}); run `pulumi up`",
            ) from error


def _info(row: Any) -> Info:
    running = row["statename"] == "RUNNING"
    return Info(
        name=str(row["name"]),
        state=str(row["statename"]),
        pid=int(row["pid"]),
        uptime_s=int(row["now"]) - int(row["start"]) if running else 0,
        reason=str(row["spawnerr"]),
    )


class _Wire(http.client.HTTPConnection):
    def __init__(self, path: str, s_max: float) -> None:
        super().__init__("localhost", timeout=s_max)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Unix(xmlrpc.client.Transport):
    def __init__(self, path: str, s_max: float) -> None:
        super().__init__()
        self._wire = _Wire(path, s_max)

    def make_connection(self, host: object) -> _Wire:  # noqa: ARG002 - the transport's signature
        return self._wire

    def close(self) -> None:
        self._wire.close()
