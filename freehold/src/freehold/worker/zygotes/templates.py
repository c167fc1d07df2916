"""One function's state after `@modal.enter(snap=True)`, made once for all tasks that start with the same code, arguments and environment."""

import hashlib
from dataclasses import replace
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.domain.ids import TaskId
from freehold.wire.worker import TaskSpec
from freehold.worker import launch
from freehold.worker.berths import make_berth
from freehold.worker.ground import Ground
from freehold.worker.zygotes.sources import FAILURES, Source

log = structlog.get_logger(__name__)

_LONGEST = 900.0  # seconds that its hooks may take, whatever `startup_timeout` says
_HOOKS = "Its imports or enter(snap=True) hooks"


class Template(Source):
    """Made by `live`, which is its whole life."""

    def __init__(self, template_id: str, task: TaskSpec, ground: Ground) -> None:
        super().__init__(template_id, key_of(task), task.app_id, ground.runtime)
        self.task = replace(task, task_id=TaskId(""), token="")
        self._ground = ground
        self.is_over = anyio.Event()

    async def start(self, companions: TaskGroup) -> None:
        """Returns when tasks can be forked, or never will: then `why_not` stays."""
        seconds = min(self.task.startup_seconds, _LONGEST)
        try:
            with anyio.fail_after(seconds):
                await self._begin(companions)
                await self._line.send({})
                self._take(await self._line.receive())
                if found := await self._ground.snapshots.written(self.id):
                    self.written = (found,)
        except TimeoutError:
            self.why_not = f"{_HOOKS} take longer than {seconds:g} s."
        except ConnectionError:
            self.why_not = f"{_HOOKS} end the process."
        except FAILURES as error:
            self.why_not = f"The process to fork from could not be made: {str(error) or type(error).__name__}"

    def _take(self, told: dict[str, Any]) -> None:
        self.size = int(told["size"])
        self.why_not = f"{_HOOKS} {told['why']}." if told["why"] else ""
        if not self.why_not:
            seconds = round(float(told["took"]), 3)
            log.info("snapshot_made", snapshot=self.id, function_id=self.task.function_id, seconds=seconds, mib=self.size >> 20)

    async def _begin(self, companions: TaskGroup) -> None:
        task = self.task
        berth = await make_berth(self.id, task, self._ground, self._traces, companions)
        env = launch.environment(task.image, task.env, task_id="", token="")
        argv = launch.command(task.image, env, berth.rootfs, task.client.seams, module="snapshot")
        spec = berth.container(task, argv, env)
        away = launch.control_bind(self._ground.home)  # it may ask the engine nothing
        await self._run(replace(spec, binds=tuple(bind for bind in spec.binds if bind != away)))

    async def end(self) -> None:
        await super().end()
        self.is_over.set()


def key_of(task: TaskSpec) -> str:
    """The same for tasks that can be forked from the same state."""
    trees = tuple(tree.id for tree in task.trees)
    parts = (
        task.function_id,
        task.snapshot,
        task.layers,
        trees,
        task.image,
        task.client,
        sorted(task.env.items()),
        task.limits,
        task.network,
        task.volumes,
    )
    return f"snapshot of {task.function_id}: {hashlib.sha256(repr(parts).encode()).hexdigest()}"
