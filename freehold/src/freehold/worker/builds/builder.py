"""Builds images: each step that changes files is a layer, found again by its key, so that a retry goes on where it stopped."""

import shutil
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from freehold.domain.baseimages import StandalonePython, standalone_python
from freehold.domain.clock import Clock
from freehold.domain.dockerfile import Arg, Copy, From, Run, Step, Workdir, expanded, parse
from freehold.domain.errors import FreeholdError, InvalidRequest
from freehold.domain.ids import LayerId
from freehold.domain.images import ImageConfig
from freehold.domain.logs import LogEntry
from freehold.wire.worker import BuildFunctionSpec, BuildSpec, BuiltImage
from freehold.worker.builds.bases import BaseImages
from freehold.worker.builds.bench import Bench, Benches, Command
from freehold.worker.builds.context import BuildContext, ContextFile
from freehold.worker.builds.copying import copy_into
from freehold.worker.builds.detection import with_python
from freehold.worker.builds.functions import BuildFunctions, Means
from freehold.worker.builds.layers import Layers, layer_key
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.python import PythonInstaller
from freehold.worker.builds.rootfs import make_folders, resolve
from freehold.worker.builds.running import StepFailed, StepRunner
from freehold.worker.builds.stage import Stage, configured
from freehold.worker.gpus import Gpus
from freehold.worker.ports import ContentStore, Equipment


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildParts:
    """What all builds share."""

    benches: Benches
    layers: Layers
    runner: StepRunner
    bases: BaseImages
    pythons: PythonInstaller
    functions: BuildFunctions
    content: ContentStore
    gpus: Gpus
    clock: Clock


_LONGEST_NAME = 500  # characters of a step in the text of its failure


class Builder:
    """Builds any number of images at once; a layer that two of them need is made once."""

    def __init__(self, parts: BuildParts) -> None:
        self._parts = parts

    async def build(self, spec: BuildSpec, log: Callable[[list[LogEntry]], None]) -> BuiltImage | str:
        """The image, or why there is none. Finished steps stay, so that the next try starts after them."""
        writer = BuildLog(log, self._parts.clock)
        try:
            return await _Build(spec, writer, self._parts).image()
        except (FreeholdError, StepFailed) as failure:
            writer.remark(f"Build failed: {failure}")
            return str(failure)


class _Build:
    """One build: the stages of its Dockerfile as far as they are done."""

    def __init__(self, spec: BuildSpec, log: BuildLog, parts: BuildParts) -> None:
        self._spec = spec
        self._log = log
        self._parts = parts
        self._context = BuildContext(spec, parts.content)
        self._stages: list[Stage] = []
        self._names: dict[str, int] = {}
        self._global_args: dict[str, str] = {}
        # A forced build may not find what an earlier one left, nor be mistaken for it.
        self._nonce = uuid.uuid4().hex if spec.force else ""

    async def image(self) -> BuiltImage:
        if self._spec.remark:
            self._log.remark(self._spec.remark)
        if self._spec.function:
            return await self._function_image(self._spec.function)
        for step in parse(self._spec.commands):
            await self._take(step)
        if not self._stages:
            msg = "An image needs a FROM command: say what it is built on."
            raise InvalidRequest(msg)
        last = self._stages[-1]
        return BuiltImage(layers=last.layers, config=await self._with_python(last))

    async def _function_image(self, function: BuildFunctionSpec) -> BuiltImage:
        (base,) = self._spec.bases.values()
        self._log.step("Running the build function.")
        # Its key is the run itself: what it would write again is known to nobody, and finished images are found by their request.
        layer = layer_key("function", base.layers, task=function.task_id)
        means = Means(limits=self._spec.limits, equipment=await self._equipment())
        await self._parts.functions.build(layer, base, function, means, self._log)
        stage = Stage.of(base).with_layer(layer)
        return BuiltImage(layers=stage.layers, config=await self._with_python(stage))

    async def _with_python(self, stage: Stage) -> ImageConfig:
        async with self._parts.benches.over(stage.layers) as bench:
            return await with_python(bench, stage.config, self._parts.clock)

    async def _take(self, step: Step) -> None:
        if isinstance(step, From):
            await self._start_stage(step)
        elif self._stages:
            self._stages[-1] = await self._after(self._stages[-1], step)
        elif isinstance(step, Arg):
            self._take_global(step)
        else:
            msg = f"The first command must be FROM, not {step.text[:200]!r}."
            raise InvalidRequest(msg)

    def _take_global(self, step: Arg) -> None:
        ready = expanded(step, self._global_args)
        assert isinstance(ready, Arg)
        value = self._spec.build_args.get(ready.name, ready.default)
        if value is not None:
            self._global_args[ready.name] = value

    async def _start_stage(self, step: From) -> None:
        self._log.step(step.text)
        ready = expanded(step, self._global_args)
        assert isinstance(ready, From)
        image = await self._image_named(ready.reference)
        self._stages.append(Stage.of(image))
        if ready.alias:
            self._names[ready.alias] = len(self._stages) - 1

    async def _image_named(self, name: str) -> BuiltImage:
        """A stage of this Dockerfile, an earlier image of ours, nothing at all, or a base from outside."""
        if name.lower() in self._names:
            stage = self._stages[self._names[name.lower()]]
            return BuiltImage(layers=stage.layers, config=stage.config)
        if name in self._spec.bases:
            return self._spec.bases[name]
        if name == "scratch":
            return BuiltImage(layers=(), config=ImageConfig())
        return await self._parts.bases.layers_for(name, self._log)

    async def _after(self, stage: Stage, step: Step) -> Stage:
        self._log.step(step.text)
        ready = expanded(step, stage.variables)
        match ready:
            case Run():
                return await self._after_run(stage, ready)
            case Copy():
                return await self._after_copy(stage, ready)
        stage = configured(stage, ready, self._spec.build_args, self._global_args)
        return await self._after_workdir(stage) if isinstance(ready, Workdir) else stage

    async def _after_run(self, stage: Stage, step: Run) -> Stage:
        for option in step.ignored:
            self._log.remark(f"{option} changes nothing here: caches of pip and uv are always kept, and the network is always there.")
        config = stage.config
        argv = (*config.shell, step.command) if isinstance(step.command, str) else step.command
        command = Command(
            argv=argv,
            env={**stage.variables, **self._spec.env},
            cwd=config.workdir,
            user=config.user,
            limits=self._spec.limits,
            equipment=await self._equipment(),
        )
        # Names of secrets only: a rotated value does not build everything anew, and no key is derived from a value.
        secrets = sorted(self._spec.env)
        layer = self._key("run", stage, argv=argv, env=dict(stage.variables), cwd=config.workdir, user=config.user, secrets=secrets)
        return await self._layered(
            stage, layer, lambda bench: self._parts.runner.step(bench, command, self._log, f"Step `{step.text[:_LONGEST_NAME]}`")
        )

    async def _equipment(self) -> Equipment:
        return await anyio.to_thread.run_sync(self._parts.gpus.equipment, self._spec.gpus)

    async def _after_workdir(self, stage: Stage) -> Stage:
        path = stage.config.workdir

        async def make(bench: Bench) -> None:
            await anyio.to_thread.run_sync(lambda: make_folders(bench.rootfs, resolve(bench.rootfs, path)))

        return await self._layered(stage, self._key("workdir", stage, path=path), make)

    async def _after_copy(self, stage: Stage, step: Copy) -> Stage:
        if step.source:
            return await self._after_copy_from_image(stage, step)
        python = standalone_python(self._spec.context.id) if self._spec.context else None
        if python and step.patterns == ("python/.",):
            return await self._after_python(stage, python)
        files = self._context.matching(step)
        contents = sorted((file.path, file.digest, file.mode) for file in files)

        async def make(bench: Bench) -> None:
            await anyio.to_thread.run_sync(self._copy_files, bench, stage, step, files)

        return await self._layered(stage, self._copy_key(stage, step, contents), make)

    def _copy_files(self, bench: Bench, stage: Stage, step: Copy, files: list[ContextFile]) -> None:
        folder = self._parts.benches.snapshots.staging()
        try:
            self._context.lay_out(files, folder)
            copy_into(bench.rootfs, stage.config.workdir, step, folder)
        finally:
            shutil.rmtree(folder)

    async def _after_copy_from_image(self, stage: Stage, step: Copy) -> Stage:
        source = await self._copy_source(step.source)

        async def make(bench: Bench) -> None:
            async with self._parts.benches.over(source.layers) as other:
                await anyio.to_thread.run_sync(copy_into, bench.rootfs, stage.config.workdir, step, other.rootfs)

        return await self._layered(stage, self._copy_key(stage, step, source.layers), make)

    async def _copy_source(self, name: str) -> BuiltImage:
        if name.isdecimal() and int(name) < len(self._stages):
            stage = self._stages[int(name)]
            return BuiltImage(layers=stage.layers, config=stage.config)
        return await self._image_named(name)

    async def _after_python(self, stage: Stage, wanted: StandalonePython) -> Stage:
        """`add_python=`: in the place of the files that the client thinks are in that mount comes a Python of this machine."""
        python = await self._parts.pythons.get(wanted.series)
        links = ("python3", "python") if wanted.has_python_link else ("python3",)
        layer = self._key("python", stage, python=python.fingerprint, links=links)
        return await self._layered(stage, layer, lambda bench: self._parts.pythons.install(bench, python, self._log, links=links))

    def _copy_key(self, stage: Stage, step: Copy, contents: Any) -> LayerId:
        how = {name: getattr(step, name) for name in ("patterns", "destination", "chmod", "chown", "unpacks")}
        return self._key("copy", stage, contents=contents, workdir=stage.config.workdir, **how)

    def _key(self, kind: str, stage: Stage, **facts: Any) -> LayerId:
        return layer_key(kind, stage.layers, nonce=self._nonce, **facts)

    async def _layered(self, stage: Stage, layer: LayerId, make: Callable[[Bench], Awaitable[None]]) -> Stage:
        if self._parts.layers.has(layer):
            self._log.remark("(kept from an earlier build)")
        return stage.with_layer(await self._parts.layers.ensure(layer, stage.layers, make))
