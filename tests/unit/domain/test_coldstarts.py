"""Where the time of a start goes, from moments of two processes."""

import json
from datetime import UTC, datetime

import pytest

from freehold.domain.coldstarts import (
    ColdStart,
    Import,
    Phase,
    advice,
    durations,
    medians,
    parse_report,
    since,
    slowest_imports,
    whole,
)
from freehold.domain.errors import InvalidRequest

MOMENTS = {"container": 0.03, "python": 0.05, "runtime": 0.35, "imports": 0.75, "enter": 0.8, "input": 5.8, "output": 5.9}


def a_start(moments=MOMENTS, imports=()):
    return ColdStart(
        task_id="ta-1", function_id="fu-1", at=datetime(2026, 1, 1, tzinfo=UTC), kind="plain", moments=moments, imports=imports
    )


def said(**changes):
    whole = {"kind": "plain", "moments": {"python": 1.5}, "imports": [["numpy", 0.2, 0.1, "image"]], "modules": ["numpy", "numpy.linalg"]}
    return json.dumps(whole | changes).encode()


class TestPhases:
    def test_each_phase_lasts_from_the_moment_before_it_to_its_own(self):
        spans = durations(a_start())
        assert list(spans) == [Phase(name) for name in MOMENTS]
        assert spans[Phase.CONTAINER] == pytest.approx(0.03)
        assert spans[Phase.RUNTIME] == pytest.approx(0.3)

    def test_waiting_for_an_input_is_no_cost_of_the_start(self):
        assert whole(durations(a_start())) == pytest.approx(0.9)

    def test_a_fork_has_no_interpreter_to_start(self):
        spans = durations(a_start({"container": 0.002, "forked": 0.006, "runtime": 0.01}))
        assert list(spans) == [Phase.CONTAINER, Phase.FORKED, Phase.RUNTIME]

    def test_a_report_of_the_worker_that_comes_late_makes_no_negative_time(self):
        """The container runs before its worker's report of that is recorded."""
        spans = durations(a_start({"container": 0.06, "python": 0.05, "runtime": 0.35}))
        assert spans == {Phase.CONTAINER: 0.05, Phase.PYTHON: 0.0, Phase.RUNTIME: pytest.approx(0.3)}

    def test_moments_that_cannot_be_of_this_start_are_left_out(self):
        assert since(100.0, {"python": 100.5, "early": 99.0, "late": 9e9}) == {"python": 0.5}

    def test_medians_are_over_the_starts_that_had_the_phase(self):
        starts = [a_start({"container": 0.1}), a_start({"container": 0.3}), a_start({"container": 0.2, "python": 0.5})]
        assert medians(starts) == {Phase.CONTAINER: 0.2, Phase.PYTHON: pytest.approx(0.3)}


class TestImports:
    def test_the_slowest_are_named_by_their_own_part(self):
        heavy, light, quick = Import("sklearn", 0.9, 0.2, "image"), Import("scipy", 0.6, 0.5, "image"), Import("json", 0.01, 0.01, "python")
        assert slowest_imports([a_start(imports=[heavy, light, quick])]) == [light, heavy]

    def test_one_slow_start_does_not_make_an_import_slow(self):
        items = [Import("numpy", seconds, seconds, "image") for seconds in (0.01, 0.01, 2.0)]
        assert slowest_imports([a_start(imports=[item]) for item in items]) == []

    def test_advice_is_for_what_its_owner_can_change(self):
        assert "snap=True" in advice(Import("torch", 1, 1, "image"))
        assert "@modal.enter()" in advice(Import("app", 1, 1, "app"))
        assert advice(Import("modal", 1, 1, "client")) == ""


class TestReports:
    def test_what_a_container_says_is_read(self):
        report = parse_report(said())
        assert report.moments == {"python": 1.5}
        assert report.imports == [Import("numpy", 0.2, 0.1, "image")]
        assert report.modules == ["numpy", "numpy.linalg"]

    def test_names_that_no_import_can_have_are_left_out(self):
        report = parse_report(said(modules=["../etc", "", "a.b", "3c22__mypyc"], imports=[["a b", 1, 1, "app"]]))
        assert (report.modules, report.imports) == (["a.b", "3c22__mypyc"], [])

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"[]",
            b"{}",
            said(moments={"python": "soon"}),
            said(moments={"python": float("nan")}),
            said(moments=[1]),
            said(imports=[["numpy", 1]]),
            said(imports=[["numpy", -1, 0, "image"]]),
            said(modules=[3]),
            said(modules=["m"] * 5000),
            said(kind="a/b"),
            b'{"kind":' * 100_000,
        ],
    )
    def test_what_none_of_ours_says_is_refused(self, payload):
        with pytest.raises(InvalidRequest):
            parse_report(payload)
