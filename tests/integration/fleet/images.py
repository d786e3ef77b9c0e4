"""An image small enough to be made by every test that needs one."""

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

PROGRAMS = {"sh": "bin/sh", "cat": "bin/cat", "sleep": "bin/sleep"}


def smallest_image() -> bytes:
    """A root with a shell and two programs of this machine, and the libraries they need."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        added: set[str] = set()
        for name, path in PROGRAMS.items():
            program = Path(str(shutil.which(name))).resolve()
            tar.add(program, path)
            listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
            for library in re.findall(r"(/\S+)", listed.stdout):
                if library not in added:
                    added.add(library)
                    tar.add(Path(library).resolve(), library.lstrip("/"))
        for folder, mode in (("tmp", 0o1777), ("data", 0o755), ("etc", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
    return target.getvalue()
