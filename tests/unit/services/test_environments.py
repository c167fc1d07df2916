"""Environments: the default is always there, others are named on purpose."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.control.services.environments import Environments
from freehold.domain.apps import App, AppState
from freehold.domain.clock import SystemClock
from freehold.domain.creation import Creation
from freehold.domain.environments import builder_version_for, checked_environment_name, checked_web_suffix, free_web_suffix
from freehold.domain.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from freehold.domain.ids import new_app_id, new_secret_id
from freehold.domain.secrets import Secret
from freehold.store.memory.store import MemoryStore


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def environments(store):
    return Environments(store=store, clock=SystemClock(), settings=Settings())


def an_app(**changes):
    app = App(id=new_app_id(), environment="dev", name="iris", description="", state=AppState.DEPLOYED, created_at=SystemClock().now())
    return replace(app, **changes)


async def put(store, *, apps=(), secrets=()):
    async with store.transaction() as tx:
        for app in apps:
            await tx.apps.put(app)
        for secret in secrets:
            await tx.secrets.put(secret)


def a_secret():
    return Secret(id=new_secret_id(), environment="dev", name="s", keys=(), sealed=b"", created_at=SystemClock().now())


async def test_the_default_environment_is_made_on_first_use(environments):
    first, second = await environments.get(""), await environments.get("main")
    assert first == second
    assert (first.name, first.web_suffix, first.is_default) == ("main", "", True)


async def test_an_unknown_environment_says_how_to_make_it(environments):
    with pytest.raises(NotFound, match="modal environment create prod"):
        await environments.get_or_create("prod", Creation.LOOK_UP)


async def test_an_environment_can_be_made_when_missing(environments):
    made = await environments.get_or_create("dev", Creation.IF_MISSING)
    assert await environments.get_or_create("dev", Creation.IF_MISSING) == made
    assert [environment.name for environment in await environments.list()] == ["dev", "main"]


async def test_making_one_that_exists_is_refused(environments):
    await environments.get_or_create("dev", Creation.MUST_BE_NEW)
    with pytest.raises(AlreadyExists):
        await environments.get_or_create("dev", Creation.MUST_BE_NEW)


async def test_web_suffixes_never_clash(environments):
    suffixes = [(await environments.get_or_create(name, Creation.MUST_BE_NEW)).web_suffix for name in ("Dev_1", "dev-1", "dev_1")]
    assert suffixes == ["dev-1", "dev-1-2", "dev-1-3"]
    with pytest.raises(AlreadyExists, match="dev-1"):
        await environments.update("dev_1", new_name=None, web_suffix="dev-1")


async def test_a_renamed_environment_takes_its_apps_and_secrets_along(environments, store):
    await environments.get_or_create("dev", Creation.MUST_BE_NEW)
    app, secret = an_app(), a_secret()
    await put(store, apps=[app], secrets=[secret])
    renamed = await environments.update("dev", new_name="test", web_suffix=None)
    assert renamed.web_suffix == "dev"
    async with store.transaction() as tx:
        assert await tx.apps.find_deployed("test", "iris") is not None
        assert await tx.secrets.find("test", "s") is not None
    with pytest.raises(NotFound):
        await environments.get("dev")


async def test_a_name_that_is_taken_is_no_new_name(environments):
    await environments.get_or_create("dev", Creation.MUST_BE_NEW)
    await environments.get_or_create("test", Creation.MUST_BE_NEW)
    for taken in ("test", "main"):
        with pytest.raises(AlreadyExists):
            await environments.update("dev", new_name=taken, web_suffix=None)


async def test_the_default_environment_keeps_its_name_and_stays(environments):
    with pytest.raises(Conflict):
        await environments.delete("main")
    with pytest.raises(Conflict):
        await environments.update("main", new_name="other", web_suffix=None)


async def test_an_environment_with_live_apps_is_not_deleted(environments, store):
    await environments.get_or_create("dev", Creation.MUST_BE_NEW)
    await put(store, apps=[an_app()])
    with pytest.raises(Conflict, match=r"iris.*modal app stop"):
        await environments.delete("dev")


async def test_a_deleted_environment_takes_its_secrets_along(environments, store):
    await environments.get_or_create("dev", Creation.MUST_BE_NEW)
    await put(store, apps=[an_app(state=AppState.STOPPED)], secrets=[a_secret()])
    await environments.delete("dev")
    async with store.transaction() as tx:
        assert await tx.secrets.list("dev") == []


@pytest.mark.parametrize("name", ["", "-dev", "en-1", "EN-x", "a b", "ä", "a.b", "a" * 65, "dev\n"])
def test_names_that_clients_would_refuse_are_refused(name):
    with pytest.raises(InvalidRequest):
        checked_environment_name(name)


@given(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}", fullmatch=True), st.sets(st.sampled_from(["", "a", "a-2", "0"])))
def test_every_name_gets_a_suffix_that_is_valid_and_free(name, taken):
    taken = {"", *taken}
    assert checked_web_suffix(free_web_suffix(name, taken), taken)


@pytest.mark.parametrize(
    ("client", "newest", "expected"),
    [
        ("1.6.4", "2025.06", "2025.06"),
        ("1.1.0", "2025.06", "2025.06"),
        ("1.0.5", "2025.06", "2024.10"),
        ("0.72.58", "2025.06", "2024.10"),
        ("", "2025.06", "2024.10"),
        ("0.72.58", "2023.12", "2023.12"),
        ("10.0.0.dev1", "2025.06", "2025.06"),
    ],
)
def test_clients_are_told_a_builder_version_that_they_know(client, newest, expected):
    assert builder_version_for(client, newest) == expected


def test_the_service_answers_for_its_caller(environments):
    assert environments.builder_version(Caller(client_version="0.64.1")) == "2024.10"
    assert environments.builder_version(Caller(client_version="1.6.4")) == Settings().image_builder_version
