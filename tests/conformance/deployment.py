"""A deployed app, as its user sees it."""

import io
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import modal
from modal_proto import api_pb2

from conformance.engine import APPS, Engine
from conformance.waiting import eventually


@dataclass(frozen=True)
class Deployment:
    engine: Engine
    name: str
    output: str  # what `modal deploy` printed

    @property
    def app_id(self) -> str:
        """Empty when nothing is deployed under its name."""
        request = api_pb2.AppGetByDeploymentNameRequest(name=self.name)
        return str(self.engine.call("AppGetByDeploymentName", request).app_id)

    def function(self, name: str) -> modal.Function:
        return modal.Function.from_name(self.name, name)

    def cls(self, name: str) -> modal.Cls:
        return modal.Cls.from_name(self.name, name)

    async def url(self, name: str) -> str:
        url = await self.function(name).get_web_url.aio()
        assert url, f"{name} has no address"
        return url

    def containers(self) -> Sequence[Any]:
        """Its running containers, as `modal container list` gets them."""
        return list(self.engine.call("TaskList", api_pb2.TaskListRequest(app_id=self.app_id)).tasks)

    def logs(self) -> str:
        """What its containers have printed, with what the engine says of them: the last thousand lines."""
        request = api_pb2.AppFetchLogsRequest(app_id=self.app_id, limit=1000)
        return "".join(item.data for batch in self.engine.call("AppFetchLogs", request).batches for item in batch.items)

    def rest(self) -> None:
        """Lets all of its containers go, and waits until they have."""
        for task in self.containers():
            with suppress(grpc.RpcError):  # it has ended meanwhile
                self.engine.call("ContainerStop", api_pb2.ContainerStopRequest(task_id=task.task_id))
        eventually(lambda: not self.containers(), within=60, what="No container")


def deploy(engine: Engine, script: str | Path, *, name: str = "", within: float = 900) -> Deployment:
    """`modal deploy`, which must succeed. A script without a folder is one of `apps/`."""
    path = APPS / script
    name = name or path.stem.replace("_", "-")
    finished = engine.modal("deploy", "--name", name, path, within=within).succeeded()
    return Deployment(engine, name, finished.output)


@contextmanager
def deployed(engine: Engine, script: str | Path, *, name: str = "") -> Iterator[Deployment]:
    """A deployment that is stopped at the end of the block, so that its containers are not in the way of others."""
    deployment = deploy(engine, script, name=name)
    try:
        yield deployment
    finally:
        if app_id := deployment.app_id:
            engine.call("AppStop", api_pb2.AppStopRequest(app_id=app_id))


def versioned(script: str | Path, folder: Path, **values: object) -> Path:
    """A copy of a script of `apps/` in which top-level constants have other values: what a person does in an editor."""
    text = (APPS / script).read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
        assert count == 1, f"{script} has no line that sets {name}"
    copy = folder / Path(script).name
    copy.write_text(text)
    return copy


class Place:
    """Where inputs of an app with `apps/meeting.py` wait, one for each test."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)

    def go(self) -> None:
        """Lets go whoever waits here, or comes here later."""
        with modal.Volume.from_name("meeting").batch_upload() as batch:
            batch.put_file(io.BytesIO(b""), f"/{self.name}/go")
