"""What people are told to do about a build step that failed."""

import pytest

from freehold.domain.build_advice import build_advice


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("ERROR: No matching distribution found for scikit-lern==1.0", "no package scikit-lern==1.0 for this Python"),
        ("  Because skl was not found in the package registry and you require skl", "no package skl for this Python"),
        ("E: Unable to locate package libfoo", "Debian has no package libfoo"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "could not reach the network"),
    ],
)
def test_what_is_known_is_told(output, said):
    assert said in build_advice(f"before\n{output}\nafter")


def test_of_other_output_nothing_is_said():
    assert build_advice("gcc: error: no such file") == ""
