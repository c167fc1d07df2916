"""What goes in and comes out: base models for users' own, and the models of jobs.

`InputModel` and `OutputModel` are pydantic models that refuse NaN and infinity, which JSON does not have. Any pydantic model may be used
instead. An `InputModel` is taken by `modal run app.py::predict --input-data '{…}'` as JSON text.
"""

from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic._internal._model_construction import ModelMetaclass

__all__ = ["AsyncInputModel", "AsyncOutputModel", "Delivery", "InputModel", "JobModel", "JobState", "OutputModel"]

T = TypeVar("T")


class _Printed(ModelMetaclass):
    """`modal run` reads the type of a parameter from its `str()`, and passes what it calls `Any` as text."""

    def __str__(cls) -> str:  # noqa: N805
        return "Any"


class InputModel(BaseModel, metaclass=_Printed):
    """One input of a model."""

    model_config = ConfigDict(allow_inf_nan=False)


class OutputModel(BaseModel):
    """One output of a model."""

    model_config = ConfigDict(allow_inf_nan=False, ser_json_inf_nan="null")


class AsyncInputModel(InputModel, Generic[T]):
    """One input of a job: the message itself and where its result goes besides `GET /jobs/{id}`.

    `webhook_url` is sent the ended job; `success_queue` or `failure_queue` gets it too, in the place of the configured ones. `meta` comes
    back with the job as it is.
    """

    model_config = ConfigDict(extra="forbid")

    message: T
    success_queue: str = Field("", max_length=512)
    failure_queue: str = Field("", max_length=512)
    webhook_url: str = Field("", max_length=2048)
    meta: dict[str, Any] = Field(default_factory=dict)


class JobState(StrEnum):
    QUEUED = "queued"  # not ended, and nothing is known of it yet
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # its result was kept for its time and is gone


class Delivery(OutputModel):
    """How one result reached a webhook or a queue, or why it did not. `is_delivered` is null where it was still tried when the job ended."""

    target: str
    is_delivered: bool | None
    attempts: int
    detail: str = ""


class AsyncOutputModel(OutputModel):
    """A job was taken: ask `GET /jobs/{job_id}` for its result."""

    job_id: str
    state: JobState = JobState.QUEUED


class JobModel(AsyncOutputModel):
    """A job as it is now. `output` is there when it succeeded, `error` (problem+json) when it failed.

    What webhooks and queues are sent is the same without `deliveries`, which are not over yet.
    """

    output: Any = None
    error: dict[str, Any] | None = None
    deliveries: list[Delivery] = Field(default_factory=list)
    meta: dict[str, Any] = Field(default_factory=dict)
