"""`Image.run_function`: one run of modal's entrypoint over an image; what the function writes becomes the layer."""

from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from freehold.domain.ids import LayerId
from freehold.wire.worker import BuildFunctionSpec, BuiltImage, Limits, WorkerReports
from freehold.worker import launch
from freehold.worker.builds.bench import Bench, Benches, Command
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.running import StepFailed, StepRunner
from freehold.worker.ports import Bundles, Equipment, Trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a function may use while it runs in a build."""

    limits: Limits
    equipment: Equipment


class BuildFunctions:
    """The control plane hands the function its one input, as to any task, and knows how that ended."""

    def __init__(self, *, home: Path, benches: Benches, runner: StepRunner, trees: Trees, bundles: Bundles, reports: WorkerReports) -> None:
        self._home = home
        self._benches = benches
        self._runner = runner
        self._trees = trees
        self._bundles = bundles
        self._reports = reports

    async def build(self, layer: LayerId, image: BuiltImage, function: BuildFunctionSpec, means: Means, log: BuildLog) -> None:
        """Run the function and keep its changes as this layer. Raises StepFailed when it does not succeed."""
        async with self._benches.over(image.layers, await self._extra(image, function)) as bench:
            try:
                await self._run(bench, image, function, means, log)
            finally:
                with anyio.CancelScope(shield=True):
                    failure = await self._reports.build_function_ended(function.task_id)
            if failure:
                msg = f"The build function failed:\n{failure}"
                raise StepFailed(msg)
            await bench.keep(layer)

    async def _extra(self, image: BuiltImage, function: BuildFunctionSpec) -> tuple[Path, ...]:
        bundle = await self._bundles.layers_for(function.client, image.layers)
        trees = [await self._trees.materialize(tree) for tree in function.trees]
        return (*bundle, *trees)

    async def _run(self, bench: Bench, image: BuiltImage, function: BuildFunctionSpec, means: Means, log: BuildLog) -> None:
        env = launch.environment(image.config, function.env, task_id=function.task_id, token=function.token)
        # Bytecode of mounted modules would be written beside them, and so into the layer.
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        try:
            binds = await anyio.to_thread.run_sync(launch.write_files, self._home, function.task_id, function.arguments)
            command = Command(
                argv=launch.command(image.config, env, bench.rootfs, function.client.seams),
                env=env,
                cwd=launch.workdir(image.config),
                binds=(*binds, launch.control_bind(self._home)),
                limits=means.limits,
                equipment=means.equipment,
            )
            await self._runner.run(bench, command, log, "The build function")
        finally:
            launch.remove_files(self._home, function.task_id)
