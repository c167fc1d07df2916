"""Runs one build step in a container: what it sees of the machine, how long it may take, and what is said when it fails."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread

from freehold.domain.build_advice import build_advice
from freehold.worker.builds.bench import Bench, Command
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.site import site_env
from freehold.worker.etc import write_etc
from freehold.worker.ports import Bind, ContainerExit
from freehold.worker.staging import fresh_folder

_DEADLINE = timedelta(hours=2)  # compiling CUDA extensions takes more than one
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOSTNAME = "build"
# Only what can be downloaded again at any time. The rest of /root/.cache belongs to the image: models are kept there.
_CACHES = ("pip", "uv")


class StepFailed(Exception):
    """A step ended badly; the text says which, how, and the last of what it printed."""


class StepRunner:
    """Runs commands on a bench, with the site's settings, name resolution and package caches."""

    def __init__(self, *, home: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._home = home
        # uv would warn at every step that its cache cannot be hard-linked into a layer, pip that it runs as root.
        self._env = {"PATH": DEFAULT_PATH, "UV_LINK_MODE": "copy", "PIP_ROOT_USER_ACTION": "ignore", **site_env(environ)}

    async def step(self, bench: Bench, command: Command, log: BuildLog, what: str) -> None:
        """Run a build step, with name resolution and package caches. Raises StepFailed unless it ends with status 0."""
        async with self._binds() as binds:
            await self.run(bench, replace(command, binds=(*binds, *command.binds)), log, what)

    async def run(self, bench: Bench, command: Command, log: BuildLog, what: str) -> None:
        """As `step`, with nothing but the command's own binds."""
        with anyio.move_on_after(_DEADLINE.total_seconds()):
            ended = await bench.run(replace(command, env={**self._env, **command.env}), log.container)
            _check(ended, command, what, log.tail)
            return
        msg = f"{what} did not finish within {_DEADLINE}.\n{log.tail}"
        raise StepFailed(msg)

    @asynccontextmanager
    async def _binds(self) -> AsyncIterator[tuple[Bind, ...]]:
        folder = await anyio.to_thread.run_sync(self._make_folder)
        try:
            yield (*write_etc(folder, _HOSTNAME), *self._cache_binds())
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _make_folder(self) -> Path:
        for cache in _CACHES:
            self._cache(cache).mkdir(parents=True, exist_ok=True)
        return fresh_folder(self._home)

    def _cache_binds(self) -> tuple[Bind, ...]:
        return tuple(Bind(source=self._cache(cache), target=f"/root/.cache/{cache}", read_only=False) for cache in _CACHES)

    def _cache(self, name: str) -> Path:
        return self._home / "cache" / "build" / name


def _check(ended: ContainerExit, command: Command, what: str, tail: str) -> None:
    if ended.code == 0:
        return
    if ended.out_of_memory:
        msg = f"{what} ran out of memory (limit: {command.limits.memory_mib or 'none'} MiB).\n{tail}"
    else:
        msg = f"{what} failed with exit status {ended.code}.\n{tail}\n{build_advice(tail)}"
    raise StepFailed(msg.strip())
