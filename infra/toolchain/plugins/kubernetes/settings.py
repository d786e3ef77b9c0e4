"""The provider's settings: what of them is served, and where they lead."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from helix.errors import InvalidError
from helix.topology.model import Record
from infra.toolchain.plugins.kubernetes.api import Api
from infra.toolchain.plugins.kubernetes.kubeconfig import DEFAULT_NAMESPACE, access
from infra.toolchain.plugins.kubernetes.targets import Cluster, Files, Nowhere, Target

# What changes nothing here: objects that exist already are always taken over.
IGNORED = (
    "pluginDownloadURL",
    "suppressDeprecationWarnings",
    "suppressHelmHookWarnings",
    "upsertExistingObjects",
    "version",
)


class Settings(Record, frozen=True, rename="camel"):
    """The settings of `pulumi_kubernetes.Provider` that are served, by the names on the wire."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    render_yaml_to_directory: str = ""
    enable_server_side_apply: bool = True
    enable_config_map_mutable: bool = False
    enable_secret_mutable: bool = False

    @property
    def mutable(self) -> tuple[str, ...]:
        """The kinds whose content is changed in place."""
        return (
            *(("ConfigMap",) if self.enable_config_map_mutable else ()),
            *(("Secret",) if self.enable_secret_mutable else ()),
        )


SERVED = {field.encode_name for field in msgspec.structs.fields(Settings)}


def problems(given: Mapping[str, object]) -> dict[str, str]:
    """Setting -> why it is refused."""
    served = ", ".join(f"`{setting}`" for setting in sorted(SERVED))
    unserved = f"is not served by this stand-in for the plugin, which takes {served}"
    found = dict.fromkeys(_own(given).keys() - SERVED, unserved)
    if given.get("enableServerSideApply") in (False, "false"):
        found["enableServerSideApply"] = "must be true: objects are applied by the server alone"
    return found


def settings(given: Mapping[str, object]) -> Settings:
    """The settings as sent: what is no text arrives as JSON."""
    return msgspec.convert(_own(given), Settings, strict=False)


def _own(given: Mapping[str, object]) -> dict[str, object]:
    return {
        key: value
        for key, value in given.items()
        if value is not None and key not in IGNORED and not key.startswith("__")
    }


def target(chosen: Settings, *, default: str = "") -> Target:
    """Where the objects go; `default` is the kubeconfig where none is given."""
    if chosen.render_yaml_to_directory:
        folder = Path(chosen.render_yaml_to_directory)
        return Files(folder, chosen.namespace or DEFAULT_NAMESPACE)
    kubeconfig = chosen.kubeconfig or default
    if not kubeconfig:
        return Nowhere(chosen.namespace or DEFAULT_NAMESPACE)
    return Cluster(Api(access(kubeconfig, chosen.context), chosen.namespace))


def place(chosen: Settings) -> str:
    """What tells one place for objects from another: new credentials are no other cluster."""
    if chosen.render_yaml_to_directory or not chosen.kubeconfig:
        return chosen.render_yaml_to_directory
    try:
        return access(chosen.kubeconfig, chosen.context).server
    except InvalidError:  # a file that is gone: it tells no more than its name
        return chosen.kubeconfig
