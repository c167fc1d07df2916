"""Reports of starts: over the socket into the event record, and out of it for `freehold coldstart`."""

import asyncio
import json

import pytest
from fakes.control import ControlPlane

from freehold.container.frames import REPORT
from freehold.container.link import Link
from freehold.control.rpc import inputs_socket
from freehold.domain.errors import InvalidRequest, NotFound

DEADLINE = 30


def a_report(at, kind="plain", modules=("numpy", "sklearn")):
    """All seconds after `at`, the monotonic time at which the container was wanted."""
    moments = {"python": at + 0.05, "runtime": at + 0.35, "imports": at + 1.0}
    imports = [["sklearn", 0.6, 0.4, "image"], ["app", 0.7, 0.1, "app"]]
    return json.dumps({"kind": kind, "moments": moments, "imports": imports, "modules": modules}).encode()


async def a_start(plane, live, *, no_snapshot="", **report):
    """A container from the wish for it to its first output."""
    task = plane.tasks.create(live.function, live.definition_id, "test")
    wanted_at = plane.clock.monotonic()
    plane.clock.move(0.03)
    plane.tasks.record_started(task.id, no_snapshot=no_snapshot)
    plane.clock.move(1.07)
    await plane.call(live)
    [item] = await plane.claim(task)
    await plane.cold_starts.report(task.id, a_report(wanted_at, **report))
    plane.clock.move(0.01)
    await plane.answer(task, item)
    return task


async def ask(plane, subject):
    return await plane.cold_starts.show({"subject": subject})


class TestPhases:
    @pytest.mark.parametrize("subject", ["shop", "shop.f", "the function", "the task"])
    async def test_a_start_is_shown_phase_by_phase(self, plane, subject):
        _, live = await plane.deploy()
        task = await a_start(plane, live)
        answer = await ask(plane, {"the function": live.id, "the task": task.id}.get(subject, subject))
        [start] = answer["starts"]
        phases = {"container": 30, "python": 20, "runtime": 300, "imports": 650, "enter": 100, "input": 0, "output": 10}
        assert start["phases"] == pytest.approx(phases)
        assert (start["task_id"], start["function"], start["start"], start["all"]) == (task.id, "f", "plain", pytest.approx(1110))

    async def test_it_survives_the_end_of_the_container_and_of_the_engine(self, plane, tmp_path):
        _, live = await plane.deploy()
        await a_start(plane, live)
        before = await ask(plane, "shop")
        later = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        assert before["starts"]
        assert await ask(later, "shop") == before
        later.log_store.close()

    async def test_forks_and_plain_starts_have_medians_of_their_own(self, plane):
        _, live = await plane.deploy()
        for kind in ("plain", "zygote", "zygote"):
            await a_start(plane, live, kind=kind)
        medians = (await ask(plane, "shop"))["medians"]
        assert {kind: row["starts"] for kind, row in medians.items()} == {"plain": 1, "zygote": 2}

    async def test_only_the_first_output_counts(self, plane):
        _, live = await plane.deploy()
        task = await a_start(plane, live)
        plane.clock.move(60)
        await plane.call(live)
        [item] = await plane.claim(task)
        await plane.answer(task, item)
        assert (await plane.events(task.id)).count("task_answered") == 1

    async def test_starts_of_other_functions_are_left_out(self, plane):
        _, f, g = await plane.deploy("f", "g")
        await a_start(plane, f)
        await a_start(plane, g)
        assert [start["function"] for start in (await ask(plane, "shop.g"))["starts"]] == ["g"]
        assert [start["function"] for start in (await ask(plane, "shop"))["starts"]] == ["g", "f"]

    async def test_a_stock_container_shows_what_the_engine_saw(self, plane):
        _, live = await plane.deploy()
        await plane.a_ready_task(live)
        [start] = (await ask(plane, "shop"))["starts"]
        assert start["start"] == "not measured"
        assert set(start["phases"]) == {"container", "enter"}

    async def test_why_the_last_start_of_a_function_had_no_snapshot_is_told(self, plane):
        _, f, g = await plane.deploy("f", "g")
        await a_start(plane, f, no_snapshot="It is being made.")
        await a_start(plane, f)
        await a_start(plane, g, no_snapshot="It leaves threads.")
        assert (await ask(plane, "shop"))["no_snapshot"] == {"g": "It leaves threads."}

    async def test_the_slowest_imports_are_named_with_what_to_do(self, plane):
        _, live = await plane.deploy()
        await a_start(plane, live)
        first, second = (await ask(plane, "shop"))["imports"]
        assert (first["package"], first["all"], first["own"]) == ("sklearn", 600, 400)
        assert "snap=True" in first["advice"]
        assert "@modal.enter()" in second["advice"]

    async def test_what_the_first_input_imports_is_named_too(self, plane):
        app, live = await plane.deploy()
        task = await a_start(plane, live)
        later = {"kind": "later", "moments": {}, "imports": [["torch", 3.0, 2.0, "image"]], "modules": ["torch"]}
        await plane.cold_starts.report(task.id, json.dumps(later).encode())
        assert (await ask(plane, "shop"))["imports"][0]["package"] == "torch"
        assert await plane.import_lists.of(live.spec.image_id, app.id) == ["numpy", "sklearn", "torch"]

    async def test_a_container_that_reports_without_end_is_not_heard(self, plane):
        _, live = await plane.deploy()
        task = await a_start(plane, live)
        for _ in range(50):
            await plane.cold_starts.report(task.id, a_report(0.0))
        assert (await plane.events(task.id)).count("task_measured") < 10

    async def test_what_is_neither_app_nor_function_is_refused(self, plane):
        with pytest.raises(InvalidRequest):
            await ask(plane, "nonsense")
        with pytest.raises(NotFound):
            await ask(plane, "no.such")


class TestModules:
    async def test_what_a_plain_start_imports_is_kept_by_image(self, plane):
        app, live = await plane.deploy()
        await a_start(plane, live)
        await a_start(plane, live, modules=["numpy", "torch"])
        assert await plane.import_lists.of(live.spec.image_id, app.id) == ["numpy", "torch"]

    async def test_what_a_fork_imports_comes_on_top(self, plane):
        app, live = await plane.deploy()
        await a_start(plane, live)
        await a_start(plane, live, kind="zygote", modules=["torch"])
        await a_start(plane, live, kind="zygote", modules=[])
        assert await plane.import_lists.of(live.spec.image_id, app.id) == ["numpy", "sklearn", "torch"]

    async def test_functions_of_an_app_are_taken_together(self, plane):
        app, f, g = await plane.deploy("f", "g")
        await a_start(plane, f)
        await a_start(plane, g, modules=["numpy", "torch"])
        assert await plane.import_lists.of(f.spec.image_id, app.id) == ["numpy", "sklearn", "torch"]

    async def test_nothing_is_known_of_an_image_that_never_ran(self, plane):
        assert await plane.import_lists.of("im-none", "ap-none") == []


async def test_a_container_reports_with_its_first_request_and_only_then(plane):
    _, live = await plane.deploy()
    task = plane.tasks.create(live.function, live.definition_id, "test")
    told = []

    def report(**_):
        told.append(a_report(plane.clock.monotonic()) if not told else b"")
        return told[-1]

    link = Link(str(plane.settings.root / "run/control/inputs.sock"), task.id, task.token, dict, report)
    serving = inputs_socket.serve(plane.behind_sockets, plane.settings.root / "run/control/inputs.sock")
    async with asyncio.timeout(DEADLINE), serving:
        await plane.call(live)
        await link.ask(2, b"", patience=DEADLINE)
        while "task_measured" not in await plane.events(task.id):  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0.01)
        link._wire.close()
        await plane.call(live)
        await link.ask(2, b"", patience=DEADLINE)
    assert (await plane.events(task.id)).count("task_measured") == 1
    assert REPORT == 16
    link._wire.close()
