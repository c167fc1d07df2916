"""One engine with one app, and a browser that looks at it. Without Chromium there is nothing to look with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import modal
import pytest
from conformance.conftest import HOME, SETTINGS
from conformance.engine import Engine

playwright = pytest.importorskip("playwright.sync_api")

APPS = Path(__file__).parent / "apps"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = Path(os.environ["SCREENSHOTS"]).absolute() if os.environ.get("SCREENSHOTS") else None
AXE = (Path(__file__).parent / "axe.min.js").read_text()
WAIT_MS = 30_000
# What stays in view while one scrolls would be in the middle of a picture of it all.
UNSTUCK = "() => { const top = document.querySelector('.top'); if (top) top.style.position = 'static'; }"

PRICES = 'currency = "EUR"\n[per_second]\ncpu_core = 0.02\nmemory_gib = 0.002\n[per_second.gpu]\nT4 = 0.1\n'

T = TypeVar("T")


def away(work: Callable[[], T]) -> T:
    """Where no loop runs: the browser's driver has one in this thread, which modal's own would wait for."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(120)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def site() -> Iterator[Engine]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: `make browser` installs it.")
    if os.geteuid() != 0:
        pytest.skip("Containers need root: run `sudo make browser`.")
    engine = Engine(HOME, SETTINGS)
    engine.start()
    try:
        with pytest.MonkeyPatch.context() as environment, priced(engine):
            for name, value in engine.credentials.items():
                environment.setenv(name, value)
            _deploy(engine, "1")
            _deploy(engine, "2")
            _traffic()
            yield engine
            engine.modal("app", "stop", "shop", "--yes")
    finally:
        engine.stop()


@contextmanager
def priced(engine: Engine) -> Iterator[None]:
    file = engine.home / "prices.toml"
    kept = file.read_text()
    file.write_text(PRICES)
    try:
        yield
    finally:
        file.write_text(kept)


def _deploy(engine: Engine, version: str) -> None:
    env = {**engine.client_environment, "SHOP_VERSION": version}
    engine.modal("deploy", APPS / "shop.py", within=600, env=env).succeeded()


def _traffic() -> None:
    script = """
import modal
price = modal.Function.from_name("shop", "price")
assert price.remote("apple", count=3) > 0
list(price.map(["fig", "pear"]))
assert modal.Cls.from_name("shop", "Counter")(start=5).after.remote(2) == 7
try:
    modal.Function.from_name("shop", "order").remote("plums")
except ValueError:
    pass
call = modal.Function.from_name("shop", "order").spawn("pears")
try:
    call.get(timeout=60)
except ValueError:
    pass
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=180, env=dict(os.environ))


@pytest.fixture(scope="session")
def chromium(site: Engine) -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def visitor(site: Engine, chromium: "playwright.Browser") -> Iterator["playwright.BrowserContext"]:
    """Someone who came in by the link that `freehold dashboard` prints."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light", base_url=site.gateway_url)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(site.freehold("dashboard").succeeded().output.strip())
    page.wait_for_url("**/dash/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(visitor: "playwright.BrowserContext") -> Iterator["playwright.Page"]:
    page = visitor.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None)
    yield page
    assert page.evaluate("window.owned") is None
    page.close()
    assert not faults


@pytest.fixture(scope="session")
def app_id(site: Engine) -> str:
    return str(away(lambda: modal.App.lookup("shop").app_id))


def shot(page, name, *, full=True):
    if SHOTS is not None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.evaluate(UNSTUCK)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=full)


def serious(page):
    """What axe finds that would keep someone out. Evaluated, not loaded: the pages allow no other script."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")]
