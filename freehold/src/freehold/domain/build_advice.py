"""What to do about a build step that failed, from what it printed last."""

import re
from collections.abc import Sequence

_NO_PACKAGE = (
    "There is no package {0} for this Python. Look at its spelling and version: a package need not be called as it is imported "
    "(scikit-learn is imported as sklearn)."
)
# Each names what was asked for and is not there.
_ADVICE: Sequence[tuple[str, str]] = (
    (
        r"No matching distribution found for ([^\s;,]+)|[Bb]ecause ([^\s;,]+) was not found in the package registry",
        _NO_PACKAGE,
    ),
    (r"Unable to locate package (\S+)", "Debian has no package {0}. Look at its spelling, or for a Python package use pip_install."),
    (
        r"Temporary failure (?:in name resolution|resolving)|Failed to establish a new connection",
        "The build could not reach the network. Look whether this machine can, then deploy again: steps that succeeded are kept.",
    ),
)


def build_advice(output: str) -> str:
    """Nothing where nobody knows better than the output."""
    for pattern, text in _ADVICE:
        if found := re.search(pattern, output):
            return text.format(next(filter(None, found.groups()), ""))
    return ""
