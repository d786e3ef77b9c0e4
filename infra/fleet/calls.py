"""Programs of the system, called and heard."""

import subprocess
from collections.abc import Sequence

from helix.errors import UnavailableError

CALL_S_MAX = 30.0


def call(argv: Sequence[str], *, text: str = "") -> str:
    """The program's output, `text` on its input; `UnavailableError` with its words if it fails."""
    done = attempt(argv, text=text)
    if done.returncode:
        raise UnavailableError(
            argv[0],
            f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr.strip()};"
            " `python -m infra.fleet up` puts the fleet in order",
        )
    return done.stdout


def attempt(argv: Sequence[str], *, text: str = "") -> subprocess.CompletedProcess[str]:
    """What the program did, whether it failed or not."""
    return subprocess.run(
        argv, input=text, capture_output=True, text=True, check=False, timeout=CALL_S_MAX
    )
