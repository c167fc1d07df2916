"""Processes that are no children of ours: their ends are seen, and told as far as the kernel does."""

import platform
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import anyio
import pytest
from fakes.worker import DEADLINE

from freehold.worker.processes import Process, mark_of

KEEPS_EXIT_CODES = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 15)


@contextmanager
def a_grandchild(ending="exec sleep 100", *, is_reaped):
    """A process whose parent is another than this one; the pid. With a parent that reaps, or one that does not yet."""
    then = "wait $!; exec sleep 100" if is_reaped else "exec sleep 100"
    parent = subprocess.Popen(["sh", "-c", f"sh -c '{ending}' & echo $!; {then}"], stdout=subprocess.PIPE, text=True)
    try:
        yield int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate()


async def gone(pid):
    with anyio.fail_after(DEADLINE):
        while await anyio.Path(f"/proc/{pid}").exists():  # noqa: ASYNC110 — the kernel tells nobody about this
            await anyio.sleep(0.01)


class TestAnothersChild:
    @pytest.mark.parametrize(("ending", "code"), [("sleep 0.3; exit 7", 7), ("sleep 0.3; kill -TERM $$", 143)])
    async def test_how_it_ended_is_told_before_its_parent_knows(self, ending, code):
        with a_grandchild(ending, is_reaped=False) as pid:
            process = Process.find(mark_of(pid))

            with anyio.fail_after(DEADLINE):
                assert await process.wait() == code
                assert await process.wait() == code

    async def test_how_it_ended_is_told_afterwards_where_the_kernel_remembers(self):
        with a_grandchild(is_reaped=True) as pid:
            process = Process.find(mark_of(pid))
            process.signal(signal.SIGTERM)
            await gone(pid)

            process.signal(signal.SIGKILL)  # nobody is there any more

            with anyio.fail_after(DEADLINE):
                assert await process.wait() == (143 if KEEPS_EXIT_CODES else None)


class TestMark:
    async def test_a_pid_that_was_used_again_is_another_process(self):
        with a_grandchild(is_reaped=True) as pid:
            mark = mark_of(pid)

            assert Process.find(replace(mark, started=mark.started - 1)) is None
            assert Process.find(replace(mark, boot="before")) is None
            found = Process.find(mark)
            found.signal(signal.SIGKILL)
            await found.wait()

    async def test_one_that_has_ended_is_not_found(self):
        with a_grandchild(is_reaped=False) as pid:
            mark, process = mark_of(pid), Process.find(mark_of(pid))
            process.signal(signal.SIGKILL)
            await process.wait()

            assert Process.find(mark) is None, "its parent has not reaped it, but it has ended"
            assert mark_of(pid) is None

    def test_nobody_has_no_mark(self):
        assert mark_of(2**22 + 1) is None
