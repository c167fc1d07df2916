"""What every store must do, as `store/ports.py` says it: one suite, run over memory and SQLite."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from freehold.domain.apps import App, AppState, Deployment, DeploymentKind, Layout, move
from freehold.domain.calls import Attempt, CallKind, FunctionCall, Invocation, StoredInput, StoredResult, Tally
from freehold.domain.environments import Environment
from freehold.domain.errors import NotFound
from freehold.domain.figures import Figures, Histogram
from freehold.domain.files import FileTree, Mount, TreeFile
from freehold.domain.functions import Definition, Function, UserClass
from freehold.domain.ids import (
    new_app_id,
    new_call_id,
    new_class_id,
    new_definition_id,
    new_environment_id,
    new_function_id,
    new_image_id,
    new_input_id,
    new_mount_id,
    new_proxy_token_id,
    new_secret_id,
    new_task_id,
    new_token_id,
    new_volume_id,
)
from freehold.domain.images import Image, ImageConfig, ImageState
from freehold.domain.overrides import AutoscalerOverride
from freehold.domain.proxy_tokens import ProxyToken, allow
from freehold.domain.rollups import Bucket
from freehold.domain.schedules import Cron, Period, begin, pause
from freehold.domain.secrets import Secret
from freehold.domain.tasks import ExitKind, Task, TaskExit, TaskState
from freehold.domain.tokens import Token
from freehold.domain.trace_contexts import TraceParent
from freehold.domain.usage import FunctionUsage, Total, Usage
from freehold.domain.volumes import Volume
from freehold.observability.events import Event
from freehold.store.memory.store import MemoryStore
from freehold.store.sql.store import SqlStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NAMES = ("min_containers", "target_concurrency")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqlStore(tmp_path / "freehold.db")
    await store.open()
    yield store
    await store.close()


def an_app(**changes):
    app = App(id=new_app_id(), environment="main", description="an app", state=AppState.INITIALIZING, created_at=NOW)
    return replace(app, **changes)


def a_function(app, **changes):
    return replace(Function(id=new_function_id(), app_id=app.id, tag="f"), **changes)


def a_definition(function, **changes):
    return replace(Definition(id=new_definition_id(), function_id=function.id, payload=b"\x00code", created_at=NOW), **changes)


def a_call(**changes):
    call = FunctionCall(
        id=new_call_id(),
        function_id=new_function_id(),
        app_id=new_app_id(),
        kind=CallKind.MAP,
        invocation=Invocation.ASYNC,
        created_at=NOW,
    )
    return replace(call, **changes)


def an_input(call, idx=0, **changes):
    return replace(StoredInput(id=new_input_id(), call_id=call.id, idx=idx, payload=b"args\xff", created_at=NOW), **changes)


async def record(tx, input_id, result, status, at):
    """Whether it was written."""
    written = await tx.calls.write(results=[StoredResult(input_id=input_id, result=result, status=status, finished_at=at)])
    return input_id in written


def an_attempt(item, number=0, **changes):
    attempt = Attempt(input_id=item.id, number=number, call_id=item.call_id, task_id=new_task_id(), started_at=NOW + number * MINUTE)
    return replace(attempt, **changes)


def a_tree(*digests):
    files = tuple(TreeFile(path=f"/root/{digest}.py", digest=digest, mode=0o755) for digest in digests)
    return FileTree(id="-".join(digests), files=files)


def a_mount(tree, **changes):
    return replace(Mount(id=new_mount_id(), tree=tree, created_at=NOW), **changes)


def a_secret(**changes):
    secret = Secret(id=new_secret_id(), environment="main", name="models", keys=("A", "B"), sealed=b"sealed", created_at=NOW)
    return replace(secret, **changes)


def a_volume(**changes):
    return replace(Volume(id=new_volume_id(), environment="main", name="models", version=1, created_at=NOW), **changes)


def a_proxy_token(**changes):
    return replace(ProxyToken(id=new_proxy_token_id(), secret_hash="hash", created_at=NOW), **changes)


def a_token(**changes):
    return replace(Token(id=new_token_id(), secret_hash="hash", created_at=NOW), **changes)


def an_image(**changes):
    image = Image(id=new_image_id(), key="key", state=ImageState.WANTED, request=b"request", created_at=NOW)
    return replace(image, **changes)


def a_task(**changes):
    task = Task(
        id=new_task_id(),
        app_id=new_app_id(),
        function_id=new_function_id(),
        definition_id=new_definition_id(),
        state=TaskState.PENDING,
        enqueued_at=NOW,
    )
    return replace(task, **changes)


def _made(call):
    return call.created_at, call.id


def _wanted(task):
    return task.enqueued_at, task.id


def a_schedule(rule=None, **changes):
    return replace(begin(new_function_id(), new_app_id(), rule or Period(hours=1), NOW), **changes)


class TestTransactions:
    async def test_what_was_put_is_there_in_the_next_transaction(self, store):
        app = an_app()
        async with store.transaction() as tx:
            await tx.apps.put(app)
        async with store.transaction() as tx:
            assert await tx.apps.get(app.id) == app

    async def test_a_transaction_sees_its_own_changes(self, store):
        app = an_app()
        async with store.transaction() as tx:
            await tx.apps.put(app)
            assert await tx.apps.get(app.id) == app

    async def test_an_exception_takes_everything_back(self, store):
        kept, gone, call = an_app(), an_app(), a_call()
        async with store.transaction() as tx:
            await tx.apps.put(kept)
        with pytest.raises(ZeroDivisionError):
            await self._fail_after_changing(store, kept, gone, call)
        async with store.transaction() as tx:
            assert await tx.apps.get(kept.id) == kept
            assert await tx.calls.find(call.id) is None
            with pytest.raises(NotFound):
                await tx.apps.get(gone.id)

    @staticmethod
    async def _fail_after_changing(store, kept, gone, call):
        async with store.transaction() as tx:
            await tx.apps.put(replace(kept, description="changed"))
            await tx.apps.put(replace(kept, description="changed again"))
            await tx.apps.put(gone)
            await tx.calls.write(calls=[call])
            raise ZeroDivisionError

    async def test_a_cancelled_transaction_leaves_nothing_and_the_next_one_works(self, store):
        app, inside = an_app(), asyncio.Event()

        async def hang():
            async with store.transaction() as tx:
                await tx.apps.put(app)
                inside.set()
                await asyncio.Event().wait()

        async with asyncio.TaskGroup() as tasks:
            hanging = tasks.create_task(hang())
            await inside.wait()
            hanging.cancel()
        async with store.transaction() as tx:
            assert await tx.apps.list("main") == []

    async def test_cancelling_in_the_middle_of_anything_keeps_the_store_usable(self, store):
        """grpc cancels handlers at any await: also inside a statement, a commit, or the wait for the connection."""

        async def work():
            async with store.transaction() as tx:
                for _ in range(5):
                    await tx.apps.put(an_app())

        for delay in range(40):
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work()) for _ in range(3)]
                await asyncio.sleep(delay / 10_000)
                for task in running:
                    task.cancel()
        with anyio.fail_after(30):
            await work()
            async with store.transaction() as tx:
                assert len(await tx.apps.list("main")) % 5 == 0

    async def test_transactions_do_not_see_each_others_halves(self, store):
        async def move_count():
            async with store.transaction() as tx:
                app = (await tx.apps.list("main"))[0]
                await asyncio.sleep(0)
                await tx.apps.put(replace(app, version=app.version + 1))

        async with store.transaction() as tx:
            await tx.apps.put(an_app())
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(move_count())
        async with store.transaction() as tx:
            assert (await tx.apps.list("main"))[0].version == 20


class TestEnvironments:
    async def test_environments_are_listed_by_name(self, store):
        dev, main = an_environment("dev", web_suffix="dev"), an_environment("main")
        async with store.transaction() as tx:
            await tx.environments.put(main)
            await tx.environments.put(dev)
            assert await tx.environments.list() == [dev, main]
            assert await tx.environments.get("dev") == dev
            assert await tx.environments.find("prod") is None

    async def test_a_missing_environment_says_how_to_make_it(self, store):
        async with store.transaction() as tx:
            with pytest.raises(NotFound, match="modal environment create prod"):
                await tx.environments.get("prod")

    async def test_a_renamed_environment_keeps_its_id_and_loses_its_old_name(self, store):
        dev = an_environment("dev")
        async with store.transaction() as tx:
            await tx.environments.put(dev)
            await tx.environments.put(replace(dev, name="test"))
            assert await tx.environments.find("dev") is None
            assert (await tx.environments.get("test")).id == dev.id

    async def test_a_deleted_environment_is_gone_and_deleting_again_is_fine(self, store):
        async with store.transaction() as tx:
            await tx.environments.put(an_environment("dev"))
            await tx.environments.delete("dev")
            await tx.environments.delete("dev")
            assert await tx.environments.list() == []


def an_environment(name, **changes):
    return replace(Environment(id=new_environment_id(), name=name, created_at=NOW), **changes)


class TestApps:
    async def test_an_app_comes_back_as_it_was_put(self, store):
        app = an_app(name="iris", version=3, tags={"team": "a"}, client_version="1.6.4", stopped_at=NOW, state=AppState.STOPPED)
        async with store.transaction() as tx:
            await tx.apps.put(app)
        async with store.transaction() as tx:
            assert await tx.apps.get(app.id) == app

    async def test_only_a_deployed_app_is_found_by_its_name(self, store):
        deployed = an_app(name="iris", state=AppState.DEPLOYED)
        stopped = an_app(name="old", state=AppState.STOPPED)
        async with store.transaction() as tx:
            for app in (deployed, stopped, an_app(name="iris", state=AppState.DEPLOYED, environment="dev")):
                await tx.apps.put(app)
            assert await tx.apps.find_deployed("main", "iris") == deployed
            assert await tx.apps.find_deployed("main", "old") is None
            await tx.apps.put(move(deployed, AppState.STOPPED, NOW))
            assert await tx.apps.find_deployed("main", "iris") is None

    async def test_apps_are_listed_newest_first(self, store):
        apps = [an_app(created_at=NOW + n * MINUTE) for n in range(3)]
        async with store.transaction() as tx:
            for app in [apps[1], apps[0], apps[2]]:
                await tx.apps.put(app)
            await tx.apps.put(an_app(environment="dev"))
            assert await tx.apps.list("main") == [apps[2], apps[1], apps[0]]

    async def test_live_apps_of_all_environments_are_listed(self, store):
        live = {an_app().id: None, an_app().id: None}
        async with store.transaction() as tx:
            for app_id, environment in zip(live, ("main", "dev"), strict=True):
                await tx.apps.put(an_app(id=app_id, environment=environment))
            await tx.apps.put(an_app(state=AppState.STOPPED))
            assert {app.id for app in await tx.apps.list_live()} == set(live)

    async def test_stopped_apps_are_listed_page_by_page(self, store):
        stopped = [an_app(state=AppState.STOPPED, environment=f"env-{n}", created_at=NOW - n * MINUTE) for n in range(3)]
        async with store.transaction() as tx:
            for app in (*stopped, an_app()):
                await tx.apps.put(app)
            assert await tx.apps.stopped(None, 2) == stopped[:2]
            assert await tx.apps.stopped((stopped[1].created_at, stopped[1].id), 2) == stopped[2:]

    async def test_deployments_are_a_history_newest_first(self, store):
        app, function = an_app(), a_function(an_app())
        layout = Layout(function_ids={"f": function.id}, class_ids={"K": "cs-1"}, definition_ids={function.id: new_definition_id()})
        first = Deployment(app_id=app.id, version=1, deployed_at=NOW, client_version="1.6.4", layout=layout, commit_info=b"\x01")
        second = replace(first, version=2, deployed_at=NOW + MINUTE, tag="v2", kind=DeploymentKind.ROLLBACK, rollback_of=1)
        async with store.transaction() as tx:
            await tx.apps.put(app)
            await tx.apps.put_deployment(first)
            await tx.apps.put_deployment(second)
        async with store.transaction() as tx:
            assert await tx.apps.deployments(app.id) == [second, first]
            assert await tx.apps.find_deployment(app.id, 1) == first
            assert await tx.apps.find_deployment(app.id, 3) is None

    async def test_the_app_that_stopped_last_under_a_name_is_found(self, store):
        first, last = (an_app(name="old", state=AppState.STOPPED, stopped_at=NOW + minutes * MINUTE) for minutes in (1, 2))
        async with store.transaction() as tx:
            for app in (last, first, an_app(name="old", state=AppState.DEPLOYED)):
                await tx.apps.put(app)
        async with store.transaction() as tx:
            assert await tx.apps.find_stopped(first.environment, "old") == last
            assert await tx.apps.find_stopped(first.environment, "never") is None


class TestFunctions:
    async def test_a_function_comes_back_as_it_was_put(self, store):
        app = an_app()
        function = a_function(
            app, live_definition_id=new_definition_id(), base_id=new_function_id(), serialized_params=b"\0p", options=b"o"
        )
        async with store.transaction() as tx:
            await tx.functions.put(function)
        async with store.transaction() as tx:
            assert await tx.functions.get(function.id) == function

    async def test_an_app_lists_its_functions_with_the_bound_ones(self, store):
        app = an_app()
        base = a_function(app, tag="K.*")
        bound = a_function(app, tag="K.*", base_id=base.id, serialized_params=b"p")
        async with store.transaction() as tx:
            await tx.functions.put(bound)
            await tx.functions.put(base)
            assert list(await tx.functions.of_app(app.id)) == sorted([base, bound], key=lambda row: row.id)

    async def test_a_bound_function_is_found_by_exactly_its_parameters_and_options(self, store):
        base = a_function(an_app())
        bound = replace(base, id=new_function_id(), base_id=base.id, serialized_params=b"\0a", options=b"")
        async with store.transaction() as tx:
            await tx.functions.put(base)
            await tx.functions.put(bound)
            assert await tx.functions.find_bound(base.id, b"\0a", b"") == bound
            assert await tx.functions.find_bound(base.id, b"\0a", b"x") is None
            assert await tx.functions.find_bound(base.id, b"", b"") is None

    async def test_the_functions_bound_to_one_are_listed(self, store):
        app = an_app()
        base = a_function(app)
        bound = sorted((a_function(app, base_id=base.id, options=bytes([i])) for i in range(2)), key=lambda function: function.id)
        async with store.transaction() as tx:
            for function in (base, a_function(app), *bound):
                await tx.functions.put(function)
            assert await tx.functions.bound_to(base.id) == bound

    async def test_changed_settings_come_back_until_they_are_deleted(self, store):
        override = AutoscalerOverride(values={"min_containers": 1, "target_concurrency": 1.5}, changed_at=dict.fromkeys(NAMES, NOW))
        async with store.transaction() as tx:
            await tx.overrides.put("fu-1", override)
            await tx.overrides.put("fu-2", override.changed({"min_containers": 2}, NOW + MINUTE))
        async with store.transaction() as tx:
            assert await tx.overrides.find("fu-1") == override
            assert (await tx.overrides.find("fu-2")).changed_at["min_containers"] == NOW + MINUTE
            assert await tx.overrides.function_ids() == ["fu-1", "fu-2"]
            await tx.overrides.delete(["fu-1", "fu-never"])
        async with store.transaction() as tx:
            assert await tx.overrides.find("fu-1") is None
            assert await tx.overrides.function_ids() == ["fu-2"]

    async def test_definitions_and_classes_come_back(self, store):
        app = an_app()
        function = a_function(app)
        definition = a_definition(function)
        user_class = UserClass(id=new_class_id(), app_id=app.id, tag="K", payload=b"class")
        async with store.transaction() as tx:
            await tx.functions.put_definition(definition)
            await tx.functions.put(function)
            await tx.functions.put_class(user_class)
        async with store.transaction() as tx:
            assert await tx.functions.get_definition(definition.id) == definition
            assert await tx.functions.get_class(user_class.id) == user_class


class TestCalls:
    async def test_a_call_and_its_inputs_come_back_in_order(self, store):
        call = a_call(parent_input_id="in-1", is_cancelled=True)
        inputs = [an_input(call, idx) for idx in range(3)]
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[inputs[2], inputs[0]])
            await tx.calls.write(inputs=[inputs[1]])
        async with store.transaction() as tx:
            assert await tx.calls.find(call.id) == call
            assert await tx.calls.inputs(call.id) == inputs
            assert await tx.calls.find(new_call_id()) is None

    async def test_a_result_is_written_once(self, store):
        call = a_call()
        item = an_input(call)
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[item])
            assert await record(tx, item.id, b"first", 1, NOW + MINUTE) is True
            assert await record(tx, item.id, b"second", 1, NOW + 2 * MINUTE) is False
        async with store.transaction() as tx:
            assert await tx.calls.inputs(call.id) == [replace(item, result=b"first", status=1, finished_at=NOW + MINUTE)]

    async def test_of_many_results_each_input_has_its_first(self, store):
        call = a_call()
        done, fresh = an_input(call), an_input(call, 1)
        given = [(done, b"late"), (fresh, b"first"), (fresh, b"second")]
        results = [StoredResult(input_id=item.id, result=result, status=1, finished_at=NOW + MINUTE) for item, result in given]
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[done, fresh])
            await record(tx, done.id, b"kept", 1, NOW)
            assert set(await tx.calls.write(results=results)) == {fresh.id}
            assert [item.result for item in await tx.calls.inputs(call.id)] == [b"kept", b"first"]

    async def test_a_result_for_an_input_that_is_gone_is_not_written(self, store):
        async with store.transaction() as tx:
            assert await record(tx, new_input_id(), b"late", 1, NOW) is False

    async def test_an_empty_result_is_a_result(self, store):
        call = a_call()
        item = an_input(call)
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[item])
            await record(tx, item.id, b"", 1, NOW)
            assert await tx.calls.unfinished() == []

    async def test_unfinished_calls_come_with_their_open_inputs_oldest_first(self, store):
        old, new, done = a_call(), a_call(created_at=NOW + MINUTE), a_call()
        inputs = {call.id: [an_input(call, idx) for idx in range(3)] for call in (new, old, done)}
        async with store.transaction() as tx:
            for call in (new, old, done):
                await tx.calls.write(calls=[call])
                await tx.calls.write(inputs=inputs[call.id])
            for item in [*inputs[done.id], inputs[old.id][1]]:
                await record(tx, item.id, b"r", 1, NOW)
        async with store.transaction() as tx:
            first, second = inputs[old.id], inputs[new.id]
            assert await tx.calls.unfinished() == [(old, [first[0], first[2]]), (new, second)]

    async def test_a_call_is_found_by_the_request_that_made_it(self, store):
        call, other = a_call(request_key="key-1", origin=TraceParent("1" * 32, "2" * 16, is_sampled=False)), a_call()
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(calls=[other])
        async with store.transaction() as tx:
            assert await tx.calls.find_by_request("key-1") == call
            assert await tx.calls.find_by_request("key-2") is None
            assert await tx.calls.find_by_request("") is None

    async def test_calls_are_found_by_the_input_that_made_them(self, store):
        parent = a_call()
        late, early = a_call(parent_input_id="in-1", created_at=NOW + MINUTE), a_call(parent_input_id="in-1")
        other = a_call(parent_input_id="in-2", created_at=NOW + 2 * MINUTE)
        async with store.transaction() as tx:
            for call in (parent, late, early, other):
                await tx.calls.write(calls=[call])
        async with store.transaction() as tx:
            assert await tx.calls.children(["in-1"]) == [early, late]
            assert await tx.calls.children(["in-1", "in-2", "in-3"]) == [early, late, other]
            assert await tx.calls.children([""]) == []

    async def test_recent_calls_of_functions_come_newest_first(self, store):
        function_id, other_id = new_function_id(), new_function_id()
        calls = [a_call(function_id=function_id, created_at=NOW + n * MINUTE) for n in range(4)]
        other = a_call(function_id=other_id, created_at=NOW + MINUTE)
        async with store.transaction() as tx:
            for call in (*calls, other, a_call()):
                await tx.calls.write(calls=[call])
        async with store.transaction() as tx:
            assert await tx.calls.recent([function_id], NOW, NOW + 3 * MINUTE, 10) == calls[2::-1]
            assert await tx.calls.recent([function_id], NOW, NOW + 9 * MINUTE, 2) == calls[:1:-1]
            assert set(await tx.calls.recent([function_id, other_id], NOW + MINUTE, NOW + 2 * MINUTE, 10)) == {calls[1], other}

    async def test_calls_are_listed_page_by_page_newest_first(self, store):
        function_id = new_function_id()
        calls = sorted((a_call(function_id=function_id, created_at=NOW + n // 2 * MINUTE) for n in range(6)), key=_made, reverse=True)
        async with store.transaction() as tx:
            for call in (*calls, other := a_call(created_at=NOW - MINUTE)):
                await tx.calls.write(calls=[call])
        async with store.transaction() as tx:
            assert await tx.calls.latest(None, 3) == calls[:3]
            assert await tx.calls.latest(_made(calls[2]), 10) == [*calls[3:], other]
            assert await tx.calls.latest(_made(calls[2]), 10, function_id=function_id) == calls[3:]
            assert {call.id for call in await tx.calls.of_ids({calls[0].id, other.id, new_call_id()})} == {calls[0].id, other.id}

    async def test_what_failed_is_listed_last_first(self, store):
        one, two = a_call(), a_call()
        inputs = [an_input(one, n) for n in range(3)] + [an_input(two)]
        async with store.transaction() as tx:
            await tx.calls.write(calls=[one])
            await tx.calls.write(calls=[two])
            await tx.calls.write(inputs=inputs)
            for n, (item, status) in enumerate(zip(inputs, (2, 1, 4, 2), strict=True)):
                await record(tx, item.id, b"r", status, NOW + n * MINUTE)
        async with store.transaction() as tx:
            assert [item.id for item in await tx.calls.failures(None, 10)] == [inputs[n].id for n in (3, 2, 0)]
            [last] = await tx.calls.failures(one.app_id, 1)
            assert (last.id, last.status, last.result, last.payload) == (inputs[2].id, 4, None, b"")
            [whole] = await tx.calls.contents([inputs[2].id])
            assert (whole.payload, whole.result) == (inputs[2].payload, b"r")

    async def test_inputs_can_be_listed_without_what_is_large(self, store):
        one, two = a_call(), a_call()
        inputs = [an_input(one, 1, method_name="train"), an_input(one, 0), an_input(two)]
        async with store.transaction() as tx:
            for call in (one, two, a_call()):
                await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=inputs)
            await record(tx, inputs[2].id, b"r", 2, NOW + MINUTE)
        expected = [replace(item, payload=b"") for item in inputs]
        expected[2] = replace(expected[2], status=2, finished_at=NOW + MINUTE)
        async with store.transaction() as tx:
            assert await tx.calls.outline([one.id, two.id], 2) == sorted(expected, key=lambda item: (item.call_id, item.idx))
            assert await tx.calls.outline([one.id], 1) == [expected[1]]
            assert await tx.calls.outline([], 2) == []
            assert await tx.calls.call_of(inputs[0].id) == one.id
            assert await tx.calls.call_of(new_input_id()) is None

    async def test_inputs_are_counted_by_what_they_came_to(self, store):
        one, two, empty = a_call(), a_call(), a_call()
        inputs = [an_input(one, idx) for idx in range(5)] + [an_input(two)]
        async with store.transaction() as tx:
            await tx.calls.write(calls=[one, two, empty], inputs=inputs)
            for n, status in enumerate((1, 4, 1, 2)):
                await record(tx, inputs[n].id, b"r", status, NOW + n * MINUTE)
        async with store.transaction() as tx:
            assert await tx.calls.tallies([one.id, two.id, empty.id]) == {
                one.id: Tally(by_status={1: 2, 2: 1, 4: 1}, unfinished=1, ended_at=NOW + 3 * MINUTE),
                two.id: Tally(unfinished=1),
            }
            assert await tx.calls.tallies([]) == {}

    async def test_of_many_inputs_those_are_found_that_failed_or_have_no_result(self, store):
        call, other = a_call(), a_call()
        inputs = [an_input(call, idx) for idx in range(8)]
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call, other], inputs=[*inputs, an_input(other, 7)])
            for idx, status in ((0, 2), (2, 1), (3, 4), (4, 2), (6, 1)):
                await record(tx, inputs[idx].id, b"r", status, NOW)
        async with store.transaction() as tx:
            assert [item.idx for item in await tx.calls.worth_a_look(call.id, 0, 10)] == [0, 3, 4, 1, 5, 7]
            assert [item.idx for item in await tx.calls.worth_a_look(call.id, 2, 1)] == [3, 5]
            [failed, _] = await tx.calls.worth_a_look(call.id, 2, 1)
            assert (failed.status, failed.result, failed.payload) == (4, None, b"")

    async def test_the_users_retries_are_counted_at_the_input(self, store):
        call = a_call(retry_policy=b"policy")
        item = an_input(call)
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[item])
            await tx.calls.set_attempt(item.id, 2)
        async with store.transaction() as tx:
            assert await tx.calls.inputs(call.id) == [replace(item, attempt=2)]

    async def test_attempts_come_back_in_the_order_of_their_starts(self, store):
        call = a_call()
        item = an_input(call)
        first, second = an_attempt(item, ended_at=NOW + MINUTE, outcome="lost"), an_attempt(item, 1)
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[item])
            await tx.calls.put_attempts([second, replace(first, ended_at=None, outcome="")])
            await tx.calls.put_attempts([first])
        async with store.transaction() as tx:
            assert await tx.calls.attempts_of([item.id]) == [first, second]
            assert await tx.calls.attempts_of([new_input_id()]) == []

    async def test_last_attempts_are_those_of_inputs_without_a_result(self, store):
        call = a_call()
        running, between, done, fresh = (an_input(call, idx) for idx in range(4))
        last, failed = an_attempt(running, 1), an_attempt(between, 1, ended_at=NOW, outcome="failed")
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[running, between, done, fresh])
            await tx.calls.put_attempts([an_attempt(running), last, an_attempt(done)])
            await tx.calls.put_attempts([an_attempt(between), failed])
            await record(tx, done.id, b"r", 1, NOW)
        async with store.transaction() as tx:
            assert await tx.calls.last_attempts() == sorted([last, failed], key=lambda attempt: attempt.input_id)

    async def test_attempts_go_with_their_call(self, store):
        call, running = a_call(), a_call()
        item, kept = an_input(call), an_input(running)
        async with store.transaction() as tx:
            for each, part in ((call, item), (running, kept)):
                await tx.calls.write(calls=[each])
                await tx.calls.write(inputs=[part])
                await tx.calls.put_attempts([an_attempt(part)])
            await record(tx, item.id, b"r", 1, NOW)
        async with store.transaction() as tx:
            await tx.calls.delete_finished_before(NOW + MINUTE)
        async with store.transaction() as tx:
            assert await tx.calls.attempts_of([item.id]) == []
            assert len(await tx.calls.attempts_of([kept.id])) == 1

    async def test_only_calls_that_finished_before_are_forgotten(self, store):
        finished, late, unfinished, empty = a_call(), a_call(), a_call(), a_call()
        items = {call.id: [an_input(call, idx) for idx in range(2)] for call in (finished, late, unfinished)}
        async with store.transaction() as tx:
            for call in (finished, late, unfinished, empty):
                await tx.calls.write(calls=[call])
                await tx.calls.write(inputs=items.get(call.id, []))
            for item in (*items[finished.id], items[late.id][0], items[unfinished.id][0]):
                await record(tx, item.id, b"r", 1, NOW + MINUTE)
            await record(tx, items[late.id][1].id, b"r", 1, NOW + 3 * MINUTE)
        async with store.transaction() as tx:
            assert await tx.calls.delete_finished_before(NOW + 2 * MINUTE) == 2
        async with store.transaction() as tx:
            assert [await tx.calls.find(call.id) for call in (finished, late, unfinished, empty)] == [None, late, unfinished, None]
            assert await tx.calls.inputs(finished.id) == []
            assert len(await tx.calls.inputs(late.id)) == 2

    async def test_all_inputs_can_be_read_page_by_page(self, store):
        call = a_call()
        inputs = [an_input(call, idx) for idx in range(5)]
        async with store.transaction() as tx:
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=inputs)
            seen, after = [], ""
            while page := await tx.calls.page(after, 2):
                assert len(page) <= 2
                seen, after = [*seen, *page], page[-1].id
        assert seen == sorted(inputs, key=lambda item: item.id)


class TestImages:
    async def test_an_image_comes_back_as_it_was_put(self, store):
        config = ImageConfig(env={"A": "1"}, workdir="/w", entrypoint=("e",), cmd=("c", "d"), user="u", python_series="3.11")
        image = an_image(state=ImageState.BUILT, builder_version="2025.06", layers=("l1", "l2"), config=config, app_id="ap-1")
        async with store.transaction() as tx:
            await tx.images.put(image)
        async with store.transaction() as tx:
            assert await tx.images.get(image.id) == image

    async def test_a_key_finds_the_newest_image(self, store):
        old, new = an_image(), an_image(created_at=NOW + MINUTE)
        async with store.transaction() as tx:
            await tx.images.put(new)
            await tx.images.put(old)
            assert await tx.images.find_by_key("key") == new
            assert await tx.images.find_by_key("other") is None

    async def test_unfinished_images_are_those_wanted_or_building(self, store):
        images = {state: an_image(state=state, error="why") for state in ImageState}
        async with store.transaction() as tx:
            for image in images.values():
                await tx.images.put(image)
            found = await tx.images.unfinished()
        assert {image.state for image in found} == {ImageState.WANTED, ImageState.BUILDING}

    async def test_images_are_listed_page_by_page_newest_first(self, store):
        images = [an_image(created_at=NOW - n * MINUTE) for n in range(3)]
        async with store.transaction() as tx:
            for image in images:
                await tx.images.put(image)
            assert await tx.images.page(None, 2) == images[:2]
            assert await tx.images.page((images[1].created_at, images[1].id), 2) == images[2:]


class TestMounts:
    async def test_a_mount_comes_back_by_id_tree_and_name(self, store):
        mount = a_mount(a_tree("aa", "bb"), name="shared", app_id="ap-1")
        async with store.transaction() as tx:
            await tx.mounts.put(mount)
        async with store.transaction() as tx:
            assert await tx.mounts.get(mount.id) == mount
            assert await tx.mounts.find_by_tree("aa-bb") == mount
            assert await tx.mounts.find_by_name("shared") == mount
            assert await tx.mounts.find_by_tree("aa") is None
            assert await tx.mounts.find_by_name("other") is None

    async def test_the_newest_mount_of_a_name_is_found(self, store):
        old, new = a_mount(a_tree("aa"), name="shared"), a_mount(a_tree("bb"), name="shared", created_at=NOW + MINUTE)
        async with store.transaction() as tx:
            await tx.mounts.put(new)
            await tx.mounts.put(old)
            assert await tx.mounts.find_by_name("shared") == new

    async def test_the_digests_of_all_files_are_known(self, store):
        async with store.transaction() as tx:
            await tx.mounts.put(a_mount(a_tree("aa", "bb")))
            await tx.mounts.put(a_mount(a_tree("bb", "cc")))
            await tx.mounts.put(a_mount(a_tree()))
            assert await tx.mounts.digests() == {"aa", "bb", "cc"}


class TestSecrets:
    async def test_a_secret_comes_back_as_it_was_put(self, store):
        secret = a_secret(last_used_at=NOW, app_id="ap-1")
        async with store.transaction() as tx:
            await tx.secrets.put(secret)
        async with store.transaction() as tx:
            assert await tx.secrets.get(secret.id) == secret
            assert await tx.secrets.find("main", "models") == secret
            assert await tx.secrets.find("dev", "models") is None

    async def test_only_named_secrets_are_listed_newest_first(self, store):
        old, new = a_secret(name="old"), a_secret(name="new", created_at=NOW + MINUTE)
        async with store.transaction() as tx:
            for secret in (new, old, a_secret(name=""), a_secret(name=""), a_secret(environment="dev")):
                await tx.secrets.put(secret)
            assert await tx.secrets.list("main") == [new, old]

    async def test_a_deleted_secret_is_gone(self, store):
        secret = a_secret()
        async with store.transaction() as tx:
            await tx.secrets.put(secret)
            await tx.secrets.delete(secret.id)
            with pytest.raises(NotFound, match="modal secret list"):
                await tx.secrets.get(secret.id)


class TestVolumes:
    async def test_a_volume_comes_back_as_it_was_put_last(self, store):
        volume = a_volume(version=2)
        renamed = replace(volume, name="new")
        async with store.transaction() as tx:
            await tx.volumes.put(volume)
            await tx.volumes.put(renamed)
        async with store.transaction() as tx:
            assert await tx.volumes.get(volume.id) == await tx.volumes.find("main", "new") == renamed
            assert await tx.volumes.find("main", "models") is None
            assert await tx.volumes.find("dev", "new") is None

    async def test_named_ones_are_listed_newest_first_and_others_by_themselves(self, store):
        old, new, nameless = a_volume(name="old"), a_volume(name="new", created_at=NOW + MINUTE), a_volume(name="")
        async with store.transaction() as tx:
            for volume in (new, old, nameless, a_volume(name="", environment="dev"), a_volume(environment="dev")):
                await tx.volumes.put(volume)
            assert await tx.volumes.list("main") == [new, old]
            assert await tx.volumes.find("main", "") is None
            assert len(await tx.volumes.ephemeral()) == 2
            assert nameless in await tx.volumes.ephemeral()

    async def test_a_deleted_volume_is_gone(self, store):
        volume = a_volume()
        async with store.transaction() as tx:
            await tx.volumes.put(volume)
            await tx.volumes.delete(volume.id)
            with pytest.raises(NotFound, match="modal volume list"):
                await tx.volumes.get(volume.id)


class TestProxyTokens:
    async def test_a_token_comes_back_as_it_was_put_last(self, store):
        token = a_proxy_token(name="webhooks")
        scoped = allow(token, new_environment_id())
        async with store.transaction() as tx:
            await tx.proxy_tokens.put(token)
            await tx.proxy_tokens.put(scoped)
        async with store.transaction() as tx:
            assert await tx.proxy_tokens.get(token.id) == scoped

    async def test_tokens_are_listed_newest_first(self, store):
        old, new = a_proxy_token(), a_proxy_token(created_at=NOW + MINUTE)
        async with store.transaction() as tx:
            await tx.proxy_tokens.put(new)
            await tx.proxy_tokens.put(old)
            assert await tx.proxy_tokens.list() == [new, old]

    async def test_a_deleted_token_is_gone(self, store):
        token = a_proxy_token()
        async with store.transaction() as tx:
            await tx.proxy_tokens.put(token)
            await tx.proxy_tokens.delete(token.id)
            assert await tx.proxy_tokens.list() == []


class TestTokens:
    async def test_a_token_comes_back_as_it_was_put_last(self, store):
        token = a_token(name="ci", expires_at=NOW + MINUTE)
        used = replace(token, last_used_at=NOW, is_disabled=True)
        async with store.transaction() as tx:
            await tx.tokens.put(token)
            await tx.tokens.put(used)
        async with store.transaction() as tx:
            assert await tx.tokens.get(token.id) == used

    async def test_tokens_are_listed_newest_first_and_a_deleted_one_is_gone(self, store):
        old, new, gone = a_token(), a_token(created_at=NOW + MINUTE), a_token()
        async with store.transaction() as tx:
            for token in (new, old, gone):
                await tx.tokens.put(token)
            await tx.tokens.delete(gone.id)
            assert await tx.tokens.list() == [new, old]


class TestSchedules:
    @pytest.mark.parametrize(
        "rule",
        [
            Cron(text="0 9 * * 1-5", timezone="Europe/Berlin"),
            Cron(text="* * * * *"),
            Period(years=1, months=2, weeks=3, days=4, hours=5, minutes=6, seconds=7.5),
        ],
    )
    async def test_a_schedule_comes_back_as_it_was_put(self, store, rule):
        schedule = a_schedule(rule, last_at=NOW, last_call_id=new_call_id(), missed=3)
        async with store.transaction() as tx:
            await tx.schedules.put(schedule)
            await tx.schedules.put(pause(a_schedule()))
        async with store.transaction() as tx:
            assert await tx.schedules.find(schedule.function_id) == schedule
            assert await tx.schedules.find(new_function_id()) is None

    async def test_schedules_are_listed_by_app(self, store):
        one, two, other = a_schedule(app_id="ap-1"), a_schedule(app_id="ap-1"), a_schedule(app_id="ap-2")
        async with store.transaction() as tx:
            for schedule in (other, two, one):
                await tx.schedules.put(schedule)
            of_app = sorted([one, two], key=lambda schedule: schedule.function_id)
            assert list(await tx.schedules.of_app("ap-1")) == of_app
            assert list(await tx.schedules.list()) == [*of_app, other]

    async def test_what_is_due_comes_earliest_first_and_what_is_paused_never(self, store):
        first, second, third = (a_schedule(next_at=NOW + n * MINUTE) for n in range(3))
        async with store.transaction() as tx:
            assert await tx.schedules.next_at() is None
            for schedule in (third, second, first, pause(a_schedule())):
                await tx.schedules.put(schedule)
            assert await tx.schedules.due(NOW - MINUTE) == []
            assert await tx.schedules.due(NOW + MINUTE) == [first, second]
            assert await tx.schedules.next_at() == NOW

    async def test_a_turn_is_taken_once(self, store):
        schedule = a_schedule(next_at=NOW)
        later = replace(schedule, next_at=NOW + MINUTE, last_call_id=new_call_id())
        async with store.transaction() as tx:
            await tx.schedules.put(schedule)
            assert await tx.schedules.advance(later, NOW)
            assert not await tx.schedules.advance(replace(later, missed=9), NOW)
            assert await tx.schedules.find(schedule.function_id) == later

    async def test_a_turn_of_what_was_paused_or_deleted_is_not_taken(self, store):
        paused, deleted = a_schedule(next_at=NOW), a_schedule(next_at=NOW)
        async with store.transaction() as tx:
            await tx.schedules.put(paused)
            await tx.schedules.put(pause(paused))
            await tx.schedules.put(deleted)
            await tx.schedules.delete(deleted.function_id)
            await tx.schedules.delete(deleted.function_id)
            assert not await tx.schedules.advance(paused, NOW)
            assert not await tx.schedules.advance(deleted, NOW)
            assert await tx.schedules.list() == [pause(paused)]


class TestTasks:
    async def test_a_task_comes_back_as_it_was_put(self, store):
        ended = TaskExit(kind=ExitKind.OUT_OF_MEMORY, code=137, detail="last line")
        task = a_task(state=TaskState.ENDED, started_at=NOW, ready_at=NOW + MINUTE, ended_at=NOW + 2 * MINUTE, exit=ended, gpus=(0, 2))
        async with store.transaction() as tx:
            await tx.tasks.put(task)
        async with store.transaction() as tx:
            assert await tx.tasks.get(task.id) == task

    async def test_alive_tasks_are_those_that_have_not_ended(self, store):
        tasks = {state: a_task(state=state) for state in TaskState}
        async with store.transaction() as tx:
            for task in tasks.values():
                await tx.tasks.put(task)
            alive = await tx.tasks.alive()
        assert {task.state for task in alive} == set(TaskState) - {TaskState.ENDED}

    async def test_tasks_of_an_app_are_listed_newest_first(self, store):
        old = a_task()
        new = a_task(app_id=old.app_id, enqueued_at=NOW + MINUTE)
        async with store.transaction() as tx:
            for task in (new, old, a_task()):
                await tx.tasks.put(task)
            assert await tx.tasks.of_app(old.app_id) == [new, old]
            assert await tx.tasks.of_app(old.app_id, limit=1) == [new]

    async def test_they_are_listed_page_by_page_newest_first(self, store):
        app_id, function_id = new_app_id(), new_function_id()
        tasks = sorted((a_task(app_id=app_id, enqueued_at=NOW + n // 2 * MINUTE) for n in range(4)), key=_wanted, reverse=True)
        mine = a_task(app_id=app_id, function_id=function_id, enqueued_at=NOW - MINUTE)
        async with store.transaction() as tx:
            for task in (*tasks, mine, other := a_task(enqueued_at=NOW - 2 * MINUTE)):
                await tx.tasks.put(task)
            assert await tx.tasks.page(None, 2) == tasks[:2]
            assert await tx.tasks.page(_wanted(tasks[1]), 10) == [*tasks[2:], mine, other]
            assert await tx.tasks.page(None, 10, app_id=app_id) == [*tasks, mine]
            assert await tx.tasks.page(None, 10, app_id=app_id, function_ids={function_id}) == [mine]

    async def test_those_that_ended_long_ago_are_deleted(self, store):
        old, late = (a_task(state=TaskState.ENDED, ended_at=NOW + n * MINUTE) for n in (1, 3))
        alive = a_task()
        async with store.transaction() as tx:
            for task in (old, late, alive):
                await tx.tasks.put(task)
        async with store.transaction() as tx:
            assert await tx.tasks.delete_ended_before(NOW + 2 * MINUTE) == 1
            assert [task.id for task in await tx.tasks.alive()] == [alive.id]
            assert await tx.tasks.get(late.id) == late
            with pytest.raises(NotFound):
                await tx.tasks.get(old.id)


class TestBlobs:
    async def test_the_least_recently_used_come_first(self, store):
        async with store.transaction() as tx:
            await tx.blobs.put("bl-1", 10, NOW)
            await tx.blobs.put("bl-2", 20, NOW + MINUTE)
            await tx.blobs.put("bl-3", 30, NOW + 2 * MINUTE)
            await tx.blobs.touch(["bl-1", "bl-unknown"], NOW + 3 * MINUTE)
            assert await tx.blobs.total_bytes() == 60
            found = await tx.blobs.least_recently_used(2)
        assert found == [("bl-2", 20, NOW + MINUTE), ("bl-3", 30, NOW + 2 * MINUTE)]

    async def test_a_deleted_blob_loses_its_aliases_too(self, store):
        async with store.transaction() as tx:
            await tx.blobs.put("bl-1", 10, NOW)
            await tx.blobs.put_alias("bl-early", "bl-1")
            assert await tx.blobs.find_alias("bl-early") == "bl-1"
            await tx.blobs.delete(["bl-1"])
            assert await tx.blobs.total_bytes() == 0
            assert await tx.blobs.find_alias("bl-early") is None


class TestEvents:
    async def test_the_story_of_one_id_is_told_oldest_first(self, store):
        told = [Event(subject="ta-1", at=NOW, kind=kind, cause="im-1", fields={"code": "0"}) for kind in ("started", "exited")]
        async with store.transaction() as tx:
            await tx.events.add(told[:1])
            await tx.events.add([Event(subject="ta-2", at=NOW, kind="started")])
            await tx.events.add(told[1:])
            await tx.events.add([])
            assert await tx.events.of("ta-1") == told
            assert await tx.events.of("ta-1", limit=1) == told[:1]
            assert await tx.events.latest("ta-1", 1) == told[-1:]
            assert await tx.events.latest("ta-1", 99) == told

    async def test_the_oldest_are_deleted_some_at_a_time(self, store):
        told = [Event(subject="ta-1", at=NOW + n * MINUTE, kind=str(n)) for n in range(6)]
        async with store.transaction() as tx:
            await tx.events.add(told)
        async with store.transaction() as tx:
            assert [await tx.events.delete_before(NOW + 4 * MINUTE, 3) for _ in range(3)] == [3, 1, 0]
            assert await tx.events.of("ta-1") == told[4:]


class TestUsages:
    HOUR = timedelta(hours=1)

    def row(self, hours=0, function="fu-1", app="ap-1", **usage):
        begins_at = NOW.replace(hour=0, minute=0, second=0, microsecond=0) + hours * self.HOUR
        return FunctionUsage(begins_at=begins_at, app_id=app, function_id=function, usage=Usage(**usage))

    async def test_what_is_added_comes_on_top(self, store):
        first = self.row(1, cpu_core_seconds=1.5, inputs=1, gpu_seconds={"T4": 2.0})
        for _ in range(2):
            async with store.transaction() as tx:
                await tx.usages.add([first, self.row(2, memory_gib_seconds=1.0)], {"ta-1": Usage(cpu_core_seconds=0.25)}, NOW)
        async with store.transaction() as tx:
            found = await tx.usages.sums(NOW - 24 * self.HOUR, NOW + 24 * self.HOUR, step=self.HOUR)
            assert found == [self.row(1, cpu_core_seconds=3.0, inputs=2, gpu_seconds={"T4": 4.0}), self.row(2, memory_gib_seconds=2.0)]
            assert await tx.usages.totals(["ta-1", "ta-2"]) == {"ta-1": Total(usage=Usage(cpu_core_seconds=0.5), at=NOW)}

    async def test_sums_are_by_steps_of_an_interval_and_by_app_or_function(self, store):
        rows = [self.row(hour, f"fu-{number}", f"ap-{number % 2}", inputs=1) for hour in (0, 23, 24, 49) for number in (1, 2, 3)]
        day, begin = 24 * self.HOUR, rows[0].begins_at
        async with store.transaction() as tx:
            await tx.usages.add(rows, {}, NOW)

            async def inputs(until=begin + 3 * day, **which):
                return [(row.begins_at - begin, row.usage.inputs) for row in await tx.usages.sums(begin, until, **which)]

            assert await inputs(step=day, function_ids=["fu-2"]) == [(0 * day, 2), (day, 1), (2 * day, 1)]
            assert await inputs(app_id="ap-1") == [(0 * day, 4), (0 * day, 4)]
            assert await inputs(begin + day, app_id="ap-0") == [(0 * day, 2)]
            assert await inputs(function_ids=[]) == []

    async def test_what_is_old_is_deleted(self, store):
        async with store.transaction() as tx:
            await tx.usages.add([self.row(1, inputs=1), self.row(2, inputs=1)], {"ta-1": Usage(inputs=1)}, NOW)
            await tx.usages.add([], {"ta-2": Usage(inputs=1)}, NOW + MINUTE)
        async with store.transaction() as tx:
            await tx.usages.delete_before(hours=self.row(2).begins_at, totals=NOW + MINUTE)
            assert len(await tx.usages.sums(NOW - 24 * self.HOUR, NOW + 24 * self.HOUR)) == 1
            assert list(await tx.usages.totals(["ta-1", "ta-2"])) == ["ta-2"]


class TestMetrics:
    async def test_a_bucket_comes_back_as_it_was(self, store):
        bucket = a_bucket(
            latency=Histogram.of([0.0001, 0.02, 5000.0]), statuses=(0, 0, 5, 0, 1, 0), failed=2, samples=5, queued=7, last_containers=1
        )
        async with store.transaction() as tx:
            await tx.metrics.put([bucket])
        async with store.transaction() as tx:
            assert await tx.metrics.between(10, NOON, NOON + MINUTE) == [bucket]

    async def test_one_of_the_same_function_width_and_start_replaces_it(self, store):
        first = a_bucket(succeeded=1)
        async with store.transaction() as tx:
            await tx.metrics.put([first])
            await tx.metrics.put([replace(first, figures=Figures(succeeded=2)), replace(first, width=60)])
        async with store.transaction() as tx:
            assert [row.figures.succeeded for row in await tx.metrics.between(10, NOON, NOON + MINUTE)] == [2]
            assert len(await tx.metrics.between(60, NOON, NOON + MINUTE)) == 1

    async def test_they_are_read_in_order_by_time_and_function(self, store):
        early, late, other = (a_bucket(start=NOON + n * MINUTE) for n in (0, 2, 1))
        mine = {early.function_id, late.function_id}
        async with store.transaction() as tx:
            await tx.metrics.put([late, other, early])
            await tx.metrics.put([])
        async with store.transaction() as tx:
            assert await tx.metrics.between(10, NOON, NOON + 3 * MINUTE) == [early, other, late]
            assert await tx.metrics.between(10, NOON, NOON + 3 * MINUTE, mine) == [early, late]
            assert await tx.metrics.between(10, NOON + MINUTE, NOON + 2 * MINUTE) == [other]
            assert await tx.metrics.between(10, NOON, NOON + 3 * MINUTE, set()) == []

    async def test_old_ones_of_one_width_are_deleted(self, store):
        async with store.transaction() as tx:
            await tx.metrics.put([a_bucket(start=NOON + n * MINUTE, width=width) for n in range(4) for width in (10, 60)])
            assert await tx.metrics.delete_before(10, NOON + 2 * MINUTE) == 2
            assert [len(await tx.metrics.between(width, NOON, NOON + 5 * MINUTE)) for width in (10, 60)] == [2, 4]


def a_bucket(*, start=NOON, width=10, **figures):
    return Bucket(function_id=new_function_id(), app_id=new_app_id(), start=start, width=width, figures=Figures(**figures))


@pytest.mark.parametrize(
    ("aggregate", "getter", "identifier"),
    [
        ("apps", "get", "ap-x"),
        ("functions", "get", "fu-x"),
        ("functions", "get_definition", "de-x"),
        ("functions", "get_class", "cs-x"),
        ("images", "get", "im-x"),
        ("mounts", "get", "mo-x"),
        ("secrets", "get", "st-x"),
        ("volumes", "get", "vo-x"),
        ("proxy_tokens", "get", "wk-x"),
        ("tokens", "get", "ak-x"),
        ("tasks", "get", "ta-x"),
    ],
)
async def test_what_is_not_there_is_named_in_the_error(store, aggregate, getter, identifier):
    async with store.transaction() as tx:
        with pytest.raises(NotFound, match=identifier):
            await getattr(getattr(tx, aggregate), getter)(identifier)
