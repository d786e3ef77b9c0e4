"""`python -m helix.client`, which `bin/helix` runs."""

from helix.client.commands import helix

if __name__ == "__main__":
    helix(prog_name="helix")
