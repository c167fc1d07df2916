"""Tokens: how a client gets its first, by Modal's own commands, and how one is taken away."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from conformance.engine import Engine
from conformance.waiting import Running


@pytest.fixture
def nobody(engine: Engine, tmp_path: Path) -> Mapping[str, str]:
    """The environment of a person who knows the engine's address and nothing else. No browser is found."""
    known = {name: value for name, value in engine.client_environment.items() if not name.startswith("MODAL_TOKEN")}
    return {**known, "MODAL_CONFIG_PATH": str(tmp_path / "modal.toml"), "BROWSER": "none"}


def profile(environment: Mapping[str, str], name: str = "local") -> dict[str, str]:
    values: dict[str, str] = tomllib.loads(Path(environment["MODAL_CONFIG_PATH"]).read_text())[name]
    return values


def code_shown(running: Running) -> str:
    return running.line("Enter this code: ").text.rpartition(" ")[2]


def posted(url: str, **fields: str) -> tuple[int, str]:
    try:
        with urlopen(url, urlencode(fields).encode(), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def is_accepted(engine: Engine, token: Mapping[str, str]) -> bool:
    metadata = {**engine.client_metadata(), "x-modal-token-id": token["token_id"], "x-modal-token-secret": token["token_secret"]}
    try:
        engine.call("ClientHello", Empty(), metadata=metadata)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return False
        raise
    return True


def test_token_new_gets_a_token_that_the_owner_confirms_on_a_page(engine: Engine, nobody: Mapping[str, str]) -> None:
    with engine.start_modal("token", "new", env=nobody) as asking:
        code = code_shown(asking)
        url = re.search(r"http://\S+/_freehold/tokens/tf-\S+", asking.output)[0]  # type: ignore[index]
        with urlopen(url, timeout=30) as page:
            assert "<form" in page.read().decode()
        assert posted(url, code=code, proof="nothing of the kind")[0] == 403
        one_time = engine.freehold("tokens", "code").succeeded().output.strip()
        assert posted(url, code=code, proof=one_time, name="laptop")[0] == 200
        assert asking.wait(within=60) == 0, asking.output

    told = engine.modal("token", "info", env=nobody).succeeded().output
    assert "Name: laptop" in told
    assert profile(nobody)["token_id"] in told
    engine.modal("app", "list", env=nobody).succeeded()


def test_a_token_is_rotated_and_the_one_before_is_refused_at_once(engine: Engine, nobody: Mapping[str, str]) -> None:
    """`modal setup` is how the first comes here; its owner confirms both in the terminal."""
    with engine.start_modal("setup", env=nobody) as asking:
        engine.freehold("tokens", "confirm", code_shown(asking)).succeeded()
        assert asking.wait(within=60) == 0, asking.output
    before = profile(nobody)
    assert is_accepted(engine, before)

    with engine.start_modal("token", "rotate", "--expires-in", "7d", env={**nobody, "MODAL_PROFILE": "local"}) as asking:
        engine.freehold("tokens", "confirm", code_shown(asking)).succeeded()
        assert asking.wait(within=60) == 0, asking.output

    assert profile(nobody)["token_id"] != before["token_id"]
    assert is_accepted(engine, profile(nobody))
    assert not is_accepted(engine, before)


def test_tokens_are_listed_disabled_enabled_and_deleted(engine: Engine, nobody: Mapping[str, str]) -> None:
    command = engine.freehold("tokens", "make", "--name", "ci", "--expires-in", "12h").succeeded().output
    token_id, secret = re.search(r"--token-id (\S+) --token-secret (\S+)", command).groups()  # type: ignore[union-attr]
    engine.modal("token", "set", "--token-id", token_id, "--token-secret", secret, env=nobody).succeeded()
    listed = json.loads(engine.modal("workspace", "member-tokens", "list", "--json", env=nobody).succeeded().output)
    assert {(token["name"], token["token_id"]) for token in listed} >= {
        ("ci", token_id),
        ("the home's own", engine.credentials["MODAL_TOKEN_ID"]),
    }
    assert secret not in str(listed)

    for change, is_let_in in (("disable", False), ("enable", True), ("delete", False)):
        engine.modal("workspace", "member-tokens", change, "--yes", token_id).succeeded()
        assert is_accepted(engine, profile(nobody)) is is_let_in


def test_what_is_revoked_is_refused_over_http_too(engine: Engine) -> None:
    command = engine.freehold("tokens", "make").succeeded().output
    token_id, secret = re.search(r"--token-id (\S+) --token-secret (\S+)", command).groups()  # type: ignore[union-attr]

    def status() -> int:
        request = Request(f"{engine.gateway_url}/call/fc-1", headers={"Authorization": f"Bearer {token_id}:{secret}"})
        try:
            with urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    assert status() == 404
    assert token_id in engine.freehold("tokens").succeeded().output
    engine.freehold("tokens", "revoke", token_id).succeeded()
    assert status() == 401
    assert token_id not in engine.freehold("tokens").succeeded().output
