"""Why there is nothing to judge."""


class VoidError(Exception):
    """A timed part did not do what it was timed for: its round does not count."""


class AbsentError(Exception):
    """What the benchmark compares with, or what it is counted by, is not on the machine."""
