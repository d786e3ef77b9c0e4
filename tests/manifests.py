"""Whether a manifest is what Kubernetes' own schemas allow, in the versions it is meant for."""

from collections.abc import Mapping
from typing import Any

import kubernetes_validate

VERSIONS = ("1.35", "1.36", "1.37")


def faults(manifest: Mapping[str, Any]) -> list[str]:
    """One sentence a fault; unknown fields are faults, for an API server drops them silently."""
    return [fault for version in VERSIONS for fault in _faults(manifest, version)]


def _faults(manifest: Mapping[str, Any], version: str) -> list[str]:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    try:
        kubernetes_validate.validate(dict(manifest), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = "".join(_step(step) for step in error.absolute_path).lstrip(".") or "its top"
        return [f"Kubernetes {version} refuses {kind} `{name}` at `{path}`: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"Kubernetes {version} has no {kind} of `{error.api_version}`, which `{name}` is"]
    return []


def _step(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"
