"""Where a cluster answers and how we prove who we are: one context of a kubeconfig."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from helix.errors import InvalidError
from helix.topology.model import Record

DEFAULT_NAMESPACE = "default"
REFUSED = ("exec", "auth-provider", "proxy-url", "tls-server-name", "username", "as")


class Access(Record, frozen=True):
    """One cluster as one user; certificates and keys as PEM text."""

    server: str
    authority: str = ""  # empty: the authorities the machine trusts
    certificate: str = ""
    key: str = ""
    token: str = ""
    namespace: str = DEFAULT_NAMESPACE
    verified: bool = True


def usual(env: Mapping[str, str]) -> str:
    """Where `kubectl` would look; empty when nothing is there."""
    path = Path(env.get("HOME", "~")).expanduser() / ".kube" / "config"
    return env.get("KUBECONFIG", "") or (str(path) if path.exists() else "")


def access(kubeconfig: str, context: str = "") -> Access:
    """The context's cluster and user; `kubeconfig` is a path or the text itself."""
    text, folder = _text(kubeconfig)
    try:
        config = yaml.safe_load(text)
        chosen = _named(config, "context", context or config["current-context"])
        cluster = _named(config, "cluster", chosen["cluster"])
        user = _named(config, "user", chosen["user"]) if chosen.get("user") else {}
        return _access(cluster, user, chosen.get("namespace") or DEFAULT_NAMESPACE, folder)
    except yaml.YAMLError:  # its text would show the lines around the place, keys and all
        raise InvalidError(
            "the kubeconfig cannot be used: it is no YAML; give one that "
            "`kubectl config view` accepts"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidError(
            f"the kubeconfig cannot be used: {type(error).__name__} {error}; "
            "give one that `kubectl config view` accepts"
        ) from error
    except OSError as error:
        raise InvalidError(
            f"the kubeconfig names `{error.filename}`, which cannot be read: {error.strerror}; "
            "mend the path"
        ) from error


def _text(kubeconfig: str) -> tuple[str, Path]:
    """The text, and the folder its relative paths start from."""
    if "\n" in kubeconfig or kubeconfig.lstrip().startswith("{"):
        return kubeconfig, Path()
    path = Path(kubeconfig).expanduser()
    try:
        return path.read_text(), path.parent
    except OSError as error:
        raise InvalidError(
            f"the kubeconfig `{path}` cannot be read: {error.strerror}; set the provider's "
            "`kubeconfig` to an existing file or to its text"
        ) from error


def _named(config: Mapping[str, Any], what: str, name: str) -> Mapping[str, Any]:
    for row in config.get(f"{what}s") or []:
        if row["name"] == name:
            return row[what]
    raise InvalidError(f"the kubeconfig has no {what} `{name}`; choose another `context`")


def _access(
    cluster: Mapping[str, Any], user: Mapping[str, Any], namespace: str, folder: Path
) -> Access:
    for key in REFUSED:
        if cluster.get(key) or user.get(key):
            raise InvalidError(
                f"the kubeconfig uses `{key}`, which this plugin does not serve; "
                "give a token or a client certificate"
            )
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        authority=_pem(cluster, "certificate-authority", folder),
        certificate=_pem(user, "client-certificate", folder),
        key=_pem(user, "client-key", folder),
        token=_token(user, folder),
        namespace=namespace,
        verified=not cluster.get("insecure-skip-tls-verify"),
    )


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> str:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return (folder / entry[key]).read_text() if entry.get(key) else ""


def _token(user: Mapping[str, Any], folder: Path) -> str:
    if user.get("tokenFile"):
        return (folder / user["tokenFile"]).read_text().strip()
    return user.get("token") or ""
