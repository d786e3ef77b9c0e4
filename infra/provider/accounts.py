"""The account a process runs as, and the environment that account starts with."""

import os
import pwd
from collections.abc import Mapping

from helix.errors import InvalidError
from helix.topology.model import Record

ROOT = 0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Account(Record, frozen=True):
    """Who a process is."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    folder: str


def account(name: str = "") -> Account:
    """The account of that name, empty means one's own; only root may take another."""
    own = os.geteuid()
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(own)
    except KeyError as error:
        raise InvalidError(
            f"the account `{name or own}` does not exist on this machine; install the package that "
            "brings it, or leave the launch's `user` empty"
        ) from error
    if own not in (ROOT, entry.pw_uid):
        raise InvalidError(
            f"only root can start a process as `{name}`; run as root or leave `user` empty"
        )
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=tuple(groups),
        folder=entry.pw_dir,
    )


def environment(who: Account, env: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a process: nothing of the caller's shell enters it."""
    login = {"HOME": who.folder, "USER": who.name, "LOGNAME": who.name}
    return {"PATH": PATH, "LANG": "C.UTF-8", **login, **env}
