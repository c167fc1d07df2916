"""`modal serve`: an app that follows the edits of its file."""

import asyncio
import re
import signal
import time
from collections.abc import Callable

import aiohttp

from conformance.deployment import versioned
from conformance.engine import Engine
from conformance.sites import browser
from conformance.waiting import Running


async def test_an_edit_is_live_and_the_end_of_the_command_ends_the_app(engine: Engine, tmp_path) -> None:
    script = versioned("serve.py", tmp_path, VERSION=1)
    async with browser() as site:
        with engine.start_modal("serve", script, cwd=tmp_path) as serving:
            url = _url(serving)
            assert await _answer(site, url) == "1"

            await _until(site, url, "2", edit=lambda: versioned("serve.py", tmp_path, VERSION=2))

            serving.interrupt(signal.SIGINT)
            serving.wait(within=60)
        async with site.get(url) as gone:
            assert gone.status == 404


def _url(serving: Running) -> str:
    serving.line("Serving...", within=300)
    found = re.search(r"https?://\S+-dev\S*", serving.output)
    assert found, f"No address that ends in -dev:\n{serving.output}"
    return found.group().rstrip(".,)")


async def _answer(site: aiohttp.ClientSession, url: str) -> str:
    async with site.get(url) as response:
        return await response.text()


async def _until(site: aiohttp.ClientSession, url: str, expected: str, *, edit: Callable[[], object], within: float = 60) -> None:
    """The reload is a new deployment from another process: nothing here can wait for it but asking.

    Nor does the command say when it begins to watch, and an edit before that is none to it: so the file is saved again now and then.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        edit()
        for _ in range(100):
            if (answer := await _answer(site, url)) == expected:
                return
            await asyncio.sleep(0.1)
    msg = f"After {within} s the answer is still {answer}."
    raise AssertionError(msg)
