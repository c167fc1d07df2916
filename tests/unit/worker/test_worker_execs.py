"""Commands in containers: started once, kept after their end, bounded. The container is a fake one, its programs are the machine's."""

import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from fakes.worker import DEADLINE, FakeRuntime, RecordedReports, a_task, a_worker

from freehold.domain.errors import NotFound, ResourceExhausted, Unavailable
from freehold.domain.images import ImageConfig
from freehold.wire.execs import Command, Errors, Stream
from freehold.worker import execs as module

FOREVER = Command(argv=("sleep", "1000"))


def sh(script, **changes):
    return replace(Command(argv=("sh", "-c", script)), **changes)


class Setting:
    """A worker with one container, `ta-1`, and its commands."""

    def __init__(self, home, **task):
        self.runtime, self.reports = FakeRuntime(), RecordedReports()
        self.worker = a_worker(home, runtime=self.runtime, reports=self.reports)
        self.execs = self.worker.execs
        self.task = a_task(**task)

    async def __aenter__(self):
        await self.worker.__aenter__()
        self.worker.set_desired({"ta-1": self.task})
        await self.reports.of("started", "ta-1")
        return self

    async def __aexit__(self, *error):
        await self.worker.__aexit__(*error)

    async def text(self, exec_id, stream=Stream.STDOUT):
        with anyio.fail_after(DEADLINE):
            return b"".join([data async for data in self.execs.read("ta-1", exec_id, stream, 0)]).decode()

    async def ended(self, exec_id):
        with anyio.fail_after(DEADLINE):
            return await self.execs.wait("ta-1", exec_id)


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path)


class TestCommand:
    async def test_its_outputs_and_status_are_kept_apart(self, setting):
        async with setting:
            assert await setting.execs.start("ta-1", "a", sh("echo one; echo two >&2; exit 3"))

            assert (await setting.ended("a")).code == 3
            assert await setting.text("a") == "one\n"
            assert await setting.text("a", Stream.STDERR) == "two\n"
            assert (await setting.reports.of("command ended", "a")).code == 3

    async def test_outputs_can_be_joined_or_dropped(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "joined", sh("echo one; echo two >&2", errors=Errors.JOINED))
            await setting.execs.start("ta-1", "dropped", sh("echo one; echo two >&2", errors=Errors.DROPPED, keeps_output=False))

            assert await setting.text("joined") == "one\ntwo\n"
            assert [await setting.text("dropped", stream) for stream in Stream] == ["", ""]

    async def test_the_same_id_starts_nothing_twice(self, setting, tmp_path):
        async with setting:
            mark = tmp_path / "mark"
            assert await setting.execs.start("ta-1", "a", sh(f"echo x >> {mark}"))
            assert not await setting.execs.start("ta-1", "a", sh(f"echo x >> {mark}"))
            await setting.ended("a")
            assert not await setting.execs.start("ta-1", "a", sh(f"echo x >> {mark}"))

            assert mark.read_text() == "x\n"

    async def test_it_is_known_by_its_container_and_its_id(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", FOREVER)
            for ids in (("ta-1", "b"), ("ta-2", "a")):
                with pytest.raises(NotFound, match="not started there"):
                    setting.execs.poll(*ids)
            assert setting.execs.poll("ta-1", "a") is None

    async def test_what_is_no_program_ends_as_shells_tell_it(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", Command(argv=("no-such-program",)))

            assert (await setting.ended("a")).code == 127
            assert "no-such-program" in await setting.text("a", Stream.STDERR)

    async def test_one_that_takes_too_long_is_killed_with_what_it_started(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", sh("sleep 1000 & echo begun; wait", timeout=0.3))

            end = await setting.ended("a")
            assert end.code == 128 + signal.SIGKILL
            assert "timeout of 0.3 s" in end.reason
            assert end.reason in await setting.text("a", Stream.STDERR)

    async def test_who_reads_meanwhile_is_told_too(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", replace(FOREVER, timeout=0.3))

            assert "timeout of 0.3 s" in await setting.text("a", Stream.STDERR)

    async def test_one_that_is_stopped_says_by_whom(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", FOREVER)
            setting.execs.stop("ta-1", "a", "Ada has had enough.")

            assert (await setting.ended("a")).reason == "Ada has had enough."

    async def test_what_it_leaves_in_the_background_holds_up_no_reader(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", sh("sleep 1000 & echo done"))

            assert (await setting.ended("a")).code == 0
            assert await setting.text("a") == "done\n"

    async def test_large_output_is_whole_though_its_reader_came_late(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", sh("head -c 5000000 /dev/zero"))
            await anyio.wait_all_tasks_blocked()
            assert setting.execs.poll("ta-1", "a") is None, "it waits for somebody to take its output"

            assert len(await setting.text("a")) == 5_000_000
            assert (await setting.ended("a")).code == 0


class TestContainer:
    async def test_a_command_has_the_functions_environment_without_its_token(self, tmp_path):
        image = ImageConfig(env={"OF_THE_IMAGE": "1", "BOTH": "image"}, workdir="/srv")
        async with Setting(tmp_path, image=image, env={"A_SECRET": "2", "BOTH": "secret"}) as setting:
            place = await setting.worker.place("ta-1")

        assert place.cwd == "/srv"
        assert (
            place.env.items() >= {"OF_THE_IMAGE": "1", "A_SECRET": "2", "BOTH": "secret", "HOME": "/root", "MODAL_TASK_ID": "ta-1"}.items()
        )
        assert "a-token" not in str(place.env)

    async def test_commands_end_with_their_container_and_are_told_so(self, setting):
        async with setting:
            await setting.execs.start("ta-1", "a", FOREVER)
            setting.worker.set_desired({})

            end = await setting.ended("a")
            assert (end.code, end.reason) == (128 + signal.SIGKILL, "Its container has ended.")
            assert "freehold: Its container has ended." in await setting.text("a", Stream.STDERR)
            with pytest.raises(NotFound, match="No running container ta-1"):
                await setting.execs.start("ta-1", "b", FOREVER)

    async def test_one_that_is_still_starting_is_not_there_yet(self, tmp_path):
        setting = Setting(tmp_path)
        setting.worker._shop.snapshots.on_mount = anyio.Event()
        async with setting.worker:
            setting.worker.set_desired({"ta-1": setting.task})
            with pytest.raises(Unavailable, match="not there yet"):
                await setting.execs.start("ta-1", "a", FOREVER)
            setting.worker.set_desired({})

    async def test_a_container_that_nobody_has_is_not_found(self, setting):
        async with setting:
            with pytest.raises(NotFound):
                await setting.execs.start("ta-9", "a", FOREVER)


class TestBounds:
    async def test_one_container_runs_only_so_many(self, setting, monkeypatch):
        async with setting:
            monkeypatch.setattr(module, "_MOST_PER_CONTAINER", 2)
            for name in "ab":
                await setting.execs.start("ta-1", name, FOREVER)
            with pytest.raises(ResourceExhausted, match="2 commands run in container ta-1 already"):
                await setting.execs.start("ta-1", "c", FOREVER)

            setting.execs.stop("ta-1", "a", "to make room")
            await setting.ended("a")
            await setting.execs.start("ta-1", "c", FOREVER)

    async def test_those_that_ended_first_are_forgotten_first(self, setting, monkeypatch):
        async with setting:
            monkeypatch.setattr(module, "_MOST", 2)
            for name in "abc":
                await setting.execs.start("ta-1", name, sh("true"))
                await setting.ended(name)

            with pytest.raises(NotFound):
                setting.execs.poll("ta-1", "a")
            assert [setting.execs.poll("ta-1", name).code for name in "bc"] == [0, 0]

    async def test_one_is_forgotten_some_time_after_its_end(self, setting, monkeypatch):
        async with setting:
            monkeypatch.setattr(module, "_KEPT", 0.0)
            await setting.execs.start("ta-1", "a", sh("true"))

            await setting.ended("a")
            await setting.reports.of("command ended", "a")
            await anyio.wait_all_tasks_blocked()

            with pytest.raises(NotFound):
                setting.execs.poll("ta-1", "a")

    async def test_descriptors_are_given_back(self, setting):
        async with setting:

            def count():
                return len(list(Path("/proc/self/fd").iterdir()))

            before = await anyio.to_thread.run_sync(count)
            for name in "abcd":
                await setting.execs.start("ta-1", name, sh("echo x; exit 1"))
                await setting.ended(name)
                await setting.execs.start("ta-1", f"no-{name}", Command(argv=("no-such-program",)))
            assert await anyio.to_thread.run_sync(count) == before
