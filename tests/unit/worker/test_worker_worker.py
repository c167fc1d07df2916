import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from fakes.worker import (
    CLIENT,
    DEADLINE,
    FakeBuilder,
    FakeBundles,
    FakeNetworks,
    FakeRuntime,
    FakeSnapshots,
    RecordedReports,
    a_task,
    a_worker,
)

from freehold.domain.errors import Unavailable
from freehold.domain.files import FileTree
from freehold.domain.images import ImageConfig
from freehold.domain.logs import LogSource
from freehold.domain.seams import Seam, Zygotes
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.wire.worker import BuildSpec, BuiltImage, Limits
from freehold.worker.gpus import PretendedGpus
from freehold.worker.ports import ContainerExit, Counters


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def reports():
    return RecordedReports()


@pytest.fixture
def builder():
    return FakeBuilder()


@pytest.fixture
def a_running_worker(tmp_path, runtime, reports, builder):
    """A worker in the test's own task, and a look at what it leaves."""
    yield lambda **parts: a_worker(tmp_path, **{"runtime": runtime, "reports": reports, "builder": builder, **parts})
    assert runtime.running == {}
    assert [path for folder in ("roots", "run/tasks") for path in (tmp_path / folder).glob("*")] == []


def wish(worker, *tasks):
    worker.set_desired({task.task_id: task for task in tasks})


async def started(worker, runtime, task):
    wish(worker, task)
    return await runtime.container(task.task_id)


class TestGpus:
    async def test_a_container_gets_those_of_its_task(self, a_running_worker, runtime):
        async with a_running_worker(gpus=PretendedGpus(["T4", "T4", "L4"])) as worker:
            wish(worker, a_task(gpus=(0, 2)), a_task(task_id="ta-2", gpus=(1,)), a_task(task_id="ta-3"))

            given = {task_id: (await runtime.container(task_id)).spec.equipment for task_id in ("ta-1", "ta-2", "ta-3")}

        paths = {task_id: [device.path for device in equipment.devices] for task_id, equipment in given.items()}
        assert paths == {"ta-1": ["/dev/nvidia0", "/dev/nvidia2"], "ta-2": ["/dev/nvidia1"], "ta-3": []}
        assert given["ta-1"].env["NVIDIA_VISIBLE_DEVICES"] == "GPU-pretended-0,GPU-pretended-2"

    async def test_a_fork_could_not_open_them_so_it_is_started_plainly(self, a_running_worker, runtime, reports):
        async with a_running_worker(gpus=PretendedGpus(["T4"]), zygotes=Zygotes.AUTO, spare_containers=1) as worker:
            wish(worker, a_task(gpus=(0,), app_id="ap-1", function_id="fu-1", client=replace(CLIENT, seams=(Seam.INPUTS,))))

            assert await reports.of("started", "ta-1") == "plain: It has a GPU, which a fork could not open."

        assert [container.spec.id for container in runtime.started] == ["ta-1"], "no zygote, no spare"


class TestSamples:
    async def test_what_a_container_used_is_reported_once_more_before_its_end_is(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())
            await reports.of("started", "ta-1")
            container.counters = Counters(cpu_us=1500, memory_bytes=0, most_memory_bytes=4096)
            container.end(0)
            await reports.of("exited", "ta-1")

            [last] = reports.samples

        assert (last.task_id, last.reading.cpu_us, last.reading.memory_bytes) == ("ta-1", 1500, 4096)

    async def test_containers_are_read_while_they_run(self, a_running_worker, runtime, reports, monkeypatch):
        monkeypatch.setattr("freehold.worker.worker._SAMPLES_EVERY", 0.01)
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())
            container.counters = Counters(cpu_us=7, memory_bytes=2048, most_memory_bytes=4096)
            with anyio.fail_after(DEADLINE):
                while not any(sample.reading.cpu_us == 7 for sample in reports.samples):  # noqa: ASYNC110 — that it goes on is the point
                    await anyio.sleep(0.01)
            container.counters = Counters(cpu_us=9, most_memory_bytes=4096)
            container.end(0)
            await reports.of("exited", "ta-1")

        assert (reports.samples[-1].reading.cpu_us, reports.samples[-1].reading.memory_bytes) in ((9, 2048), (9, 4096))


class TestStart:
    async def test_a_desired_task_is_started_and_reported(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            await started(worker, runtime, a_task())

            await reports.of("started", "ta-1")

    async def test_the_same_wish_twice_starts_one_container(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            wish(worker, a_task())
            wish(worker, a_task())
            await reports.of("started", "ta-1")

            assert len(runtime.started) == 1

    async def test_the_container_is_made_as_the_task_says(self, a_running_worker, runtime):
        async with a_running_worker() as worker:
            task = a_task(env={"SECRET": "s"}, limits=Limits(memory_mib=64), image=ImageConfig(workdir="/srv"))

            spec = (await started(worker, runtime, task)).spec

            assert (spec.id, spec.cwd, spec.limits, spec.env["SECRET"]) == ("ta-1", "/srv", Limits(memory_mib=64), "s")
            assert spec.argv == ("/usr/bin/python3", "-m", "modal._container_entrypoint")
            assert {"/__freehold/control", "/__freehold/task/arguments.bin", "/etc/hosts", "/etc/resolv.conf"} <= {
                bind.target for bind in spec.binds
            }

    async def test_the_client_lies_over_the_image_and_the_apps_files_over_both(self, a_running_worker, tmp_path, runtime):
        snapshots = FakeSnapshots(tmp_path)
        async with a_running_worker(snapshots=snapshots) as worker:
            await started(worker, runtime, a_task(trees=(FileTree(id="app", files=()),)))

            assert snapshots.roots["ta-1"] == (("base",), (Path("/bundles/modal-1.6.4"), Path("/trees/app")))

    @pytest.mark.parametrize("outbound", [True, False])
    async def test_a_task_gets_a_network_with_or_without_a_way_out(self, a_running_worker, tmp_path, runtime, outbound):
        networks = FakeNetworks()
        async with a_running_worker(networks=networks) as worker:
            container = await started(worker, runtime, a_task(network=outbound))

            assert networks.present == {"ta-1": outbound}
            assert container.spec.netns == "/fake/ta-1"

    async def test_a_container_that_cannot_be_made_is_reported_with_the_reason(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            runtime.refusal = "no runc"

            wish(worker, a_task())

            assert await reports.of("exited", "ta-1") == TaskExit(kind=ExitKind.NOT_STARTED, detail="no runc")

    async def test_a_start_that_goes_wrong_ends_no_other_task(self, a_running_worker, runtime, reports):
        async with a_running_worker(bundles=None) as worker:
            wish(worker, a_task())

            assert "the engine's log has the reason" in (await reports.of("exited", "ta-1")).detail

    async def test_a_refused_task_is_not_tried_again(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            runtime.refusal = "no runc"
            wish(worker, a_task())
            await reports.of("exited", "ta-1")
            runtime.refusal = ""

            wish(worker, a_task())
            wish(worker, a_task(), a_task(task_id="ta-2"))
            await reports.of("started", "ta-2")

            assert ("started", "ta-1") not in reports.facts


class TestEnd:
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            (ContainerExit(code=0), ExitKind.FINISHED),
            (ContainerExit(code=1), ExitKind.CRASHED),
            (ContainerExit(code=139), ExitKind.CRASHED),
            (ContainerExit(code=137, out_of_memory=True), ExitKind.OUT_OF_MEMORY),
        ],
    )
    async def test_an_exit_is_told_by_its_cause(self, a_running_worker, runtime, reports, ending, kind):
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())

            container.end(ending.code, out_of_memory=ending.out_of_memory)

            assert await reports.of("exited", "ta-1") == TaskExit(kind=kind, code=ending.code)

    async def test_a_crash_is_explained_by_the_last_lines_of_the_log(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())
            container.say("Traceback\nKeyError: 'x'\n")

            container.end(1)

            assert (await reports.of("exited", "ta-1")).detail == "Traceback\nKeyError: 'x'"

    async def test_output_is_reported_before_the_exit(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())
            container.say("last words\n")
            container.end(0)
            await reports.of("exited", "ta-1")

            assert [(entry.source, entry.text) for entry in reports.logs["ta-1"]] == [(LogSource.STDOUT, "last words\n")]

    async def test_a_task_runs_once_even_if_it_stays_desired(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())
            container.end(0)
            await reports.of("exited", "ta-1")

            wish(worker, a_task())
            await started(worker, runtime, a_task(task_id="ta-2"))

            assert [container.spec.id for container in runtime.started] == ["ta-1", "ta-2"]

    async def test_nothing_of_a_task_is_left(self, a_running_worker, tmp_path, runtime, reports):
        networks, snapshots = FakeNetworks(), FakeSnapshots(tmp_path)
        async with a_running_worker(networks=networks, snapshots=snapshots) as worker:
            container = await started(worker, runtime, a_task())
            container.end(0)
            await worker._lives["ta-1"].wait_gone()

            assert (runtime.running, networks.present, snapshots.roots) == ({}, {}, {})
            assert list((tmp_path / "run/tasks").iterdir()) == []


class TestStop:
    async def test_a_task_that_is_no_longer_desired_is_interrupted(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            container = await started(worker, runtime, a_task())
            await reports.of("started", "ta-1")

            wish(worker)

            assert await reports.of("exited", "ta-1") == TaskExit(kind=ExitKind.STOPPED, code=128 + signal.SIGINT)
            assert container.signals == [signal.SIGINT]

    async def test_what_ignores_the_interrupt_is_killed_after_the_grace_period(self, a_running_worker, tmp_path, runtime, reports):
        runtime.obeyed_signals.clear()
        async with a_running_worker(grace=timedelta(milliseconds=20)) as worker:
            container = await started(worker, runtime, a_task())
            await reports.of("started", "ta-1")

            wish(worker)
            await reports.of("exited", "ta-1")

        assert container.signals == [signal.SIGINT, signal.SIGKILL]

    async def test_a_kill_does_not_wait_for_the_grace_period(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            runtime.obeyed_signals.clear()
            container = await started(worker, runtime, a_task())
            await reports.of("started", "ta-1")

            await worker.kill("ta-1")
            await reports.of("exited", "ta-1")

            assert container.signals == [signal.SIGKILL]

    async def test_a_kill_ends_a_grace_period(self, a_running_worker, runtime, reports):
        async with a_running_worker() as worker:
            runtime.obeyed_signals.clear()
            await started(worker, runtime, a_task())
            await reports.of("started", "ta-1")
            wish(worker)

            await worker.kill("ta-1")

            assert (await reports.of("exited", "ta-1")).kind is ExitKind.STOPPED

    async def test_a_task_that_is_stopped_while_it_starts_does_not_run(self, a_running_worker, tmp_path, runtime, reports):
        snapshots = FakeSnapshots(tmp_path)
        snapshots.on_mount = anyio.Event()
        async with a_running_worker(snapshots=snapshots) as worker:
            wish(worker, a_task())
            wish(worker)

            assert (await reports.of("exited", "ta-1")).kind is ExitKind.STOPPED
            assert runtime.started == []

    async def test_leaving_stops_every_task(self, a_running_worker, tmp_path, runtime, reports):
        async with a_running_worker() as worker:
            await started(worker, runtime, a_task())
            await started(worker, runtime, a_task(task_id="ta-2"))
            await reports.of("started", "ta-2")

        assert {await reports.of("exited", "ta-1"), await reports.of("exited", "ta-2")} == {
            TaskExit(kind=ExitKind.STOPPED, code=128 + signal.SIGINT)
        }
        assert runtime.running == {}

    async def test_an_engine_that_is_cancelled_gives_its_tasks_their_grace_period(self, a_running_worker, tmp_path, runtime, reports):
        with anyio.fail_after(DEADLINE), anyio.CancelScope() as engine:
            async with a_running_worker() as worker:
                container = await started(worker, runtime, a_task())
                await reports.of("started", "ta-1")
                engine.cancel()
                await anyio.sleep_forever()

        assert container.signals[0] == signal.SIGINT
        assert (await reports.of("exited", "ta-1")).kind is ExitKind.STOPPED

    async def test_what_a_dead_engine_left_is_removed_before_the_first_start(self, a_running_worker, tmp_path, runtime, reports):
        snapshots = FakeSnapshots(tmp_path)
        await snapshots.mount("ta-0", ())

        async with a_running_worker(snapshots=snapshots):
            assert snapshots.roots == {}


class TestBuild:
    async def test_the_outcome_of_a_build_is_reported(self, a_running_worker, builder, reports):
        async with a_running_worker() as worker:
            worker.build(BuildSpec(image_id="im-1", commands=()))
            builder.answer.set()

            assert await reports.of("built", "im-1") == builder.outcome

    @pytest.mark.parametrize("error", [None, Unavailable("No index can be reached.")])
    async def test_the_client_is_made_ready_for_functions_over_a_new_image(self, a_running_worker, builder, reports, error):
        bundles = FakeBundles(error)
        async with a_running_worker(bundles=bundles) as worker:
            builder.outcome = BuiltImage(layers=("built",), config=ImageConfig(python_series="3.11"))
            builder.answer.set()
            worker.build(BuildSpec(image_id="im-1", commands=(), client_version="1.6.4"))

            with anyio.fail_after(DEADLINE):
                await bundles.asked.wait()

        assert (bundles.client.version, bundles.client.python_series) == ("1.6.4", "3.11")
        assert await reports.of("built", "im-1") == builder.outcome

    async def test_an_image_that_is_being_built_is_not_built_twice(self, a_running_worker, builder, reports):
        async with a_running_worker() as worker:
            worker.build(BuildSpec(image_id="im-1", commands=()))
            worker.build(BuildSpec(image_id="im-1", commands=()))
            builder.answer.set()
            await reports.of("built", "im-1")

            assert builder.begun == ["im-1"]

    async def test_few_images_are_built_at_once(self, a_running_worker, builder, reports):
        async with a_running_worker() as worker:
            builder.answer.set()
            for number in range(5):
                worker.build(BuildSpec(image_id=f"im-{number}", commands=()))
            for number in range(5):
                await reports.of("built", f"im-{number}")

            assert builder.most_at_once <= 2

    @pytest.mark.parametrize(
        ("error", "text"), [(Unavailable("no registry"), "no registry"), (RuntimeError("a bug"), "the engine's log has the reason")]
    )
    async def test_a_build_that_goes_wrong_is_an_answer(self, a_running_worker, builder, reports, error, text):
        async with a_running_worker() as worker:
            builder.outcome = error
            builder.answer.set()
            worker.build(BuildSpec(image_id="im-1", commands=()))

            assert text in await reports.of("built", "im-1")
