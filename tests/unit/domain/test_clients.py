"""Which versions of the client are served, and what is known of older ones."""

from importlib.metadata import version

import pytest

from freehold.domain import clients
from freehold.domain.clients import Version
from freehold.domain.environments import builder_version_for


def test_the_newest_version_is_the_one_whose_messages_the_engine_speaks():
    assert version("modal") == clients.NEWEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.6.4", Version(1, 6, 4)), ("1.7", Version(1, 7, 0)), ("1.6.5.dev3", Version(1, 6, 5)), ("", None), ("abc", None)],
)
def test_a_version_is_read_as_far_as_it_says_anything(text, expected):
    assert Version.of(text) == expected


@pytest.mark.parametrize("served", ["0.64.0", "0.64.235", "0.72.58", "1.0.5", "1.6.4", "1.7.0", "2.0.0", "", "abc"])
def test_all_but_too_old_ones_are_served(served):
    assert clients.refusal(served) == ""


@pytest.mark.parametrize("old", ["0.63.99", "0.49.2"])
def test_one_that_is_too_old_is_told_what_to_install(old):
    words = clients.refusal(old)
    assert old in words
    assert f"pip install 'modal=={clients.NEWEST}'" in words


@pytest.mark.parametrize("known", ["0.64.235", "1.0.5", "1.4.0", "1.6.4", "1.6.4.dev1"])
def test_what_the_engine_knows_it_serves_without_a_word(known):
    assert clients.caution(known) == ""


@pytest.mark.parametrize("newer", ["1.6.5", "1.7.0.dev2", "2.0.0"])
def test_newer_ones_are_served_with_a_warning(newer):
    words = clients.caution(newer)
    assert newer in words
    assert f"modal=={clients.NEWEST}" in words


def test_one_that_says_nothing_is_told_so():
    assert "does not say its version" in clients.caution("")


@pytest.mark.parametrize(
    ("client", "builder"), [("0.64.235", "2024.10"), ("1.0.5", "2024.10"), ("1.1.4", "2025.06"), ("1.6.4", "2025.06"), ("", "2024.10")]
)
def test_the_image_builder_is_one_that_the_client_knows(client, builder):
    assert builder_version_for(client, "2025.06") == builder


def test_what_older_ones_leave_to_the_engine():
    assert [clients.leaves_retries(client, is_map=True) for client in ("0.64.235", "0.72.58", "1.0.5", "")] == [True, True, False, False]
    assert [clients.leaves_retries(client, is_map=False) for client in ("0.64.235", "0.72.58", "1.0.5")] == [True, False, False]
    assert [clients.sends_again(client) for client in ("0.72.58", "1.0.5", "")] == [False, True, True]
