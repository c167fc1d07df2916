"""Modal's `Function` message, read into what the engine decides with, and written into the handles that clients get."""

import pickle
from collections.abc import Mapping, Sequence
from datetime import timedelta

from modal_proto import api_pb2

from freehold.domain import gpus
from freehold.domain.functions import (
    AutoscalerSettings,
    Concurrency,
    Definition,
    Function,
    FunctionSpec,
    ResourceRequest,
    WebKind,
)
from freehold.domain.ids import ImageId, MountId, SecretId
from freehold.domain.retries import RetryPolicy
from freehold.domain.schedules import Cron, Period, Rule
from freehold.wire.volumes import mounts_of

_PICKLE_PROTOCOL = 4  # what the client itself writes, readable by every Python it supports
_LONGEST_REQUEST = timedelta(days=1)  # to a server
_MOST_REQUESTS = 1000  # that a server without a max_concurrency has at a time
_DEFAULT_TIMEOUT = timedelta(seconds=300)
_DEFAULT_LONGEST_PAUSE = timedelta(seconds=60)
_STEEPEST_BACKOFF = 10.0
_DEFAULT_SCALEDOWN = timedelta(seconds=60)

_WEB_KINDS = {
    api_pb2.WEBHOOK_TYPE_FUNCTION: WebKind.FUNCTION,
    api_pb2.WEBHOOK_TYPE_ASGI_APP: WebKind.ASGI,
    api_pb2.WEBHOOK_TYPE_WSGI_APP: WebKind.WSGI,
    api_pb2.WEBHOOK_TYPE_WEB_SERVER: WebKind.SERVER,
}

_OLDER_GPU_TYPES = {number: name.removeprefix("GPU_TYPE_").replace("_", "-") for name, number in api_pb2.GPUType.items() if number}

_PLAIN_OPTIONS = frozenset({"timeout_secs", "target_concurrent_inputs", "max_concurrent_inputs", "batch_max_size", "batch_linger_ms"})
_SCALING_OPTIONS = {  # option → field of AutoscalerSettings
    "concurrency_limit": "max_containers",
    "warm_pool_size": "min_containers",
    "buffer_containers": "buffer_containers",
    "task_idle_timeout_secs": "scaledown_window",
}


def web_config(message: api_pb2.Function) -> api_pb2.WebhookConfig:
    """How the function itself answers on the web. A class of `@app.server` says it in fields of its own."""
    if not message.is_server:
        return message.webhook_config
    return api_pb2.WebhookConfig(
        type=api_pb2.WEBHOOK_TYPE_WEB_SERVER,
        web_server_port=message.http_config.port,
        requires_proxy_auth=not message.http_config.unauthenticated,
    )


def web_kind(config: api_pb2.WebhookConfig) -> WebKind:
    return _WEB_KINDS.get(config.type, WebKind.NONE)


def effective(definition: Definition, function: Function) -> api_pb2.Function:
    """The definition as this function runs it: a bound function's options replace the definition's own values."""
    message = api_pb2.Function.FromString(definition.payload)
    if function.options:
        _apply_options(message, api_pb2.FunctionOptions.FromString(function.options))
    return message


def spec_of(message: api_pb2.Function) -> FunctionSpec:
    methods = [web_kind(method.webhook_config) for method in message.method_definitions.values()]
    kinds = [kind for kind in (web_kind(web_config(message)), *methods) if kind is not WebKind.NONE]
    return FunctionSpec(
        image_id=ImageId(message.image_id),
        mount_ids=tuple(MountId(mount_id) for mount_id in message.mount_ids),
        secret_ids=tuple(SecretId(secret_id) for secret_id in message.secret_ids),
        volumes=mounts_of(message),
        resources=_resources(message.resources),
        autoscaler=_autoscaler(message),
        concurrency=_concurrency(message),
        timeout=_timeout(message),
        startup_timeout=timedelta(seconds=message.startup_timeout_secs or message.timeout_secs or 300),
        block_network=message.block_network,
        web=kinds[0] if kinds else WebKind.NONE,
        needs_client_dependencies=message.mount_client_dependencies,
        untrusted=message.untrusted,
        single_use=message.single_use_containers or message.max_inputs == 1,
        is_server=message.is_server,
    )


def _timeout(message: api_pb2.Function) -> timedelta:
    """A server has none of its own for its requests."""
    if message.timeout_secs:
        return timedelta(seconds=message.timeout_secs)
    return _LONGEST_REQUEST if message.is_server else _DEFAULT_TIMEOUT


def retry_policy_of(message: api_pb2.FunctionRetryPolicy) -> RetryPolicy:
    """Coefficients are from 1 to 10; one that is left out comes as 0."""
    first, backoff = timedelta(milliseconds=message.initial_delay_ms), message.backoff_coefficient
    return RetryPolicy(
        retries=message.retries,
        first_pause=first,
        backoff=backoff if 1.0 <= backoff <= _STEEPEST_BACKOFF else 1.0,
        longest_pause=timedelta(milliseconds=message.max_delay_ms) or max(first, _DEFAULT_LONGEST_PAUSE),
    )


def rule_of(message: api_pb2.Function) -> Rule | None:
    """By what rule the function is called by itself. A Period's seconds travel as a float of 32 bits."""
    match message.schedule.WhichOneof("schedule_oneof"):
        case "cron":
            return Cron(text=message.schedule.cron.cron_string, timezone=message.schedule.cron.timezone)
        case "period":
            return Period(**{field.name: value for field, value in message.schedule.period.ListFields()})
    return None


def is_web(message: api_pb2.Function) -> bool:
    """Whether its inputs are requests: without one there is nothing to call it with."""
    return web_kind(web_config(message)) is not WebKind.NONE


def is_web_part(part: api_pb2.Function | api_pb2.MethodDefinition) -> bool:
    return web_kind(part.webhook_config) is not WebKind.NONE


def is_generator(part: api_pb2.Function | api_pb2.MethodDefinition) -> bool:
    return part.function_type == api_pb2.Function.FUNCTION_TYPE_GENERATOR


def no_arguments() -> api_pb2.FunctionInput:
    """The input of `f.remote()`."""
    return api_pb2.FunctionInput(args=pickle.dumps(((), {}), protocol=_PICKLE_PROTOCOL), data_format=api_pb2.DATA_FORMAT_PICKLE)


def _resources(message: api_pb2.Resources) -> ResourceRequest:
    return ResourceRequest(
        memory_mib=message.memory_mb,
        memory_limit_mib=message.memory_mb_max,
        milli_cpu=message.milli_cpu,
        milli_cpu_limit=message.milli_cpu_max,
        gpus=gpu_requests(message.gpu_config),
    )


def gpu_requests(config: api_pb2.GPUConfig) -> tuple[gpus.GpuRequest, ...]:
    """One, or alternatives as `with_alternatives` writes them; none without a number, as the client has it. Raises InvalidRequest."""
    return gpus.parse(config.gpu_type or _OLDER_GPU_TYPES.get(config.type, ""), config.count) if config.count else ()


def with_alternatives(ranked: Sequence[api_pb2.FunctionData.RankedFunction]) -> api_pb2.Function:
    """One definition of those that the client sends for a list of GPUs, which differ in nothing else: the first, with all types in its text."""
    ranked = sorted(ranked, key=lambda item: item.rank)
    message = _copy(ranked[0].function)
    found = [request for item in ranked for request in gpu_requests(item.function.resources.gpu_config)]
    if len(found) > 1:
        message.resources.gpu_config.gpu_type = gpus.joined(found)
    return message


def _alternatives(message: api_pb2.Function) -> list[api_pb2.Function]:
    """The way back: what `with_alternatives` was given."""
    configs = _gpu_configs(message)
    if not configs:
        return [message]
    found = [_copy(message) for _ in configs]
    for alternative, config in zip(found, configs, strict=True):
        alternative.resources.gpu_config.CopyFrom(config)
    return found


def _gpu_configs(message: api_pb2.Function) -> list[api_pb2.GPUConfig]:
    return [api_pb2.GPUConfig(gpu_type=one.type, count=one.count) for one in gpu_requests(message.resources.gpu_config)]


def _copy(message: api_pb2.Function) -> api_pb2.Function:
    copy = api_pb2.Function()
    copy.CopyFrom(message)
    return copy


def _autoscaler(message: api_pb2.Function) -> AutoscalerSettings:
    """Today's `autoscaler_settings`; the fields beside it are what older clients send, and today's send too."""
    given = {field.name: value for field, value in message.autoscaler_settings.ListFields()}
    window = given.get("scaledown_window", message.task_idle_timeout_secs)
    return AutoscalerSettings(
        min_containers=given.get("min_containers", message.warm_pool_size),
        max_containers=given.get("max_containers", message.concurrency_limit) or None,
        buffer_containers=given.get("buffer_containers", message._experimental_buffer_containers),  # noqa: SLF001 — the wire name
        scaledown_window=timedelta(seconds=window) if window else _DEFAULT_SCALEDOWN,
        scaledown_rate_limit=given.get("scaledown_rate_limit") or None,
        scaleup_window=timedelta(seconds=given.get("scaleup_window", 0)),
        target_concurrency=given.get("target_concurrency_float", given.get("target_concurrency")) or None,
    )


def _concurrency(message: api_pb2.Function) -> Concurrency:
    if message.is_server:
        maximum = message.max_concurrent_inputs or _MOST_REQUESTS
        return Concurrency(max_inputs=maximum, target_inputs=maximum)
    maximum = max(message.max_concurrent_inputs, message.target_concurrent_inputs, 1)
    if message.batch_max_size:
        return Concurrency(max_inputs=maximum * message.batch_max_size, target_inputs=maximum * message.batch_max_size)
    return Concurrency(max_inputs=maximum, target_inputs=message.target_concurrent_inputs or maximum)


def _apply_options(message: api_pb2.Function, options: api_pb2.FunctionOptions) -> None:
    _apply_lists(message, options)
    if options.HasField("resources"):
        message.resources.MergeFrom(options.resources)
    if options.HasField("retry_policy"):
        message.retry_policy.CopyFrom(options.retry_policy)
    given = {field.name: value for field, value in options.ListFields()}
    for name in _PLAIN_OPTIONS & given.keys():
        setattr(message, name, given[name])
    for name in _SCALING_OPTIONS.keys() & given.keys():
        setattr(message.autoscaler_settings, _SCALING_OPTIONS[name], given[name])


def _apply_lists(message: api_pb2.Function, options: api_pb2.FunctionOptions) -> None:
    if options.replace_secret_ids:
        del message.secret_ids[:]
    message.secret_ids.extend(options.secret_ids)
    message.mount_ids.extend(options.mount_ids)
    if options.replace_volume_mounts:
        del message.volume_mounts[:]
    message.volume_mounts.extend(options.volume_mounts)
    message.cloud_bucket_mounts.extend(options.cloud_bucket_mounts)


def handle_metadata(
    function: Function, message: api_pb2.Function, *, definition_id: str, web_urls: dict[str, str], max_inline_bytes: int
) -> api_pb2.FunctionHandleMetadata:
    """What a client or container learns of a function. `web_urls` maps method name → URL; "" is the function itself."""
    metadata = api_pb2.FunctionHandleMetadata(
        function_name=message.function_name,
        function_type=message.function_type,
        web_url=web_urls.get("", ""),
        is_method=message.is_method,
        definition_id=definition_id,
        class_parameter_info=message.class_parameter_info,
        function_schema=message.function_schema,
        supported_input_formats=message.supported_input_formats,
        supported_output_formats=message.supported_output_formats,
        app_id=function.app_id,
        base_function_id=function.base_id or "",
        _experimental_flash_urls=[web_urls[""]] if message.is_server and "" in web_urls else [],
        max_object_size_bytes=max_inline_bytes,
        max_async_object_size_bytes=max_inline_bytes,
    )
    for name, method in message.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(_method_metadata(function, name, method, web_urls.get(name, ""), definition_id))
    return metadata


def described(message: api_pb2.Function, web_urls: Mapping[str, str], domain_urls: Mapping[str, Sequence[str]]) -> api_pb2.Function:
    """A definition with its addresses. Both map method names; "" is the function itself."""
    copy = _copy(message)
    for method, url in web_urls.items():
        part = copy.method_definitions[method] if method else copy
        part.web_url = url
        part.custom_domain_info.extend(api_pb2.CustomDomainInfo(url=each) for each in domain_urls.get(method, ()))
    return copy


def _method_metadata(
    function: Function, name: str, method: api_pb2.MethodDefinition, web_url: str, definition_id: str
) -> api_pb2.FunctionHandleMetadata:
    return api_pb2.FunctionHandleMetadata(
        function_name=method.function_name,
        function_type=method.function_type,
        web_url=web_url,
        is_method=True,
        use_method_name=name,  # the client sends it back with each input
        definition_id=definition_id,
        function_schema=method.function_schema,
        supported_input_formats=method.supported_input_formats,
        supported_output_formats=method.supported_output_formats,
        app_id=function.app_id,
    )


def function_data(message: api_pb2.Function, web_urls: Mapping[str, str]) -> api_pb2.FunctionData:
    """The summary form of a definition. `ranked_functions` must not be empty: the client reads the first."""
    data = api_pb2.FunctionData()
    for field, value in message.ListFields():
        if field.name not in data.DESCRIPTOR.fields_by_name:
            continue
        if field.message_type is None and not field.is_repeated:
            setattr(data, field.name, value)
        else:
            getattr(data, field.name).MergeFrom(value)
    for rank, alternative in enumerate(_alternatives(message)):
        data.ranked_functions.add(rank=rank, function=alternative)
    if message.is_server:
        data.flash_service_urls.extend(web_urls.values())
    return data


def summary(message: api_pb2.Function) -> api_pb2.AppGetInfoResponse.FunctionInfoSummary:
    return api_pb2.AppGetInfoResponse.FunctionInfoSummary(
        schedule=message.schedule if message.HasField("schedule") else None,
        web_function=is_web(message),
        gpu_config=_gpu_configs(message),
    )
