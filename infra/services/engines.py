"""What the processes of `infra/engines` share."""

# All they import: a changed fact of the catalogue restarts none of them.
CODE = ("infra/engines", "infra/orphans.py", "helix/errors.py", "requirements.lock")
