"""Proxy tokens by Modal's own command: made, listed, scoped, deleted."""

import json
import sqlite3
from collections.abc import Iterator

import pytest
from modal_proto import api_pb2

from conformance.engine import Engine

Token = dict[str, str]


@pytest.fixture
def token(engine: Engine) -> Iterator[Token]:
    made = json.loads(engine.modal("workspace", "proxy-tokens", "create", "--name", "webhooks", "--json").succeeded().output)
    yield made
    engine.modal("workspace", "proxy-tokens", "delete", "--yes", made["Modal-Key"])


def listed(engine: Engine, *options: str) -> dict[str, dict[str, object]]:
    rows = json.loads(engine.modal("workspace", "proxy-tokens", "list", "--json", *options).succeeded().output)
    return {row["token_id"]: row for row in rows}


def test_a_token_is_shown_once_with_its_secret(engine: Engine, token: Token) -> None:
    assert token["Modal-Key"].startswith("wk-")
    assert token["Modal-Secret"].startswith("ws-")
    row = listed(engine)[token["Modal-Key"]]
    assert (row["name"], row["created_by"], row["scoped"]) == ("webhooks", "local", False)
    assert token["Modal-Secret"] not in str(row)


def test_its_secret_is_not_on_disk(engine: Engine, token: Token) -> None:
    with sqlite3.connect(engine.home / "freehold.db") as database:
        kept = database.execute("SELECT * FROM proxy_tokens WHERE id = ?", (token["Modal-Key"],)).fetchone()

    assert kept is not None
    assert token["Modal-Secret"] not in str(kept)


def test_a_token_can_be_renamed(engine: Engine, token: Token) -> None:
    engine.modal("workspace", "proxy-tokens", "update", token["Modal-Key"], "name", "other").succeeded()

    assert listed(engine)[token["Modal-Key"]]["name"] == "other"


def test_a_token_is_scoped_by_allowing_it_in_an_environment(engine: Engine, token: Token) -> None:
    key = token["Modal-Key"]
    engine.modal("workspace", "proxy-tokens", "allow", key, "main").succeeded()

    assert listed(engine)[key]["scoped"] is True
    assert key in listed(engine, "--environment", "main")
    allowed = engine.call("WebhookTokenEnvironmentList", api_pb2.WebhookTokenEnvironmentListRequest(token_id=key))
    assert len(allowed.environment_ids) == 1

    engine.modal("workspace", "proxy-tokens", "revoke", key, "main").succeeded()

    assert key not in listed(engine, "--environment", "main")


def test_a_deleted_token_is_gone(engine: Engine, token: Token) -> None:
    engine.modal("workspace", "proxy-tokens", "delete", "--yes", token["Modal-Key"]).succeeded()

    assert token["Modal-Key"] not in listed(engine)
    again = engine.modal("workspace", "proxy-tokens", "delete", "--yes", token["Modal-Key"])
    assert again.code != 0
    assert "No proxy token" in again.output
