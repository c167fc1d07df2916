"""What holds for every test: nothing of the person who runs them (profile, token, settings) reaches the code under test."""

import os

_KEPT = {"FREEHOLD_TEST_HOME"}  # where conformance tests keep their engine's home

for name in [name for name in os.environ if name.startswith(("MODAL_", "FREEHOLD_")) and name not in _KEPT]:
    del os.environ[name]
os.environ["MODAL_CONFIG_PATH"] = os.devnull  # read when modal is imported, so before any test module
