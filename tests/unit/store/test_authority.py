"""The home's certificate authority, judged by the library that programs verify with."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509 import DNSName, IPAddress
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from freehold.domain.errors import Conflict, PermissionDenied
from freehold.store.authority import LEAF_LIFE, Authority

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path):
    return Authority.open(tmp_path / "home", NOW)


def verify(authority, leaf, name, at=NOW):
    certificate = x509.load_pem_x509_certificate(leaf.pem[leaf.pem.index(b"-----BEGIN CERTIFICATE") :])
    trusted = Store([x509.load_pem_x509_certificate(authority.path.read_bytes())])
    PolicyBuilder().store(trusted).time(at).build_server_verifier(name).verify(certificate, [])


def test_what_it_vouches_for_is_believed_by_those_who_trust_it(authority):
    leaf = authority.vouch(["localhost", "a--b.localhost", "127.0.0.1", "::1"], NOW)

    verify(authority, leaf, DNSName("a--b.localhost"))
    verify(authority, leaf, IPAddress(ip_address("::1")))
    with pytest.raises(VerificationError):
        verify(authority, leaf, DNSName("other.localhost"))


def test_certificates_end(authority):
    leaf = authority.vouch(["localhost"], NOW)

    assert leaf.expires_at == NOW + LEAF_LIFE
    with pytest.raises(VerificationError):
        verify(authority, leaf, DNSName("localhost"), leaf.expires_at + timedelta(seconds=1))


def test_another_home_vouches_for_nobody_here(authority, tmp_path):
    leaf = Authority.open(tmp_path / "other", NOW).vouch(["localhost"], NOW)

    with pytest.raises(VerificationError):
        verify(authority, leaf, DNSName("localhost"))


def test_it_is_made_once_and_its_key_is_its_owners(authority, tmp_path):
    before = authority.path.read_bytes()
    later = Authority.open(tmp_path / "home", NOW + timedelta(days=1))

    assert later.path.read_bytes() == before
    verify(later, later.vouch(["localhost"], NOW), DNSName("localhost"))
    assert (authority.path.with_name("ca.key").stat().st_mode & 0o777) == 0o600
    assert b"PRIVATE" not in before


def test_a_key_that_others_can_read_is_refused(authority, tmp_path):
    authority.path.with_name("ca.key").chmod(0o644)

    with pytest.raises(PermissionDenied):
        Authority.open(tmp_path / "home", NOW)


def test_a_certificate_of_another_key_is_refused(authority, tmp_path):
    other = Authority.open(tmp_path / "other", NOW)
    authority.path.write_bytes(other.path.read_bytes())

    with pytest.raises(Conflict, match="trust the new one"):
        Authority.open(tmp_path / "home", NOW)
