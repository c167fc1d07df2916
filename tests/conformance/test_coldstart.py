"""`freehold coldstart`: where the time of real starts went."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from modal_proto import api_pb2

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "coldstart.py") as app:
        yield app


def measured(engine: Engine, subject: str) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        return dict(json.loads(engine.freehold("coldstart", subject, "--json").succeeded().output))

    def has_all(answer: dict[str, Any]) -> bool:
        return bool(answer["starts"]) and "output" in answer["starts"][0]["phases"] and answer["starts"][0]["start"] != "not measured"

    return eventually(lambda: has_all(answer := ask()) and answer, within=60, what="A start that is measured to its end")


def test_time_is_found_where_it_was_spent(engine: Engine, app: Deployment) -> None:
    assert app.cls("Slow")().run.remote() == "done"

    phases = measured(engine, "coldstart.Slow")["starts"][0]["phases"]

    assert phases["imports"] >= 300
    assert phases["enter"] >= 400
    assert phases["output"] >= 200
    assert all(span >= 0 for span in phases.values())


def test_the_table_names_each_phase_and_the_slow_imports(engine: Engine, app: Deployment) -> None:
    assert app.function("version").remote() == "tomli"
    measured(engine, "coldstart.version")

    told = engine.freehold("coldstart", "coldstart.version").succeeded().output

    assert "import  enter  output  all, ms" in told
    assert "Slowest imports" in told
    assert "what it does at import belongs into @modal.enter()" in told


def test_what_a_start_imports_from_its_image_is_kept_for_the_next(engine: Engine, app: Deployment) -> None:
    assert app.function("version").remote() == "tomli"
    measured(engine, "coldstart.version")

    def known() -> list[str]:
        files = (engine.home / "imports").glob(f"*.{app.app_id}.json")
        return [module for file in files for modules in json.loads(file.read_text())["functions"].values() for module in modules]

    modules = eventually(lambda: "tomli" in (found := known()) and found, within=60, what="The list of modules")
    assert "modal" not in modules
    assert modules.index("tomli._parser") < modules.index("tomli")


def test_what_the_first_input_imports_is_kept_too(engine: Engine, app: Deployment) -> None:
    assert app.function("late").remote() == "tomli"

    def named() -> bool:
        files = (engine.home / "imports").glob(f"*.{app.app_id}.json")
        lists = [json.loads(file.read_text())["functions"] for file in files]
        late = engine.call("AppGetLayout", api_pb2.AppGetLayoutRequest(app_id=app.app_id)).app_layout.function_ids["late"]
        return any("pip._vendor.tomli" in functions.get(late, []) for functions in lists)

    eventually(named, within=60, what="The module that only the input imports")
