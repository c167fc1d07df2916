"""Jobs: their ids, what an order may ask for, and how a job is told to others."""

import hashlib
import hmac
import os
from typing import Any

import pydantic_core

from modalkit import _webhooks
from modalkit._parcels import Failure, JobOrder, Outcome, Output
from modalkit.errors import InferenceError, Problem
from modalkit.iomodel import JobState
from modalkit.modal_config import ModalConfig
from modalkit.settings import AppSettings, JobsConfig, QueueConfig

_WEBHOOK = "webhook_url"
_SIGNATURE = 32  # hexadecimal digits: 128 bits


class JobIds:
    """Ids of one class's jobs: the engine's id of the call with a signature, so that no other call can be asked for or cancelled by them."""

    def __init__(self, config: ModalConfig, class_name: str) -> None:
        self._config = config
        self._class_name = class_name

    def of(self, call_id: str) -> str:
        """The job's id."""
        return f"{call_id}.{self._signature(call_id)}"

    def call_of(self, job_id: str) -> str:
        """The engine's id of a job's call. Raises KeyError for what is no job of this class."""
        call_id, _, signature = job_id.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(call_id).encode()):
            raise KeyError(job_id)
        return call_id

    def _signature(self, call_id: str) -> str:
        # A newline is in no name: what is signed can be read in one way only.
        signed = f"{self._config.app_name}\n{self._class_name}\n{call_id}"
        return hmac.new(self._config.job_key.encode(), signed.encode(), hashlib.sha256).hexdigest()[:_SIGNATURE]


def job_ids(app_cls: Any) -> JobIds:
    """The ids of a class's jobs."""
    return JobIds(app_cls.modal_utils, app_cls.user_class.__name__)


def check_order(order: JobOrder, settings: AppSettings) -> None:
    """Raises InferenceError (422): the order asks for what this app cannot do or does not allow."""
    _check_webhook(order.webhook_url, settings.jobs_config)
    for name in ("success_queue", "failure_queue"):
        _check_queue(name, getattr(order, name), settings.queue_config)


def order_schema(settings: AppSettings) -> dict[str, dict[str, Any]]:
    """What is more than the types of an order's fields say: what this app can do and allows."""
    allowed = settings.queue_config.nameable
    queue: dict[str, Any] = {} if allowed is None else {"enum": ["", *allowed]}
    webhook: dict[str, Any] = {"pattern": "^(https?://[^\\s@]+)?$"} if _can_sign(settings.jobs_config) else {"maxLength": 0}
    return {_WEBHOOK: webhook, "success_queue": queue, "failure_queue": queue}


def message(job_id: str, order: JobOrder, outcome: Outcome) -> tuple[JobState, bytes]:
    """An ended job as webhooks and queues are sent it, with its state. An output that JSON cannot hold is a failure of its job alone."""
    try:
        return _message(job_id, order, outcome)
    except (ValueError, TypeError, RecursionError) as error:
        problem = Problem(500, f"The pipeline's output cannot be written as JSON: {error}", "wrong_output")
        return _message(job_id, order, Failure(problem))


def _message(job_id: str, order: JobOrder, outcome: Outcome) -> tuple[JobState, bytes]:
    state, output, error = JobState.FAILED, None, None
    if isinstance(outcome, Output):
        state, output = JobState.SUCCEEDED, outcome.value
    else:
        error = outcome.problem.as_json()
    said = {"job_id": job_id, "state": state, "output": output, "error": error, "meta": order.meta}
    return state, pydantic_core.to_json(said, by_alias=True, inf_nan_mode="null", fallback=_plain)


def _plain(value: Any) -> Any:
    """What JSON does not have: an array as a list, anything else as its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _check_webhook(url: str, config: JobsConfig) -> None:
    if not url:
        return
    try:
        _webhooks.read_url(url, allow_private=config.webhook_allow_private)
    except ValueError as error:
        raise _refused(_WEBHOOK, str(error)) from error
    try:
        _webhooks.keys_of(os.environ.get(config.webhook_secret_variable, ""))
    except ValueError as error:
        raise _refused(_WEBHOOK, f"this app cannot sign webhooks: {config.webhook_secret_variable} {error}") from error


def _can_sign(config: JobsConfig) -> bool:
    try:
        return bool(_webhooks.keys_of(os.environ.get(config.webhook_secret_variable, "")))
    except ValueError:
        return False


def _check_queue(name: str, queue: str, config: QueueConfig) -> None:
    if not queue:
        return
    if not config.backend:
        raise _refused(name, "this app has no queues")
    if config.nameable is not None and queue not in config.nameable:
        raise _refused(name, f"{queue!r} is none of the queues that this app allows (queue_config.allowed_queues)")
    if not queue.isprintable():
        raise _refused(name, "a queue's name is printable text")


def _refused(name: str, why: str) -> InferenceError:
    error = InferenceError(f"{name}: {why}.", status=422, kind="invalid_order")
    error.problem.extra["errors"] = [{"loc": ["body", name], "msg": why, "type": "invalid_order"}]
    return error
