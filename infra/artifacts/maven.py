"""Jars from coordinates: resolved by Maven, checked byte by byte against the lock file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from helix.errors import TopologyError
from helix.topology.model import Maven
from infra.artifacts.workshop import Workshop

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
JAVA_RELEASE = "17"
GROUP_ARTIFACT_VERSION = 3


def pom(artifact: Maven) -> str:
    """The project file that asks Maven for the artifact's jars."""
    project = ET.Element("project", xmlns="http://maven.apache.org/POM/4.0.0")
    _child(project, "modelVersion", "4.0.0")
    _child(project, "groupId", "helix")
    _child(project, "artifactId", artifact.name)
    _child(project, "version", artifact.version)
    _child(project, "packaging", "pom")
    dependencies = _child(project, "dependencies")
    for coordinate in artifact.coordinates:
        _dependency(dependencies, coordinate, transitive=artifact.transitive)
    ET.indent(project)
    return ET.tostring(project, encoding="unicode") + "\n"


def _dependency(parent: ET.Element, coordinate: str, *, transitive: bool) -> None:
    parts = coordinate.split(":")
    if not GROUP_ARTIFACT_VERSION <= len(parts) <= GROUP_ARTIFACT_VERSION + 1:
        raise TopologyError(
            f"`{coordinate}` is no Maven coordinate; write group:artifact:version[:classifier]"
        )
    dependency = _child(parent, "dependency")
    names = ("groupId", "artifactId", "version", "classifier")
    for name, text in zip(names, parts, strict=False):
        _child(dependency, name, text)
    if not transitive:
        exclusion = _child(_child(dependency, "exclusions"), "exclusion")
        _child(exclusion, "groupId", "*")
        _child(exclusion, "artifactId", "*")


def _child(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = text
    return child


def parse_lock(text: str) -> dict[str, str]:
    """File name -> sha256 of a lock file's lines."""
    return {name: digest for digest, name in map(str.split, text.splitlines())}


def render_lock(digests: Mapping[str, str]) -> str:
    """One `sha256  filename` a line, sorted by name: what `sha256sum --check` reads."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def differences(found: Mapping[str, str], locked: Mapping[str, str]) -> list[str]:
    """One sentence for each jar that is missing, unknown or of other bytes."""
    return [
        *(f"`{name}` is missing" for name in sorted(locked.keys() - found.keys())),
        *(f"`{name}` is not in the lock file" for name in sorted(found.keys() - locked.keys())),
        *(
            f"`{name}` has other bytes than locked"
            for name in sorted(locked.keys() & found.keys())
            if locked[name] != found[name]
        ),
    ]


def resolve(artifact: Maven, folder: Path, shop: Workshop) -> dict[str, str]:
    """Copy the artifact's jars into `folder/lib`; file name -> sha256 of what came.

    Maven's local repository is shared by all its processes and not made for that: one at a time.
    """
    mvn = shop.commands.require("mvn", install="Maven 3.8 or newer (Debian: `maven`)")
    project = folder / "pom.xml"
    project.write_text(pom(artifact))
    options = (f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime")
    command = (mvn, "-B", "-Dstyle.color=never", "-f", project, COPY, *options)
    with shop.alone("maven"):
        shop.report(f"resolving {len(artifact.coordinates)} coordinates")
        shop.commands.run(command, log=shop.log(artifact.name), cwd=folder)
    return {jar.name: sha256(jar) for jar in (folder / "lib").iterdir()}


def make(artifact: Maven, folder: Path, shop: Workshop) -> None:
    """Fill `folder` with the locked jars in `lib` and our own launchers in `classes`."""
    lock = shop.lock(artifact.name)
    if not lock.exists():
        raise TopologyError(
            f"`{lock}` is missing; write it with `python -m infra.artifacts lock {artifact.name}`"
        )
    wrong = differences(resolve(artifact, folder, shop), parse_lock(lock.read_text()))
    if wrong:
        raise TopologyError(
            f"`{artifact.name}` differs from `{lock.name}`: {'; '.join(wrong)}. If the change is"
            f" wanted, run `python -m infra.artifacts lock {artifact.name}` and review the result"
        )
    if artifact.sources:
        _compile(artifact, folder, shop)


def _compile(artifact: Maven, folder: Path, shop: Workshop) -> None:
    javac = shop.commands.require("javac", install="a JDK 17 (Debian: `openjdk-17-jdk-headless`)")
    sources = [shop.recipes / artifact.name / source for source in artifact.sources]
    shop.report(f"compiling {len(sources)} of our own sources")
    options = ("--release", JAVA_RELEASE, "-cp", f"{folder / 'lib'}/*", "-d", folder / "classes")
    shop.commands.run((javac, *options, *sources), log=shop.log(artifact.name))


def sha256(file: Path) -> str:
    """The digest of a file's bytes."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
