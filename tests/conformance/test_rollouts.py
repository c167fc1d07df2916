"""What callers notice while an app is replaced: nothing but the new answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from conformance.deployment import Deployment, deploy, deployed, versioned
from conformance.engine import Engine
from conformance.load import load_on
from conformance.sites import browser
from conformance.waiting import eventually

STRATEGIES = ["rolling", "recreate"]
LONG = pytest.mark.long(reason="the same was seen of a redeploy")


@pytest.fixture
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "rollouts.py") as app:
        yield app


@pytest.fixture
async def site() -> AsyncIterator[aiohttp.ClientSession]:
    async with browser() as session:
        yield session


class TestUnderLoad:
    @pytest.mark.parametrize("strategy", STRATEGIES)
    async def test_a_redeploy_loses_no_call(self, app: Deployment, tmp_path: Path, strategy: str) -> None:
        script = versioned("rollouts.py", tmp_path, VERSION=2)

        await replaced(app, "deploy", "--name", app.name, "--strategy", strategy, str(script), old=1, new=2)

    @pytest.mark.parametrize("strategy", ["rolling", pytest.param("recreate", marks=LONG)])
    async def test_a_rollover_loses_no_call(self, app: Deployment, strategy: str) -> None:
        await replaced(app, "app", "rollover", app.name, "--strategy", strategy, old=1, new=1)

    @LONG
    @pytest.mark.parametrize("strategy", STRATEGIES)
    async def test_a_rollback_loses_no_call(self, app: Deployment, tmp_path: Path, strategy: str) -> None:
        deploy(app.engine, versioned("rollouts.py", tmp_path, VERSION=2))

        await replaced(app, "app", "rollback", app.name, "--strategy", strategy, old=2, new=1)


async def replaced(app: Deployment, *command: str, old: int, new: int) -> None:
    """Run the command while all kinds of callers call, and check what they were answered."""
    async with load_on(app) as load:
        await until(lambda: min(load.count(kind) for kind in ("remote", "mapped", "spawned", "method", "web")) > 2, "Answers of all kinds")
        before = {task.task_id for task in app.containers()}

        finished = await asyncio.to_thread(app.engine.modal, *command, within=120)

        finished.succeeded()
        await until(lambda: not before & {task.task_id for task in app.containers()}, "None of the old containers")
        over = time.monotonic()
        await until(lambda: len([answer for answer in load.answers if answer.asked_at > over]) > 30, "Answers afterwards")
    assert not load.failures
    assert load.values() == {old, new}
    assert load.values(since=over) == {new}


async def until(look, what: str, within: float = 60) -> None:
    await asyncio.to_thread(eventually, look, within=within, what=what)


class TestRolling:
    def test_a_warm_function_answers_without_a_pause_and_soon_anew(self, app: Deployment, tmp_path: Path) -> None:
        app.function("version").remote()

        deploy(app.engine, versioned("rollouts.py", tmp_path, VERSION=2))

        eventually(lambda: app.function("version").remote() == 2, within=60, what="The new answer")

    def test_a_version_that_cannot_start_leaves_the_old_one_serving(self, app: Deployment, tmp_path: Path) -> None:
        version = app.function("version")
        version.remote()

        deploy(app.engine, versioned("rollouts.py", tmp_path, VERSION=2, BREAKS=True))

        assert [version.remote() for _ in range(5)] == [1] * 5
        assert sorted(version.map([0.5] * 4)) == [1] * 4
        eventually(lambda: "the new version falls over" in app.logs(), within=60, what="The reason, in the log")
        app.engine.modal("app", "rollback", app.name).succeeded()
        assert version.remote() == 1

    def test_what_runs_goes_on_to_its_end_on_the_old_code(self, app: Deployment, tmp_path: Path) -> None:
        app.function("version").remote()
        calls = [app.function("version").spawn(5) for _ in range(2)]
        eventually(lambda: app.function("version").get_current_stats().num_running_inputs == 2, within=60, what="Both running")

        deploy(app.engine, versioned("rollouts.py", tmp_path, VERSION=2))

        assert [call.get(timeout=60) for call in calls] == [1, 1]

    async def test_streams_and_websockets_go_on_to_their_end(self, app: Deployment, site, tmp_path: Path) -> None:
        url = await app.url("web")
        async with site.get(f"{url}/drip") as dripping, site.ws_connect(url) as socket:
            await socket.send_str("?")
            assert await socket.receive_str(timeout=60) == "1"

            await asyncio.to_thread(deploy, app.engine, versioned("rollouts.py", tmp_path, VERSION=2))
            async with site.get(url) as response:
                assert await response.text() == "2"

            assert await dripping.text() == "".join(f"1.{number} " for number in range(8)) + "dry"
            await socket.send_str("?")
            assert await socket.receive_str(timeout=60) == "1", "its container goes when the connection does"
        old = app.containers()
        await until(lambda: len(app.containers()) < len(old), "The old container gone")


class TestRecreate:
    async def test_a_response_that_has_begun_is_cut_and_not_continued_by_other_code(self, app: Deployment, site, tmp_path: Path) -> None:
        url = await app.url("web")
        script = versioned("rollouts.py", tmp_path, VERSION=2)
        async with site.get(f"{url}/pour") as pouring, site.ws_connect(url) as socket:
            assert await pouring.content.readexactly(4) == b"1.0 "
            await socket.send_str("?")
            assert await socket.receive_str(timeout=60) == "1"

            command = ("deploy", "--name", app.name, "--strategy", "recreate", str(script))
            (await asyncio.to_thread(app.engine.modal, *command)).succeeded()

            with pytest.raises(aiohttp.ClientPayloadError):
                await pouring.read()
            assert (await socket.receive(timeout=60)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        async with site.get(url) as response:
            assert await response.text() == "2"

    def test_what_runs_is_run_again_on_the_new_code(self, app: Deployment, tmp_path: Path) -> None:
        app.function("version").remote()
        call = app.function("version").spawn(60)
        eventually(lambda: app.function("version").get_current_stats().num_running_inputs == 1, within=60, what="The input running")
        script = versioned("rollouts.py", tmp_path, VERSION=2)

        app.engine.modal("deploy", "--name", app.name, "--strategy", "recreate", script).succeeded()

        assert call.get(timeout=60) == 2
