"""The first step on a new machine: needs nothing but the system's Python, and hands over.

Makes `.venv` with the two packages the set-up itself is written with, then runs the set-up there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON_MIN = (3, 11)
PYTHON_MAX = (3, 14)
ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
NEEDED = ("msgspec", "uv")
# Printed by the environment's Python: the versions of NEEDED it has.
ASK = "import importlib.metadata as m, sys; print(*[m.version(name) for name in sys.argv[1:]])"


def main() -> None:
    """Go on as `python -m infra.toolchain setup` in the environment, with the same arguments."""
    use_supported_python()
    wanted = pinned(LOCK.read_text(encoding="utf-8"))
    if ask_versions() != [version_of(lines) for lines in wanted]:
        make_environment()
        install(wanted)
    os.chdir(ROOT)
    python = str(VENV / "bin" / "python")
    os.execv(python, [python, "-m", "infra.toolchain", "setup", *sys.argv[1:]])


def use_supported_python() -> None:
    """Go on with a Python that the project supports, if this one is not and there is one."""
    if PYTHON_MIN <= sys.version_info[:2] <= PYTHON_MAX:
        return
    for minor in range(PYTHON_MAX[1], PYTHON_MIN[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other:
            os.execv(other, [other, *sys.argv])
    sys.exit(
        f"Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} to {PYTHON_MAX[0]}.{PYTHON_MAX[1]} is needed,"
        f" `{sys.executable}` is {sys.version.split()[0]}; install one of them and run this again"
    )


def pinned(lock: str) -> list[str]:
    """The lock file's entries of the packages needed, each with its hashes."""
    entries = [entry for entry in lock.split("\n") if entry]
    found = []
    for name in NEEDED:
        start = next(i for i, line in enumerate(entries) if line.startswith(f"{name}=="))
        lines = [entries[start]]
        while lines[-1].endswith("\\"):
            lines.append(entries[start + len(lines)])
        found.append("\n".join(lines))
    return found


def version_of(entry: str) -> str:
    """The version an entry of the lock file pins."""
    return entry.split(maxsplit=1)[0].partition("==")[2]


def ask_versions() -> list[str]:
    """The versions the environment has of the packages needed; empty if it has not all of them."""
    try:
        answer = subprocess.run(
            [str(VENV / "bin" / "python"), "-c", ASK, *NEEDED],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return []
    return answer.stdout.split()


def make_environment() -> None:
    """Make `.venv`, or make it anew if its Python does not run."""
    if works():
        return
    say(f"making {VENV}")
    if not has_ensurepip():
        install_venv_package()
    run(sys.executable, "-m", "venv", "--clear", str(VENV))


def works() -> bool:
    """Whether the environment has a Python with a way to install packages."""
    try:
        ask = [str(VENV / "bin" / "python"), "-c", "import pip"]
        return subprocess.run(ask, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def has_ensurepip() -> bool:
    """Whether this Python can make an environment with pip; Debian's cannot by itself."""
    ask = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(ask, capture_output=True, check=False).returncode == 0


def install_venv_package() -> None:
    """Get what is missing for environments from the distribution, or say how to."""
    package = f"python3.{sys.version_info[1]}-venv"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(
            f"`{sys.executable}` cannot make virtual environments; have an administrator run"
            f" `apt-get install {package}` (or install Python with its `ensurepip`), then run this"
            " again"
        )
    say(f"installing {package}")
    run("apt-get", "-qq", "update")
    run("apt-get", "-qq", "install", "-y", "--no-install-recommends", package)


def install(entries: list[str]) -> None:
    """Install the needed packages, every file verified by the lock file's hashes."""
    say(f"installing {' and '.join(NEEDED)}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(entries) + "\n")
        file.flush()
        pip = (str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps")
        run(*pip, "--disable-pip-version-check", "--require-hashes", "-r", file.name)


def run(*command: str) -> None:
    """Run a command to the end, or end here with its status."""
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(f"`{' '.join(command[:4])} ...` failed with status {status}; see above")


def say(line: str) -> None:
    """Show a line at once; not on stdout, which `make env` keeps for what is evaluated."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; run this again: it goes on from here")
