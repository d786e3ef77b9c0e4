"""Whether a manifest is what Kubernetes' own schemas allow, in the versions it is meant for."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

VERSIONS = ("1.35", "1.36", "1.37")
SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"
# The package reads all schemas again for each manifest, which takes longer than judging it.
DEFINITIONS = "_definitions.json"


def faults(manifest: Mapping[str, Any]) -> list[str]:
    """One sentence a fault; unknown fields are faults, for an API server drops them silently."""
    return [fault for version in VERSIONS for fault in _faults(manifest, version)]


def _faults(manifest: Mapping[str, Any], version: str) -> list[str]:
    kind, name, group = manifest["kind"], manifest["metadata"]["name"], manifest["apiVersion"]
    validator = _validator(version, kind, group)
    if validator is None:
        return [f"Kubernetes {version} has no {kind} of `{group}`, which `{name}` is"]
    return [
        f"Kubernetes {version} refuses {kind} `{name}` at"
        f" `{error.json_path.removeprefix('$').lstrip('.') or 'its top'}`: {error.message}"
        for error in validator.iter_errors(manifest)
    ]


@cache
def _validator(version: str, kind: str, group: str) -> Draft202012Validator | None:
    domain, slash, number = group.partition("/")
    short = f"{domain.partition('.')[0]}-{number}" if slash else group
    found = _folder(version) / f"{kind.lower()}-{short}.json"
    if not found.is_file():
        return None
    return Draft202012Validator(json.loads(found.read_text()), registry=_registry(version))


@cache
def _registry(version: str) -> "Registry[Any]":
    definitions = json.loads((_folder(version) / DEFINITIONS).read_text())
    return Resource[Any].from_contents(definitions) @ Registry[Any]()


def _folder(version: str) -> Traversable:
    """Of the strict schemas: they allow no unknown field."""
    return SCHEMAS / f"v{version}.0-local-strict"
