"""Runs programs of the machine for a build (mmdebstrap, skopeo, uv): their words go to the build's log, their failures become ours."""

import subprocess
from collections.abc import Callable, Sequence
from datetime import timedelta

import anyio
from anyio.streams.text import TextReceiveStream

_KEPT_LINES = 20


class ProgramFailed(Exception):
    """A program ended badly or took too long; the text is its last words."""


async def run_program(argv: Sequence[str], *, deadline: timedelta, take: Callable[[str], None] = lambda _: None) -> None:
    """Run to the end, handing over what it says (both outputs) as it comes. Killed at the deadline, or when the caller gives up."""
    kept: list[str] = []

    def keep(text: str) -> None:
        kept.append(text)
        take(text)

    try:
        with anyio.fail_after(deadline.total_seconds()):
            code = await _run(argv, keep)
    except TimeoutError as error:
        msg = f"{argv[0]} did not finish within {deadline}. " + _last_lines(kept)
        raise ProgramFailed(msg) from error
    except FileNotFoundError as error:
        msg = f"{argv[0]} is not installed on this machine."
        raise ProgramFailed(msg) from error
    if code != 0:
        raise ProgramFailed(_last_lines(kept) or f"{argv[0]} failed with exit status {code}.")


async def _run(argv: Sequence[str], take: Callable[[str], None]) -> int:
    # As an async context, the process is killed and reaped on every way out.
    async with await anyio.open_process(argv, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout
            async for text in TextReceiveStream(process.stdout, errors="replace"):
                take(text)
            return await process.wait()
        except BaseException:
            process.kill()
            raise


def _last_lines(kept: Sequence[str]) -> str:
    return "\n".join("".join(kept).strip().splitlines()[-_KEPT_LINES:])
