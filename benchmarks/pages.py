"""What open pages cost the engine, and how old what they show is: one and 200, while what they show changes all the time.

200 people may look at the same few pages, or each at another one; with 200 others, each has to wait longer, and all cost as much.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlencode

import modal
import psutil
from engine import Engine
from figures import Figure

from freehold.cli.access import access
from freehold.cli.engine import find

_PAGES = 200
_SETTLED, _SECONDS = 8.0, 30.0
_PAUSE = 0.2  # seconds between two calls, so that a look once a second always sees a change
_GOAL = 5.0  # percent of one core
_READERS = Path(__file__).parent / "readers.py"

Page = tuple[str, str]  # its path, and what it watches


def figures(engine: Engine) -> dict[str, Figure]:
    """What the engine takes with the pages open, less what it takes without."""
    function = modal.Function.from_name("bench-trivial", "add")
    function.remote(1)
    same = _some_pages(function.object_id)
    different = [(f"{path}?page={number}", watch) for number, (path, watch) in enumerate(same)]
    measured = _of("pages_idle", engine, same)
    with _calls(function):
        measured |= _of("page_alone", engine, same[:1])
        measured |= _of("pages_same", engine, same)
        measured |= _of("pages_different", engine, different)
    return measured


def _of(name: str, engine: Engine, pages: Sequence[Page]) -> dict[str, Figure]:
    without, _ = _cost(engine, [])
    percent, age = _cost(engine, pages)
    measured = {f"{name}_percent": Figure(percent - without, "% of a core", _GOAL, "goal")}
    return measured if name == "pages_idle" else measured | {f"{name}_age_s": Figure(age, "s")}


def _some_pages(function_id: str) -> list[Page]:
    app_id = modal.App.lookup("bench-trivial").app_id
    kinds = [
        ("/dash/", "all"),
        ("/dash/calls", "all"),
        ("/dash/containers", "all"),
        (f"/dash/apps/{app_id}", app_id),
        (f"/dash/functions/{function_id}", function_id),
    ]
    return list(islice(cycle(kinds), _PAGES))


def _cost(engine: Engine, pages: Sequence[Page]) -> tuple[float, float]:
    """Percent of one core that the engine takes while these are open, and how old what the middle one shows is on average, in seconds."""
    with _opened(engine, pages) as readers:
        time.sleep(_SETTLED)
        _asked(readers)
        before, began = _cpu(engine), time.monotonic()
        time.sleep(_SECONDS)
        percent = 100 * (_cpu(engine) - before) / (time.monotonic() - began)
        seen = _asked(readers)
    return percent, seen["age"]


@contextmanager
def _opened(engine: Engine, pages: Sequence[Page]) -> Iterator["subprocess.Popen[str]"]:
    arguments = json.dumps([engine.gateway, f"Cookie: {_cookie(engine)}", list(pages)])
    with subprocess.Popen([sys.executable, _READERS, arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as readers:
        assert readers.stdout is not None
        if readers.stdout.readline() != "open\n":
            sys.exit("The pages could not be opened.")
        yield readers
        readers.kill()


def _asked(readers: "subprocess.Popen[str]") -> dict[str, float]:
    assert readers.stdin is not None
    assert readers.stdout is not None
    readers.stdin.write("\n")
    readers.stdin.flush()
    return json.loads(readers.stdout.readline())


def _cookie(engine: Engine) -> str:
    """Of a login with the workspace's token."""
    token = access(engine.settings)
    origin = "http://{}:{}".format(*engine.gateway)
    fields = urlencode({"token_id": token["token_id"], "token_secret": token["token_secret"]})
    connection = HTTPConnection(*engine.gateway, timeout=20)
    connection.request("POST", "/dash/login", fields, {"Origin": origin})
    return str(connection.getresponse().headers["Set-Cookie"]).partition(";")[0]


def _cpu(engine: Engine) -> float:
    """Seconds that the engine's process has had, of user and system."""
    running = find(engine.settings.root)
    if running is None:
        sys.exit("The engine has ended.")
    return sum(times.user + times.system for times in (child.cpu_times() for child in psutil.Process(running.pid).children()))


@contextmanager
def _calls(function: modal.Function) -> Iterator[None]:
    """Some calls a second, as long as the block lasts."""
    is_over = threading.Event()

    def call() -> None:
        while not is_over.wait(_PAUSE):
            function.remote(1)

    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield
    finally:
        is_over.set()
        calling.join()
