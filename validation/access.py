"""Where the deployment under proof answers, and the key to it."""

from collections.abc import Mapping

from helix.client.rest import Client
from helix.errors import InvalidError


def client(env: Mapping[str, str]) -> Client:
    """A client of the deployment the environment names."""
    missing = [name for name in ("HELIX_URL", "HELIX_API_KEY") if not env.get(name)]
    if missing:
        raise InvalidError(f'`{missing[0]}` is not set: run `eval "$(make -s env)"` first')
    return Client(env["HELIX_URL"], env["HELIX_API_KEY"], ca=env.get("HELIX_CA", ""))
