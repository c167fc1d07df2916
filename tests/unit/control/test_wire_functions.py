"""Modal's `Function` message: what today's and older clients write, and what the engine reads from it."""

from datetime import timedelta

import pytest
from fakes.control import a_definition
from modal_proto import api_pb2

from freehold.domain.functions import AutoscalerSettings, Concurrency, Definition, Function, WebKind
from freehold.domain.ids import AppId, DefinitionId, FunctionId
from freehold.wire import functions as wire


def spec(**fields):
    return wire.spec_of(a_definition(**fields))


def effective(fields, **options):
    clock = None
    definition = Definition(
        id=DefinitionId("de-1"), function_id=FunctionId("fu-1"), payload=a_definition(**fields).SerializeToString(), created_at=clock
    )
    payload = api_pb2.FunctionOptions(**options).SerializeToString()
    return wire.effective(definition, Function(id=FunctionId("fu-2"), app_id=AppId("ap-1"), tag="f", options=payload))


class TestSpec:
    def test_a_bare_definition_gets_the_defaults(self):
        bare = spec(image_id="im-1")
        assert (bare.timeout, bare.startup_timeout) == (timedelta(seconds=300), timedelta(seconds=300))
        assert bare.autoscaler == AutoscalerSettings()
        assert bare.concurrency == Concurrency()
        assert bare.web is WebKind.NONE

    @pytest.mark.parametrize(
        "fields",
        [
            {"autoscaler_settings": {"min_containers": 1, "max_containers": 4, "buffer_containers": 2, "scaledown_window": 9}},
            {"warm_pool_size": 1, "concurrency_limit": 4, "_experimental_buffer_containers": 2, "task_idle_timeout_secs": 9},
        ],
        ids=["today", "older"],
    )
    def test_scaling_is_read_where_each_client_writes_it(self, fields):
        wanted = AutoscalerSettings(min_containers=1, max_containers=4, buffer_containers=2, scaledown_window=timedelta(seconds=9))
        assert spec(**fields).autoscaler == wanted

    def test_todays_fields_win_over_older_ones(self):
        assert spec(warm_pool_size=3, autoscaler_settings={"min_containers": 0}).autoscaler.min_containers == 0

    @pytest.mark.parametrize(
        ("fields", "wanted"),
        [
            ({"target_concurrent_inputs": 3}, Concurrency(max_inputs=3, target_inputs=3)),
            ({"target_concurrent_inputs": 3, "max_concurrent_inputs": 9}, Concurrency(max_inputs=9, target_inputs=3)),
            ({"max_concurrent_inputs": 9}, Concurrency(max_inputs=9, target_inputs=9)),
            ({"batch_max_size": 4}, Concurrency(max_inputs=4, target_inputs=4)),
        ],
    )
    def test_inputs_at_a_time(self, fields, wanted):
        assert spec(**fields).concurrency == wanted

    def test_the_startup_has_the_functions_timeout_unless_it_has_its_own(self):
        assert spec(timeout_secs=600).startup_timeout == timedelta(seconds=600)
        assert spec(timeout_secs=600, startup_timeout_secs=20).startup_timeout == timedelta(seconds=20)

    def test_a_request_is_no_limit(self):
        resources = spec(resources={"memory_mb": 256, "milli_cpu": 500}).resources
        assert (resources.memory_limit_mib, resources.milli_cpu_limit) == (0, 0)

    def test_limits_are_what_was_given_as_such(self):
        resources = spec(resources={"memory_mb": 256, "memory_mb_max": 512, "milli_cpu": 500, "milli_cpu_max": 900}).resources
        assert (resources.memory_limit_mib, resources.milli_cpu_limit) == (512, 900)

    def test_a_class_is_web_when_one_of_its_methods_is(self):
        methods = {"plain": api_pb2.MethodDefinition(), "site": api_pb2.MethodDefinition(webhook_config={"type": 2})}
        assert spec(method_definitions=methods).web is wire.web_kind(methods["site"].webhook_config) is not WebKind.NONE


class TestOptions:
    def test_secrets_are_added_or_replaced_as_asked(self):
        fields = {"secret_ids": ["st-1"]}
        assert list(effective(fields, secret_ids=["st-2"]).secret_ids) == ["st-1", "st-2"]
        assert list(effective(fields, secret_ids=["st-2"], replace_secret_ids=True).secret_ids) == ["st-2"]

    def test_resources_keep_what_is_not_given(self):
        resources = effective({"resources": {"memory_mb": 256, "milli_cpu": 500}}, resources={"memory_mb": 512}).resources
        assert (resources.memory_mb, resources.milli_cpu) == (512, 500)

    def test_a_retry_policy_is_replaced_as_a_whole(self):
        policy = effective({"retry_policy": {"retries": 5, "initial_delay_ms": 9}}, retry_policy={"retries": 2}).retry_policy
        assert (policy.retries, policy.initial_delay_ms) == (2, 0)

    def test_scaling_options_win_over_both_places_of_the_definition(self):
        fields = {"concurrency_limit": 4, "autoscaler_settings": {"max_containers": 4}, "task_idle_timeout_secs": 60}
        settings = wire.spec_of(effective(fields, concurrency_limit=2, task_idle_timeout_secs=9, buffer_containers=1)).autoscaler
        assert settings == AutoscalerSettings(max_containers=2, buffer_containers=1, scaledown_window=timedelta(seconds=9))


class TestHandles:
    def handle(self, message, **urls):
        function = Function(id=FunctionId("fu-2"), app_id=AppId("ap-1"), tag="f", base_id=FunctionId("fu-1"))
        return wire.handle_metadata(function, message, definition_id="de-1", web_urls=urls, max_inline_bytes=9)

    def test_a_handle_says_whose_variant_it_is_and_how_much_travels_inline(self):
        handle = self.handle(a_definition())
        assert (handle.base_function_id, handle.definition_id, handle.max_object_size_bytes) == ("fu-1", "de-1", 9)

    def test_methods_have_handles_with_their_own_addresses(self):
        message = a_definition(method_definitions={"site": api_pb2.MethodDefinition(function_name="Model.site")})
        (method,) = self.handle(message, site="http://x").method_handle_metadata.values()
        assert (method.use_method_name, method.web_url, method.is_method) == ("site", "http://x", True)

    def test_the_summary_carries_the_definition_as_its_first_choice(self):
        message = a_definition(timeout_secs=5, supported_input_formats=[1], webhook_config={"type": 2})
        data = wire.function_data(message, {})
        assert (data.function_name, data.timeout_secs, data.webhook_config.type) == ("f", 5, 2)
        assert [ranked.function for ranked in data.ranked_functions] == [message]


class TestServers:
    MESSAGE = api_pb2.Function(function_name="Site", is_server=True, http_config=api_pb2.HTTPConfig(port=8000, unauthenticated=True))

    def test_a_server_is_web_by_a_port_of_its_own_and_has_no_timeout_for_requests(self):
        spec = wire.spec_of(self.MESSAGE)

        assert (spec.is_server, spec.web, spec.timeout) == (True, WebKind.SERVER, timedelta(days=1))
        assert spec.concurrency.max_inputs == 1000

    def test_max_concurrency_bounds_the_requests_of_a_container(self):
        message = api_pb2.Function(is_server=True, max_concurrent_inputs=7)

        assert wire.spec_of(message).concurrency.max_inputs == 7

    def test_who_may_ask_is_said_by_unauthenticated(self):
        assert not wire.web_config(self.MESSAGE).requires_proxy_auth
        assert wire.web_config(api_pb2.Function(is_server=True)).requires_proxy_auth

    def test_clients_learn_its_address_where_they_look_for_it(self):
        assert list(wire.function_data(self.MESSAGE, {"": "http://x"}).flash_service_urls) == ["http://x"]
        function = Function(id=FunctionId("fu-1"), app_id=AppId("ap-1"), tag="Site")
        handle = wire.handle_metadata(function, self.MESSAGE, definition_id="de-1", web_urls={"": "http://x"}, max_inline_bytes=1)
        assert list(handle._experimental_flash_urls) == ["http://x"]
