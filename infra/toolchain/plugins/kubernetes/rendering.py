"""Objects as YAML files, for whoever applies them by other means."""

from pathlib import Path

import yaml

from infra.provider.files import write_private
from infra.toolchain.plugins.kubernetes.objects import Object, name

DEFINITIONS = "0-crd"  # applied before everything else
MANIFESTS = "1-manifest"
PUBLIC_MODE = 0o644


def path(folder: Path, item: Object) -> Path:
    """The object's own file."""
    inner = DEFINITIONS if item["kind"] == "CustomResourceDefinition" else MANIFESTS
    parts = (
        item["apiVersion"].replace("/", "_"),
        item["kind"].lower(),
        item["metadata"].get("namespace", ""),
        name(item),
    )
    return folder / inner / f"{'-'.join(part for part in parts if part)}.yaml"


def write(folder: Path, item: Object, *, private: bool) -> None:
    """The file holds exactly the object; what holds a secret is readable by its owner alone."""
    target = path(folder, item)
    write_private(target, yaml.safe_dump(item, sort_keys=False, allow_unicode=True))
    if not private:
        target.chmod(PUBLIC_MODE)


def read(folder: Path, item: Object) -> Object | None:
    """What the object's file holds; None when there is none."""
    target = path(folder, item)
    return yaml.safe_load(target.read_text()) if target.exists() else None


def remove(folder: Path, item: Object) -> None:
    path(folder, item).unlink(missing_ok=True)
