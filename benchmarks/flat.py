"""`make bench-flat`: what one call costs the engine while 10 to 100,000 inputs are queued, and while 1 to 1,000 functions are deployed.

The services, the store and both edges are the real ones, in this process, under the engine's own event loop; clients speak gRPC and tasks
the inputs socket, over the wire. Only containers are left out, whose noise would hide what is looked for: a worker that starts nothing hands
the identities of its tasks to raw tasks here. So times hold both ends of the wire; what counts is that they do not grow.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
import uvloop
from engine import CHECKOUT, free_port
from modal_proto import api_pb2, api_pb2_grpc
from rich.console import Console
from rich.table import Table

from freehold.assembly.control import ControlPlane
from freehold.assembly.engine import Engine
from freehold.assembly.machine import Machine
from freehold.config import Settings
from freehold.container.frames import GET_INPUTS, PUT_OUTPUTS
from freehold.container.link import Link
from freehold.domain.ids import TaskId
from freehold.domain.images import ImageConfig
from freehold.observability.logging import configure
from freehold.wire.worker import BuildSpec, BuiltImage, TaskSpec

_BACKLOGS = (10, 100, 1_000, 10_000, 100_000)
_DEPLOYED = (1, 10, 100, 1_000)
_CYCLES = 200
_ROUNDS = 3  # of which the best counts: other programs only ever add
_QUIET = 2.0  # seconds over which the cost of doing nothing is taken
_AT_ONCE = 500  # inputs in one request
_PER_APP = 20
_DEADLINE = 30.0
_BUILT = BuiltImage(layers=(), config=ImageConfig(python_series="3.11", python_version="3.11.9"))
_DONE = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=b"result")
_ASYNC, _SYNC = api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC
_STEPS = ("spawn", "claim", "finish", "remote")

Costs = Mapping[str, float]  # milliseconds of each step, of CPU for one cycle, and of CPU for one second of rest


class IdleWorker:
    """See `wire.worker.WorkerControl`: starts nothing; every image is built as soon as it is asked for."""

    def __init__(self, built: Callable[[Any, BuiltImage], Awaitable[None]]) -> None:
        self._built = built
        self._group = asyncio.TaskGroup()
        self._desired: Mapping[TaskId, TaskSpec] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._group.__aexit__(*error)

    async def adopt(self, candidates: Collection[TaskId]) -> AbstractSet[TaskId]:
        del candidates
        return frozenset()

    def expect(self, task: TaskSpec) -> None:
        pass

    def set_desired(self, tasks: Mapping[TaskId, TaskSpec]) -> None:
        self._desired = dict(tasks)

    def build(self, spec: BuildSpec) -> None:
        self._group.create_task(self._built(spec.image_id, _BUILT))

    async def kill(self, task_id: TaskId) -> None:
        pass

    async def task_of(self, function_id: str) -> TaskSpec:
        async with asyncio.timeout(_DEADLINE):
            while True:
                for spec in self._desired.values():
                    if api_pb2.ContainerArguments.FromString(spec.arguments).function_id == function_id:
                        return spec
                await asyncio.sleep(0.01)


def idle_machine(control: ControlPlane) -> Machine:
    """A machine whose worker starts nothing."""
    worker = IdleWorker(control.catalog.images.record_finished)
    return Machine(worker=worker, running=worker, layer_path=Path, zygotes=str)


class RawTask:
    """A container's side of the inputs socket, and nothing else."""

    def __init__(self, home: Path, spec: TaskSpec) -> None:
        self._link = Link(str(home / "run/control/inputs.sock"), spec.task_id, spec.token, dict)

    async def claim(self) -> api_pb2.FunctionGetInputsItem:
        answer = await self._link.ask(GET_INPUTS, api_pb2.FunctionGetInputsRequest().SerializeToString(), patience=_DEADLINE)
        return api_pb2.FunctionGetInputsResponse.FromString(answer).inputs[0]

    async def finish(self, item: api_pb2.FunctionGetInputsItem) -> None:
        output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=_DONE)
        await self._link.ask(PUT_OUTPUTS, api_pb2.FunctionPutOutputsRequest(outputs=[output]).SerializeToString(), patience=_DEADLINE)


@dataclass
class Bench:
    """Two functions that are called, and as many others as have been deployed."""

    settings: Settings
    worker: IdleWorker
    stub: Any
    deployed: int = 0
    queued: int = 0
    functions: list[str] = field(default_factory=list)
    tasks: list[RawTask] = field(default_factory=list)

    async def prepare(self) -> None:
        self.functions = await self.deploy(2)
        for function_id in self.functions:
            await self._call(function_id, _ASYNC)
            task = RawTask(self.settings.root, await self.worker.task_of(function_id))
            await task.finish(await task.claim())
            self.tasks.append(task)

    async def deploy(self, count: int) -> list[str]:
        """One more app with so many functions."""
        app_id = (await self.stub.AppCreate(api_pb2.AppCreateRequest(app_state=api_pb2.APP_STATE_INITIALIZING))).app_id
        image = api_pb2.ImageGetOrCreateRequest(
            app_id=app_id, builder_version="2025.06", image=api_pb2.Image(dockerfile_commands=["FROM python:3.11-slim-bookworm"])
        )
        image_id = (await self.stub.ImageGetOrCreate(image)).image_id
        made = {}
        for number in range(count):
            definition = api_pb2.Function(
                function_name=f"f{number}",
                module_name="app",
                image_id=image_id,
                timeout_secs=3600,
                startup_timeout_secs=3600,
                autoscaler_settings=api_pb2.AutoscalerSettings(max_containers=1, scaledown_window=3600),
            )
            reply = await self.stub.FunctionCreate(api_pb2.FunctionCreateRequest(app_id=app_id, function=definition))
            made[f"f{number}"] = reply
        await self.stub.AppPublish(
            api_pb2.AppPublishRequest(
                app_id=app_id,
                name=f"flat-{self.deployed}",
                app_state=api_pb2.APP_STATE_DEPLOYED,
                function_ids={name: reply.function_id for name, reply in made.items()},
                definition_ids={reply.function_id: reply.handle_metadata.definition_id for reply in made.values()},
            )
        )
        self.deployed += count
        return [reply.function_id for reply in made.values()]

    async def deploy_up_to(self, count: int) -> None:
        while self.deployed < count:
            await self.deploy(min(_PER_APP, count - self.deployed))

    async def queue_up_to(self, count: int) -> None:
        """Spawned inputs of the first function, which nobody takes for now."""
        call = await self._call(self.functions[0], _ASYNC, inputs=0, kind=api_pb2.FUNCTION_CALL_TYPE_MAP)
        while self.queued < count:
            more = min(_AT_ONCE, count - self.queued)
            items = [_item(idx) for idx in range(self.queued, self.queued + more)]
            await self.stub.FunctionPutInputs(api_pb2.FunctionPutInputsRequest(function_call_id=call.function_call_id, inputs=items))
            self.queued += more

    async def measure(self) -> Costs:
        rounds = [await self._measure() for _ in range(_ROUNDS)]
        return {name: min(costs[name] for costs in rounds) for name in rounds[0]}

    async def _measure(self) -> Costs:
        """What each step takes (median), and how much CPU goes into a cycle and into a second of rest."""
        worked = time.process_time()
        taken = await self._cycles(_CYCLES)
        rested = time.process_time()
        await asyncio.sleep(_QUIET)
        costs = {step: statistics.median(times) * 1000 for step, times in zip(_STEPS, zip(*taken, strict=True), strict=True)}
        cpu = {"CPU per cycle": (rested - worked) * 1000 / _CYCLES, "CPU per idle second": (time.process_time() - rested) * 1000 / _QUIET}
        return costs | cpu

    async def _cycles(self, count: int) -> list[Sequence[float]]:
        return [await self._cycle() for _ in range(count)]

    async def _cycle(self) -> Sequence[float]:
        """One input more behind the queue, one less before it; then a synchronous call of the other function."""
        (queued, other), (busy, idle) = self.functions, self.tasks
        moments = [time.perf_counter()]

        async def timed(step: Awaitable[Any]) -> Any:
            result = await step
            moments.append(time.perf_counter())
            return result

        await timed(self._call(queued, _ASYNC))
        item = await timed(busy.claim())
        await timed(busy.finish(item))
        await timed(self._remote(other, idle))
        return [end - start for start, end in itertools.pairwise(moments)]

    async def _remote(self, function_id: str, task: RawTask) -> None:
        call = await self._call(function_id, _SYNC)
        await task.finish(await task.claim())
        request = api_pb2.FunctionGetOutputsRequest(
            function_call_id=call.function_call_id, start_idx=0, end_idx=0, timeout=_DEADLINE, clear_on_success=True
        )
        if len((await self.stub.FunctionGetOutputs(request)).outputs) != 1:
            msg = "A call has no result."
            raise RuntimeError(msg)

    async def _call(
        self, function_id: str, invocation: Any, *, inputs: int = 1, kind: Any = api_pb2.FUNCTION_CALL_TYPE_UNARY
    ) -> api_pb2.FunctionMapResponse:
        return await self.stub.FunctionMap(
            api_pb2.FunctionMapRequest(
                function_id=function_id,
                function_call_type=kind,
                function_call_invocation_type=invocation,
                pipelined_inputs=[_item(idx) for idx in range(inputs)],
            )
        )


class Signed(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the client's identity with each call."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = tuple(metadata.items())

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(metadata=self._metadata), request)


def _item(idx: int) -> api_pb2.FunctionPutInputsItem:
    return api_pb2.FunctionPutInputsItem(idx=idx, input=api_pb2.FunctionInput(args=b"arguments", data_format=api_pb2.DATA_FORMAT_PICKLE))


@asynccontextmanager
async def running_bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), control_port=free_port(), gateway_port=free_port(), log_level="warning")
        configure(settings.log_level, settings.log_format)
        engine = Engine(settings, machine_of=idle_machine)
        async with engine.running():
            identity = {
                "x-modal-client-version": "1.6.4",
                "x-modal-token-id": engine.control.base.keyring.token_id,
                "x-modal-token-secret": engine.control.base.keyring.token_secret,
            }
            address = f"{settings.host}:{settings.control_port}"
            async with grpc.aio.insecure_channel(address, interceptors=[Signed(identity)]) as channel:
                bench = Bench(settings, engine.machine.worker, api_pb2_grpc.ModalClientStub(channel))  # type: ignore[arg-type]
                await bench.prepare()
                yield bench


async def main() -> None:
    by_backlog, by_deployed = {}, {}
    async with running_bench() as bench:
        for count in _BACKLOGS:
            say(f"{count:,} inputs queued")
            await bench.queue_up_to(count)
            by_backlog[count] = await bench.measure()
    async with running_bench() as bench:
        for count in _DEPLOYED:
            say(f"{count:,} functions deployed")
            await bench.deploy_up_to(count)
            by_deployed[count] = await bench.measure()
    tables = [table("inputs queued", by_backlog), table("functions deployed", by_deployed)]
    console = Console(width=110)
    for each in tables:
        console.print(each)
    report(CHECKOUT / "build" / "flat.md", {"inputs queued": by_backlog, "functions deployed": by_deployed})


def table(what: str, costs: Mapping[int, Costs]) -> Table:
    names = list(next(iter(costs.values())))
    made = Table(what, *names, title=f"Milliseconds, by {what}")
    for count, row in costs.items():
        made.add_row(f"{count:,}", *(f"{row[name]:.2f}" for name in names))
    return made


def report(path: Path, measured: Mapping[str, Mapping[int, Costs]]) -> None:
    """The same as Markdown."""
    lines = []
    for what, costs in measured.items():
        names = list(next(iter(costs.values())))
        lines += [f"| {what} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {count:,} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |" for count, row in costs.items()]
        lines.append("")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    uvloop.run(main())
