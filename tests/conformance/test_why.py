"""`freehold why`: why a call waits, what containers are for, why they ended."""

import json
from collections.abc import Iterator
from typing import Any

import modal
import pytest

from conformance.deployment import Deployment, Place, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "why.py") as app:
        yield app


def ask(engine: Engine, subject: str) -> dict[str, Any]:
    return dict(json.loads(engine.freehold("why", subject, "--json").succeeded().output))


def test_a_function_that_nobody_calls_says_so(engine: Engine, app: Deployment) -> None:
    told = engine.freehold("why", "why.one_by_one").succeeded().output

    assert "why.one_by_one has nothing to do and no container" in told


def test_a_call_says_what_it_waits_for(engine: Engine, app: Deployment, place: Place) -> None:
    first = app.function("one_by_one").spawn(place.name)
    second = app.function("one_by_one").spawn()

    def lines() -> list[str]:
        return engine.freehold("why", second.object_id).succeeded().output.splitlines()

    told = eventually(lambda: "Its container is busy." in (found := lines()) and found, within=60, what="A container that is busy")

    assert "It may have no more: max_containers=1." in told
    assert any("as number 1 of 1 in the queue of why.one_by_one" in line for line in told)
    assert " running on ta-" in engine.freehold("why", first.object_id).succeeded().output
    place.go()
    assert first.get(timeout=60) == second.get(timeout=60)
    assert "it succeeded" in engine.freehold("why", second.object_id).succeeded().output


def test_a_container_says_why_it_was_started_and_why_it_went(engine: Engine, app: Deployment) -> None:
    app.rest()
    task = app.function("one_by_one").remote()

    assert "1 wanted for 1 queued and 0 running" in " ".join(ask(engine, task)["sentences"])

    eventually(lambda: "ended_after_s" in ask(engine, task)["numbers"], within=60, what="The end after its window of 2 s")
    assert "idle for its scaledown_window of 2 s" in " ".join(ask(engine, task)["sentences"])


def test_a_container_that_crashed_says_how(engine: Engine, app: Deployment) -> None:
    call = app.cls("NeverReady")().run.spawn()
    task = eventually(app.containers, within=60, what="A container that will crash")[0]
    with pytest.raises(modal.exception.Error):
        call.get(timeout=60)

    eventually(lambda: "It crashed with code 3" in " ".join(ask(engine, task.task_id)["sentences"]), within=60, what="The end")


def test_the_page_of_an_id_tells_the_same(engine: Engine, app: Deployment) -> None:
    call = app.function("one_by_one").spawn()
    call.get(timeout=60)

    assert "it succeeded" in " ".join(engine.story(call.object_id)["sentences"])


def test_an_id_that_is_unknown_is_said_with_what_to_do(engine: Engine, app: Deployment) -> None:
    refused = engine.freehold("why", "nobody.knows")

    assert refused.code == 1
    assert "`modal app list` shows what is deployed" in refused.output
