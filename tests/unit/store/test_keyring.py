"""The engine's keys: made once, private, never shown."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest

from freehold.domain.errors import Conflict, PermissionDenied, Unauthenticated
from freehold.store.keyring import Keyring

MINUTE = timedelta(minutes=1)


@pytest.fixture
def keyring(tmp_path):
    return Keyring.open(tmp_path)


def test_keys_are_made_once_and_read_afterwards(tmp_path, keyring):
    again = Keyring.open(tmp_path)
    assert again.unseal(keyring.seal(b"value")) == b"value"
    assert again.verify(keyring.sign({"op": "put"}, MINUTE))["op"] == "put"
    assert again.accepts(keyring.token_id, keyring.token_secret)


def test_keys_can_be_read_by_their_owner_only(tmp_path, keyring):
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}


def test_a_home_made_for_them_is_private_too(tmp_path):
    Keyring.open(tmp_path / "home")

    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_engines_that_start_together_agree_on_the_keys(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keyrings = list(pool.map(lambda _: Keyring.open(tmp_path), range(16)))
    assert len({keyring.token_secret for keyring in keyrings}) == 1
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["master", "signing", "token-id", "token-secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path, keyring, mode):
    (tmp_path / "keys" / "master").chmod(mode)
    with pytest.raises(PermissionDenied, match="chmod 600"):
        Keyring.open(tmp_path)


def test_a_folder_that_others_can_enter_is_refused(tmp_path, keyring):
    (tmp_path / "keys").chmod(0o755)
    with pytest.raises(PermissionDenied, match="chmod 700"):
        Keyring.open(tmp_path)


def test_tokens_have_the_shapes_that_clients_know(keyring):
    assert keyring.token_id.startswith("ak-")
    assert keyring.token_secret.startswith("as-")


def test_only_the_right_pair_is_accepted(keyring):
    assert not keyring.accepts(keyring.token_id, "as-wrong")
    assert not keyring.accepts("ak-wrong", keyring.token_secret)
    assert not keyring.accepts("", "")
    assert not keyring.accepts("ä", "ö")


def test_a_token_that_expired_or_was_signed_elsewhere_is_refused(tmp_path, keyring):
    elsewhere = Keyring.open(tmp_path / "elsewhere")
    unsigned = jwt.encode({"exp": 9_999_999_999}, "", algorithm="none")
    for token in (keyring.sign({}, -MINUTE), elsewhere.sign({}, MINUTE), unsigned, "rubbish", ""):
        with pytest.raises(Unauthenticated):
            keyring.verify(token)


def test_what_another_master_key_sealed_is_a_clear_error(tmp_path, keyring):
    with pytest.raises(Conflict, match="master key"):
        keyring.unseal(Keyring.open(tmp_path / "elsewhere").seal(b"value"))


def test_nothing_of_the_keys_is_in_the_repr(keyring):
    assert keyring.token_secret not in repr(keyring)
    assert repr(keyring) == "Keyring(…)"


def test_fingerprints_are_equal_for_equal_data_and_different_for_other_keys(tmp_path, keyring):
    elsewhere = Keyring.open(tmp_path / "elsewhere")
    assert keyring.fingerprint(b"a") == keyring.fingerprint(b"a")
    assert keyring.fingerprint(b"a") != keyring.fingerprint(b"b")
    assert keyring.fingerprint(b"a") != elsewhere.fingerprint(b"a")


def test_a_renewed_secret_is_what_the_home_has_and_the_old_one_is_worth_nothing(tmp_path, keyring):
    old = keyring.token_secret
    keyring.renew_token_secret()
    assert keyring.accepts(keyring.token_id, Keyring.open(tmp_path).token_secret)
    assert not keyring.accepts(keyring.token_id, old)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}
