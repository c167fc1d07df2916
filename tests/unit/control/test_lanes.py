"""Web requests and the containers that serve them directly: who gets which place, who waits, and who is told what."""

import asyncio
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from modal_proto import api_pb2

from freehold.control.rpc.sockets import short_path
from freehold.control.services.tasks import Author
from freehold.domain.errors import DeadlineExceeded, InvalidRequest, NotFound, ResourceExhausted, Unavailable
from freehold.domain.ids import call_of_request, new_request_ids
from freehold.domain.tasks import ExitKind, TaskExit, TaskState

ASGI = {"type": api_pb2.WEBHOOK_TYPE_ASGI_APP}
LABEL = "local--shop-site"
PATIENCE = 5.0


@pytest.fixture
async def site(plane):
    """Takes two requests at once in each container."""
    _, live = await plane.deploy("site", webhook_config=ASGI, max_concurrent_inputs=2)
    return live


@asynccontextmanager
async def serving(plane, live, listens_at="http.sock", **fields):
    """A container that serves HTTP itself: its task, and what waits for the word to leave."""
    task = plane.tasks.create(live.function, live.definition_id, "test", **fields)
    plane.tasks.record_started(task.id, "10.0.0.7")
    make_socket(plane, task)
    connection = asyncio.get_running_loop().create_task(plane.lanes.serve(task.id, listens_at))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        yield task, connection
    finally:
        connection.cancel()
        await asyncio.wait([connection])


class Lookups:
    """Those of apps stop here until they may go on."""

    def __init__(self):
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()


@pytest.fixture
async def lookups(plane, monkeypatch):
    stop, get = Lookups(), plane.apps.get

    async def stopping(app_id):
        app = await get(app_id)
        stop.begun.set()
        await stop.go_on.wait()
        return app

    monkeypatch.setattr(plane.apps, "get", stopping)
    return stop


def make_socket(plane, task):
    """As a container makes it, and its path."""
    path = plane.settings.root / "run/tasks" / task.id / "web/http.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening, short_path(path) as address:
        listening.bind(address)
    return path


def leads_to(address):
    return str(Path(address).readlink())


def target_of(plane):
    return plane.lanes.route(LABEL).target


async def settled():
    for _ in range(50):
        await asyncio.sleep(0)


class TestRoutes:
    async def test_a_route_says_what_holds_for_requests(self, plane):
        await plane.deploy("site", webhook_config=ASGI, timeout_secs=20)
        route = plane.lanes.route(LABEL)
        assert (route.timeout, route.needs_proxy_auth, route.target.name) == (20.0, False, "site")

    async def test_nobody_answers_at_other_labels(self, plane):
        with pytest.raises(NotFound, match="No web function answers"):
            plane.lanes.route("local--nobody")


class TestPlaces:
    async def test_the_least_loaded_container_is_taken_up_to_its_limit(self, plane, site):
        async with serving(plane, site) as (first, _), serving(plane, site) as (second, _):
            lanes = [plane.lanes.take(target_of(plane)) for _ in range(4)]
            assert [lane.id for lane in lanes[:2]] == [first.id, second.id]
            assert (first.requests, second.requests) == (2, 2)
            assert plane.lanes.take(target_of(plane)) is None

    async def test_a_place_is_free_again_when_its_request_has_ended(self, plane, site):
        async with serving(plane, site) as (task, _):
            lanes = [plane.lanes.take(target_of(plane)) for _ in range(2)]
            plane.lanes.release(lanes[0])
            assert plane.lanes.take(target_of(plane)) is lanes[0]
            assert task.load == plane.calls.find_pool(site.id).running == 2

    async def test_a_container_that_has_hung_up_gets_nothing_until_it_is_back(self, plane, site):
        async with serving(plane, site) as (task, connection):
            connection.cancel()
            await settled()
            assert plane.lanes.take(target_of(plane)) is None
            again = asyncio.get_running_loop().create_task(plane.lanes.serve(task.id, "http.sock"))
            await settled()
            assert plane.lanes.take(target_of(plane)).id == task.id
            again.cancel()

    async def test_a_socket_that_refuses_is_left_alone_for_a_moment(self, plane, site):
        async with serving(plane, site):
            lane = plane.lanes.take(target_of(plane))
            plane.lanes.lost(lane)
            plane.lanes.release(lane)
            assert plane.lanes.take(target_of(plane)) is None
            plane.clock.move(2)
            assert plane.lanes.take(target_of(plane)) is lane

    async def test_who_waits_for_a_socket_that_refused_is_served_when_it_has_rested(self, plane, site):
        async with serving(plane, site):
            lane = plane.lanes.take(target_of(plane))
            plane.lanes.lost(lane)
            plane.lanes.release(lane)
            waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
            await settled()
            assert not waiting.done()
            plane.clock.move(0.9)  # the loop's clock goes on by itself, and comes first
            await asyncio.sleep(1.1)
            plane.clock.move(0.2)
            assert await waiting is lane

    async def test_the_first_request_that_has_ended_ends_the_start_of_its_container(self, plane, site):
        async with serving(plane, site) as (task, _):
            lane = plane.lanes.take(target_of(plane))
            assert task.first_input_at is not None
            assert not task.has_answered
            plane.lanes.release(lane)
            assert task.has_answered

    async def test_a_session_stays_with_its_container_while_that_has_room(self, plane, site):
        async with serving(plane, site), serving(plane, site):
            lane = plane.lanes.take(target_of(plane), "s1")
            assert plane.lanes.take(target_of(plane), "s1") is lane
            assert plane.lanes.take(target_of(plane), "s1") is not lane

    async def test_a_container_listens_at_its_socket_or_at_a_port_of_its_own_network(self, plane, site):
        async with serving(plane, site) as (task, _):
            path = plane.settings.root / "run/tasks" / task.id / "web/http.sock"
            assert leads_to(plane.lanes.take(target_of(plane)).address) == str(path)
        async with serving(plane, site, "8000"):
            assert plane.lanes.take(target_of(plane)).address == ("10.0.0.7", 8000)

    @pytest.mark.parametrize("make", [lambda path: path.symlink_to("/run/other.sock"), lambda path: path.touch(), lambda path: None])
    async def test_what_is_no_socket_of_the_containers_own_is_refused(self, plane, site, make):
        task = plane.tasks.create(site.function, site.definition_id, "test")
        path = make_socket(plane, task)
        path.unlink()
        make(path)

        with pytest.raises(InvalidRequest, match="socket"):
            await plane.lanes.serve(task.id, "http.sock")

    @pytest.mark.parametrize("port", ["0", "65536", "99999999"])
    async def test_no_such_port(self, plane, site, port):
        async with serving(plane, site, port) as (_, connection):
            with pytest.raises(InvalidRequest, match="cannot be reached"):
                await connection


class TestWaiting:
    async def test_a_request_makes_a_container_be_wanted_and_gets_it(self, plane, site):
        waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
        await settled()
        await plane.autoscaler.step()
        assert len(plane.tasks_of(site)) == 1
        task = plane.tasks_of(site)[0]
        make_socket(plane, task)
        connection = asyncio.get_running_loop().create_task(plane.lanes.serve(task.id, "http.sock"))
        lane = await waiting
        assert (lane.id, task.requests, task.state) == (task.id, 1, TaskState.READY)
        connection.cancel()

    async def test_requests_that_wait_come_before_those_that_come_later(self, plane, site):
        async with serving(plane, site):
            lanes = [plane.lanes.take(target_of(plane)) for _ in range(2)]
            waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
            await settled()
            plane.lanes.release(lanes[0])
            assert plane.lanes.take(target_of(plane)) is None
            assert await waiting is lanes[0]

    async def test_patience_ends_and_leaves_no_trace(self, plane, site):
        with pytest.raises(DeadlineExceeded, match=r"No container .* within 0.01 s"):
            await plane.lanes.wait(target_of(plane), 0.01)
        assert plane.calls.find_pool(site.id).is_idle

    async def test_who_leaves_in_the_moment_of_being_served_gives_the_place_back(self, plane, site):
        async with serving(plane, site) as (task, _):
            lanes = [plane.lanes.take(target_of(plane)) for _ in range(2)]
            waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
            await settled()
            plane.lanes.release(lanes[0])
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert task.requests == 1

    async def test_too_many_wait(self, plane, site):
        del site
        waiting = [asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE)) for _ in range(3)]
        await settled()
        with pytest.raises(ResourceExhausted, match="3 web requests wait"):
            await plane.lanes.wait(target_of(plane), PATIENCE)
        for each in waiting:
            each.cancel()

    async def test_containers_that_cannot_start_end_the_wait_with_the_reason(self, plane, site):
        waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
        await settled()
        await plane.calls.starts_failed(site.id, "no module named torch", b"")
        with pytest.raises(Unavailable, match=r"(?s)no module named torch.*modal app logs shop"):
            await waiting

    async def test_who_begins_to_wait_while_idle_functions_are_forgotten_is_served(self, plane, site, lookups):
        plane.calls.pool(site.id, site.function.app_id)
        waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
        await lookups.begun.wait()
        plane.calls.forget_silent()
        lookups.go_on.set()
        async with serving(plane, site) as (task, _):
            assert (await waiting).id == task.id


class TestInputsInstead:
    async def test_a_client_that_the_seam_is_not_proved_for(self, plane, site):
        del site
        plane.seams.clear()
        assert await plane.lanes.wait(target_of(plane), PATIENCE) is None

    async def test_a_container_that_asks_for_inputs_takes_those_who_wait(self, plane, site):
        waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
        await settled()
        task = plane.tasks.create(site.function, site.definition_id, "test")
        plane.lanes.fall_back(task.id, "it mixes web and other methods")
        claim = asyncio.get_running_loop().create_task(plane.claims.claim(task.id))
        assert await waiting is None
        assert await plane.lanes.wait(target_of(plane), PATIENCE) is None
        assert [event.cause for event in await plane.story(task.id) if event.kind == "web_fallback"] == ["it mixes web and other methods"]
        claim.cancel()

    async def test_one_that_asks_for_them_while_its_app_is_looked_up_is_noticed(self, plane, site, lookups):
        waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
        await lookups.begun.wait()
        task = plane.tasks.create(site.function, site.definition_id, "test")
        claim = asyncio.get_running_loop().create_task(plane.claims.claim(task.id))
        await settled()
        lookups.go_on.set()
        assert await waiting is None
        claim.cancel()

    async def test_in_which_way_an_earlier_engines_container_takes_them_is_seen_when_it_is_heard_of(self, plane, site):
        async with serving(plane, site) as (task, _):
            task.is_silent = True
            plane.calls.find_pool(site.id).web.lanes.clear()
            waiting = asyncio.get_running_loop().create_task(plane.lanes.wait(target_of(plane), PATIENCE))
            await settled()
            assert not waiting.done()
            again = asyncio.get_running_loop().create_task(plane.lanes.serve(task.id, "http.sock"))
            assert (await waiting).id == task.id
            again.cancel()


class TestLeaving:
    async def test_a_container_leaves_when_its_last_request_has_ended(self, plane, site):
        async with serving(plane, site) as (task, connection):
            lane = plane.lanes.take(target_of(plane))
            plane.claims.drain(task, "test")
            await settled()
            assert plane.lanes.take(target_of(plane)) is None
            assert not connection.done()
            plane.lanes.release(lane)
            await settled()
            assert connection.done()

    async def test_an_idle_one_leaves_at_once(self, plane, site):
        async with serving(plane, site) as (task, connection):
            plane.claims.drain(task, "test")
            await settled()
            assert connection.done()

    async def test_one_that_is_used_once(self, plane, site):
        async with serving(plane, site, is_single_use=True) as (_, connection):
            lane = plane.lanes.take(target_of(plane))
            assert plane.lanes.take(target_of(plane)) is None
            plane.lanes.release(lane)
            await settled()
            assert connection.done()

    async def test_one_whose_request_timed_out_is_ended_when_its_others_are_done(self, plane, site):
        async with serving(plane, site) as (task, _):
            stuck, other = [plane.lanes.take(target_of(plane)) for _ in range(2)]
            plane.lanes.timed_out(stuck)
            plane.lanes.release(stuck)
            await plane.liveness.step()
            assert not task.is_stopping
            plane.lanes.release(other)
            await plane.liveness.step()
            assert task.is_stopping

    async def test_one_that_died_is_forgotten(self, plane, site):
        async with serving(plane, site) as (task, _):
            await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=1, detail=""))
            assert plane.lanes.take(target_of(plane)) is None

    async def test_an_idle_container_is_let_go_and_a_busy_one_is_not(self, plane, site):
        async with serving(plane, site) as (task, _):
            lane = plane.lanes.take(target_of(plane))
            plane.clock.move(3600)
            await plane.autoscaler.step()
            assert task.state is TaskState.READY
            plane.lanes.release(lane)
            plane.clock.move(3600)
            await plane.autoscaler.step()
            assert task.state is TaskState.DRAINING


def test_a_request_is_known_from_either_of_its_ids():
    input_id, call_id = new_request_ids()
    assert call_of_request(input_id) == call_id
    assert Author(input_id, call_id).call_id.startswith("fc-")
