"""Files of other projects are what the list beside them says, and each has its licence there."""

import hashlib
import re
from importlib.resources import files

VENDOR = files("freehold.dashboard") / "static" / "vendor"
LISTED = dict(re.findall(r"\| (\S+) \| ([0-9a-f]{64}) \|", (VENDOR / "README.md").read_text()))


def test_they_are_unchanged_and_all_of_them_are_listed():
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.iterdir() if not re.search(r"LICENSE$|\.md$", file.name)
    }
    assert found == LISTED


def test_each_has_its_licence():
    licences = {file.name.removesuffix(".LICENSE") for file in VENDOR.iterdir() if file.name.endswith(".LICENSE")}
    assert {re.sub(r"\.(iife\.)?(min\.)?\w+$", "", name) for name in LISTED} == licences
