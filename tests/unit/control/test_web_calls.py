"""Web addresses and web requests, as the gateway uses them."""

import asyncio

import pytest
from modal_proto import api_pb2

from freehold.domain.apps import AppState
from freehold.domain.errors import DeadlineExceeded, InvalidRequest, NotFound, Unavailable
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.wire import asgi

ASGI = {"type": api_pb2.WEBHOOK_TYPE_ASGI_APP}
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
R = api_pb2.GenericResult


class TestRoutes:
    async def test_a_deployed_function_has_the_address_that_its_handle_says(self, plane):
        _, live = await plane.deploy("site", webhook_config=ASGI)
        assert live.web_urls == {"": "http://local--shop-site.localhost:8980"}
        assert plane.routes.target("local--shop-site").function_id == live.id

    async def test_methods_have_addresses_of_their_own(self, plane):
        methods = {"page": api_pb2.MethodDefinition(function_name="Model.page", webhook_config=ASGI)}
        _, live = await plane.deploy("Model.*", method_definitions=methods)
        target = plane.routes.target("local--shop-model-page")
        assert (target.function_id, target.method_name, target.name) == (live.id, "page", "page")

    async def test_an_app_that_is_served_does_not_take_the_address_of_the_deployed_one(self, plane):
        _, deployed = await plane.deploy("site", webhook_config=ASGI)
        app = await plane.an_app(state=AppState.EPHEMERAL)
        served = await plane.define(app, "site", webhook_config=ASGI)
        await plane.publish(app, served, state=None, name="")
        assert plane.routes.target("local--shop-site").function_id == deployed.id
        assert plane.routes.target("local--shop-site-dev").function_id == served.id

    async def test_a_redeploy_under_another_label_gives_the_old_one_up(self, plane):
        app, live = await plane.deploy("site", webhook_config=ASGI)
        newer = await plane.define(app, "site", existing=live.id, webhook_config={**ASGI, "requested_suffix": "hello"})
        await plane.publish(app, newer)
        assert plane.routes.target("local--hello").function_id == live.id
        with pytest.raises(NotFound):
            plane.routes.target("local--shop-site")

    async def test_a_stopped_app_does_not_answer(self, plane):
        app, _ = await plane.deploy("site", webhook_config=ASGI)
        await plane.apps.stop(app.id, "test")
        with pytest.raises(NotFound, match="No web function answers"):
            await plane.web_calls.target_of_label("local--shop-site")

    async def test_a_plain_function_has_no_address(self, plane):
        _, live = await plane.deploy()
        assert live.web_urls == {}


class TestRules:
    async def test_a_route_says_how_long_a_request_may_take_and_who_may_send_it(self, plane):
        guarded = {**ASGI, "requires_proxy_auth": True, "custom_domains": [api_pb2.CustomDomainConfig(name="a.example.com")]}
        await plane.deploy("site", webhook_config=guarded, timeout_secs=7)
        by_label, by_host = plane.routes.route("local--shop-site"), plane.routes.route_of_host("a.example.com")
        assert by_label == by_host
        assert (by_label.timeout, by_label.needs_proxy_auth, by_label.target.needs_proxy_auth) == (7.0, True, True)
        assert by_label.target.environment_id == (await plane.environments.get("")).id


class TestCustomDomains:
    async def test_a_function_answers_at_its_domains(self, plane):
        app, live = await plane.deploy("site", webhook_config=with_domains("api.example.com", "*.x.org"))
        assert plane.routes.route_of_host("api.example.com:8980").target.function_id == live.id
        assert plane.routes.route_of_host("any.x.org").target.function_id == live.id
        assert plane.routes.route_of_host("example.com") is None
        said = plane.functions.described(app, live)
        assert [info.url for info in said.custom_domain_info] == ["http://api.example.com:8980", "http://*.x.org:8980"]
        assert said.web_url == "http://local--shop-site.localhost:8980"

    async def test_of_two_functions_with_one_domain_the_later_has_it(self, plane):
        await plane.deploy("site", webhook_config=with_domains("api.example.com"))
        _, later = await plane.deploy("site", name="other", webhook_config=with_domains("api.example.com"))
        assert plane.routes.route_of_host("api.example.com").target.function_id == later.id

    async def test_a_redeploy_without_the_domain_gives_it_up(self, plane):
        app, live = await plane.deploy("site", webhook_config=with_domains("api.example.com"))
        newer = await plane.define(app, "site", existing=live.id, webhook_config=ASGI)
        await plane.publish(app, newer)
        assert plane.routes.route_of_host("api.example.com") is None

    async def test_an_app_that_is_served_does_not_take_the_domain_of_the_deployed_one(self, plane):
        _, deployed = await plane.deploy("site", webhook_config=with_domains("api.example.com"))
        app = await plane.an_app(state=AppState.EPHEMERAL)
        served = await plane.define(app, "site", webhook_config=with_domains("api.example.com"))
        await plane.publish(app, served, state=None, name="")
        assert plane.routes.route_of_host("api.example.com").target.function_id == deployed.id

    async def test_a_method_has_domains_of_its_own(self, plane):
        methods = {"page": api_pb2.MethodDefinition(function_name="Model.page", webhook_config=with_domains("page.example.com"))}
        app, live = await plane.deploy("Model.*", method_definitions=methods)
        assert plane.routes.route_of_host("page.example.com").target.method_name == "page"
        said = plane.functions.described(app, live).method_definitions["page"]
        assert [info.url for info in said.custom_domain_info] == ["http://page.example.com:8980"]
        assert said.web_url == "http://local--shop-model-page.localhost:8980"

    async def test_a_domain_that_cannot_be_one_is_refused_at_deploy(self, plane):
        app = await plane.an_app()
        with pytest.raises(InvalidRequest, match="custom domain"):
            await plane.define(app, "site", webhook_config=with_domains("https://example.com"))

    async def test_whether_anything_answers_at_a_host_can_be_asked(self, plane):
        await plane.deploy("site", webhook_config=with_domains("api.example.com"))
        assert plane.routes.answers_at("api.example.com")
        assert plane.routes.answers_at("local--shop-site.localhost")
        assert not plane.routes.answers_at("local--other.localhost")
        assert plane.routes.answers_at("localhost"), "calls from other languages come to the engine's own domain"
        assert not plane.routes.answers_at("example.com")


def with_domains(*names):
    return {**ASGI, "custom_domains": [api_pb2.CustomDomainConfig(name=name) for name in names]}


class TestCalls:
    async def opened(self, plane):
        """A request, and the task that has claimed it."""
        _, live = await plane.deploy("site", webhook_config=ASGI)
        call = await plane.web_calls.open(plane.routes.target("local--shop-site"), SCOPE)
        task = await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        return call, task, item

    async def respond(self, plane, call, *messages):
        stream = plane.calls.get_live(call.call_id).data_out
        for message in messages:
            await stream.append(asgi.to_proto(message).SerializeToString(), api_pb2.DATA_FORMAT_ASGI)

    async def read(self, call):
        async with asyncio.timeout(30):
            return [message async for message in call.messages()]

    async def test_what_the_task_says_reaches_the_gateway_until_the_input_is_done(self, plane):
        call, task, item = await self.opened(plane)
        start = {"type": "http.response.start", "status": 200, "headers": []}
        body = {"type": "http.response.body", "body": b"hello", "more_body": False}
        await self.respond(plane, call, start, body)
        await plane.answer(task, item)
        assert [message["type"] for message in await self.read(call)] == ["http.response.start", "http.response.body"]

    async def test_what_the_gateway_says_reaches_the_task(self, plane):
        call, _, _ = await self.opened(plane)
        await call.send({"type": "http.request", "body": b"hello", "more_body": False})
        stream = plane.calls.get_live(call.call_id).data_in
        (chunk,) = [chunk async for chunk in stream.read(0, 0)]
        assert api_pb2.Asgi.FromString(chunk.data).http_request.body == b"hello"

    async def test_a_failure_is_said_instead_of_an_end(self, plane):
        call, task, item = await self.opened(plane)
        live = plane.calls.find_input(item.input_id)
        await plane.claims.time_out(live, 5)
        with pytest.raises(DeadlineExceeded, match="modal app logs shop"):
            await self.read(call)
        del task

    async def test_a_lost_response_is_unavailable(self, plane):
        call, task, item = await self.opened(plane)
        output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, result=R(status=R.GENERIC_STATUS_FAILURE, exception="boom"))
        await plane.claims.put_outputs(task.id, [output])
        with pytest.raises(Unavailable, match="boom"):
            await self.read(call)

    async def test_a_request_whose_container_is_stopped_runs_again_while_nothing_was_answered(self, plane):
        call, task, _ = await self.opened(plane)
        await call.send({"type": "http.request", "body": b"hello", "more_body": False})
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        assert len(plane.calls.find_pool(task.task.function_id)) == 1

    async def test_a_response_that_has_begun_is_never_continued_by_another_container(self, plane):
        call, task, _ = await self.opened(plane)
        await call.send({"type": "http.request", "body": b"", "more_body": False})
        await self.respond(plane, call, {"type": "http.response.start", "status": 200, "headers": []})
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        with pytest.raises(Unavailable, match="in the middle of this request"):
            await self.read(call)

    async def test_a_long_request_of_which_the_beginning_is_gone_does_not_run_again(self, plane):
        call, task, item = await self.opened(plane)
        stream = plane.calls.find_input(item.input_id).call.data_in
        for _ in range(100):
            await call.send({"type": "http.request", "body": b"piece", "more_body": True})
        assert len([chunk async for chunk in stream.read(0, 0)]) == 100
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        with pytest.raises(Unavailable, match="in the middle of this request"):
            await self.read(call)

    async def test_a_request_that_was_read_leaves_nothing_behind(self, plane):
        call, task, item = await self.opened(plane)
        await plane.answer(task, item)
        await self.read(call)
        assert plane.calls.find_live(call.call_id) is None

    async def test_a_caller_who_hangs_up_has_the_input_cancelled(self, plane):
        call, task, item = await self.opened(plane)
        await call.cancel()
        assert task.cancelled_inputs() == [item.input_id]
        await plane.answer(task, item)
        assert plane.calls.find_live(call.call_id) is None
