"""Amazon SQS, by boto3."""

import asyncio
import re
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError, ParamValidationError  # type: ignore[import-untyped]

from modalkit.errors import QueueRefusedError
from modalkit.settings import QueueConfig

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}(\.fifo)?")
_FINAL = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidMessageContents", "InvalidParameterValue", "AccessDenied"}


class SqsQueue:
    """Sends to queues by name; credentials come from where boto3 finds them. In a FIFO queue each job is a group of its own."""

    def __init__(self, config: QueueConfig) -> None:
        limits = Config(connect_timeout=config.timeout_seconds, read_timeout=config.timeout_seconds, retries={"total_max_attempts": 1})
        self._client: Any = boto3.client("sqs", region_name=config.region or None, endpoint_url=config.endpoint_url or None, config=limits)
        self._urls: dict[str, str] = {}

    async def send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None:
        # A name, never an address: the request is signed with this app's credentials.
        if not _NAME.fullmatch(queue):
            msg = f"{queue!r} is no name of an SQS queue"
            raise QueueRefusedError(msg)
        await asyncio.to_thread(self._send, queue, message, attributes)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    def _send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None:
        try:
            self._client.send_message(QueueUrl=self._url(queue), **_request(queue, message, attributes))
        except ParamValidationError as error:
            raise QueueRefusedError(str(error)) from error
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _FINAL:
                raise QueueRefusedError(str(error)) from error
            raise

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            self._urls[queue] = self._client.get_queue_url(QueueName=queue)["QueueUrl"]
        return self._urls[queue]


def _request(queue: str, message: bytes, attributes: dict[str, str]) -> dict[str, Any]:
    said = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value}
    request: dict[str, Any] = {"MessageBody": message.decode(), "MessageAttributes": said}
    if queue.endswith(".fifo"):
        request |= {"MessageGroupId": attributes["message_id"], "MessageDeduplicationId": attributes["message_id"]}
    return request
