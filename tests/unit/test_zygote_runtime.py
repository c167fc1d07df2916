"""What a zygote shares of the client's runtime: all of it, or it is not forked."""

import sys
from typing import Any

import pytest

from freehold.container import zygote


@pytest.fixture(autouse=True)
def _nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote, "_OWN_WEB", ())
    monkeypatch.setattr(zygote, "_WEB", ())
    monkeypatch.setattr(zygote, "_forget", lambda _: None)


def import_with(monkeypatch: pytest.MonkeyPatch, faulty: str, error: BaseException) -> None:
    def load(name: str) -> Any:
        if name == faulty:
            raise error
        return sys

    monkeypatch.setattr(zygote, "import_module", load)


def test_a_part_that_cannot_be_imported_keeps_it_from_being_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    import_with(monkeypatch, "modal.app", TimeoutError("too slow"))

    assert zygote.load_runtime() == "modal.app cannot be imported: TimeoutError: too slow"


def test_a_part_that_this_client_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import_with(monkeypatch, "modal._utils.proxy_support", ModuleNotFoundError())

    assert not zygote.load_runtime()
