"""Secrets: every way to make one, what tasks get, and that values stay inside."""

import pytest

from freehold.config import Settings
from freehold.control.services.environments import Environments
from freehold.control.services.secrets import Secrets, WantedSecret
from freehold.domain.clock import SystemClock
from freehold.domain.creation import Creation
from freehold.domain.errors import AlreadyExists, Conflict, FreeholdError, InvalidRequest, NotFound
from freehold.domain.ids import is_id
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore

VALUE = "correct-horse-battery-staple"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def secrets(store, tmp_path):
    clock = SystemClock()
    environments = Environments(store=store, clock=clock, settings=Settings())
    return Secrets(store=store, keyring=Keyring.open(tmp_path), environments=environments, clock=clock)


def named(creation, name="models", required_keys=(), **env):
    return WantedSecret(environment="", name=name, creation=creation, env=env, required_keys=required_keys)


def from_dict(app_id="ap-1", **env):
    creation = Creation.ANONYMOUS if app_id else Creation.EPHEMERAL
    return WantedSecret(environment="", name="", creation=creation, env=env, app_id=app_id)


class TestNamed:
    async def test_a_new_secret_is_found_by_its_name(self, secrets):
        made = await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="1", B="2"))
        found = await secrets.get_or_create(named(Creation.LOOK_UP))
        assert found == made
        assert (found.environment, found.keys) == ("main", ("A", "B"))
        assert await secrets.env_of([found.id]) == {"A": "1", "B": "2"}

    async def test_a_missing_one_says_how_to_make_it(self, secrets):
        with pytest.raises(NotFound, match="modal secret create -e main models"):
            await secrets.get_or_create(named(Creation.LOOK_UP))

    async def test_one_that_must_be_new_is_refused_when_it_exists(self, secrets):
        await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="1"))
        with pytest.raises(AlreadyExists, match="--force"):
            await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="2"))

    async def test_an_existing_one_keeps_its_values_when_made_if_missing(self, secrets):
        made = await secrets.get_or_create(named(Creation.IF_MISSING, A="1"))
        again = await secrets.get_or_create(named(Creation.IF_MISSING, A="2"))
        assert again.id == made.id
        assert await secrets.env_of([made.id]) == {"A": "1"}

    async def test_overwriting_keeps_the_id_that_functions_refer_to(self, secrets):
        made = await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="1"))
        again = await secrets.get_or_create(named(Creation.OVERWRITE, B="2"))
        assert again.id == made.id
        assert await secrets.env_of([made.id]) == {"B": "2"}

    async def test_required_keys_are_checked(self, secrets):
        await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="1"))
        await secrets.get_or_create(named(Creation.LOOK_UP, required_keys=("A",)))
        with pytest.raises(NotFound, match="lacks the keys B, C; it has A"):
            await secrets.get_or_create(named(Creation.LOOK_UP, required_keys=("C", "B", "A")))

    async def test_a_secret_in_an_unknown_environment_is_refused(self, secrets):
        with pytest.raises(NotFound, match="modal environment create prod"):
            await secrets.get_or_create(WantedSecret(environment="prod", name="s", creation=Creation.IF_MISSING, env={}))

    @pytest.mark.parametrize("name", ["", "a/b", "a b", "ap-" + "a" * 22, "x" * 65])
    async def test_names_that_clients_would_refuse_are_refused(self, secrets, name):
        with pytest.raises(InvalidRequest):
            await secrets.get_or_create(named(Creation.IF_MISSING, name=name))

    async def test_a_deleted_one_is_gone(self, secrets):
        made = await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="1"))
        await secrets.delete(made.id)
        with pytest.raises(NotFound):
            await secrets.get_or_create(named(Creation.LOOK_UP))
        with pytest.raises(NotFound):
            await secrets.delete(made.id)

    async def test_an_update_sets_and_removes_keys(self, secrets):
        made = await secrets.get_or_create(named(Creation.MUST_BE_NEW, A="1", B="2"))
        await secrets.update(made.id, {"A": None, "C": "3"})
        assert await secrets.env_of([made.id]) == {"B": "2", "C": "3"}
        assert (await secrets.get(made.id)).keys == ("B", "C")


class TestAnonymous:
    async def test_equal_content_of_one_app_is_one_secret(self, secrets):
        first = await secrets.get_or_create(from_dict(A="1", B="2"))
        again = await secrets.get_or_create(from_dict(B="2", A="1"))
        assert first.id == again.id
        assert is_id(first.id, "st")

    async def test_other_content_or_another_owner_is_another_secret(self, secrets):
        wanted = [from_dict(A="1"), from_dict(A="2"), from_dict(app_id="ap-2", A="1"), from_dict(app_id="", A="1")]
        made = [await secrets.get_or_create(secret) for secret in wanted]
        assert len({secret.id for secret in made}) == 4

    async def test_the_id_tells_nothing_without_the_key(self, secrets, store, tmp_path):
        other = Secrets(
            store=store,
            keyring=Keyring.open(tmp_path / "other"),
            environments=Environments(store=store, clock=SystemClock(), settings=Settings()),
            clock=SystemClock(),
        )
        assert (await secrets.get_or_create(from_dict(A="1"))).id != (await other.get_or_create(from_dict(A="1"))).id

    async def test_an_empty_dict_is_a_secret_too(self, secrets):
        made = await secrets.get_or_create(from_dict())
        assert await secrets.env_of([made.id]) == {}

    async def test_it_cannot_be_changed_under_those_who_share_it(self, secrets):
        made = await secrets.get_or_create(from_dict(A="1"))
        with pytest.raises(Conflict):
            await secrets.update(made.id, {"A": "2"})

    async def test_it_is_not_listed(self, secrets):
        await secrets.get_or_create(from_dict(A="1"))
        assert await secrets.list("", limit=0, created_before=0) == []


class TestForTasks:
    async def test_later_secrets_win(self, secrets):
        first = await secrets.get_or_create(from_dict(A="1", B="1"))
        second = await secrets.get_or_create(from_dict(B="2", C="2"))
        assert await secrets.env_of([first.id, second.id]) == {"A": "1", "B": "2", "C": "2"}
        assert (await secrets.env_of([second.id, first.id]))["B"] == "1"

    async def test_use_is_recorded(self, secrets):
        made = await secrets.get_or_create(from_dict(A="1"))
        assert made.last_used_at is None
        await secrets.env_of([made.id])
        assert (await secrets.get(made.id)).last_used_at is not None


class TestPages:
    async def test_pages_follow_each_other_without_gaps_or_repeats(self, secrets):
        names = [f"s{number}" for number in range(5)]
        for name in names:
            await secrets.get_or_create(named(Creation.MUST_BE_NEW, name=name))
        seen, before = [], 0.0
        while page := await secrets.list("", limit=2, created_before=before):
            seen += [secret.name for secret in page]
            before = page[-1].created_at.timestamp()
        assert seen == names[::-1]


class TestNothingLeaks:
    async def test_values_are_sealed_in_the_store(self, secrets, store):
        made = await secrets.get_or_create(named(Creation.MUST_BE_NEW, A=VALUE))
        async with store.transaction() as tx:
            stored = await tx.secrets.get(made.id)
        assert VALUE.encode() not in stored.sealed
        assert VALUE not in repr(stored)

    def test_values_are_not_in_the_repr_of_a_request(self):
        assert VALUE not in repr(named(Creation.IF_MISSING, A=VALUE))

    @pytest.mark.parametrize("env", [{"1BAD": VALUE}, {"A=B": VALUE}, {"A\n": VALUE}, {"A": VALUE + "\0"}, {"A": VALUE * 10_000}])
    async def test_errors_do_not_repeat_values(self, secrets, env):
        with pytest.raises(FreeholdError) as caught:
            await secrets.get_or_create(named(Creation.IF_MISSING, **env))
        assert VALUE not in str(caught.value)
