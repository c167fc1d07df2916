"""A terminal in the page of a container, with a real shell in a real container."""

import re

import modal
import pytest
from conformance.engine import Engine
from conformance.waiting import eventually
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from browser.conftest import away, serious, shot

SCREEN = ".terminal-place .xterm-rows"
LONG = 60_000


@pytest.fixture(scope="module")
def container(app_id: str, site: Engine) -> str:
    """The id of one that stays."""
    call = away(lambda: modal.Function.from_name("shop", "ticks").spawn(100_000))

    def running() -> str:
        answer = site.freehold("why", call.object_id, "--json").output
        found = re.search(r"ta-\w{22}", answer)
        return found[0] if found else ""

    return eventually(running, within=60, what="A container of the call")


def wait_for_shell(page) -> None:
    """Until it asks for a command. What is out of view is not drawn, and what is above it may still grow."""

    def asks() -> bool:
        page.locator(".terminal-place").scroll_into_view_if_needed()
        return "#" in screen(page)

    eventually(asks, within=LONG / 1000, what="A shell that asks")


@pytest.fixture
def terminal(page, container):
    page.goto(f"/dash/containers/{container}")
    page.get_by_role("button", name="Open terminal").click()
    wait_for_shell(page)
    return page


def screen(page) -> str:
    return "\n".join(page.locator(f"{SCREEN} > div").all_inner_texts()).replace("\xa0", " ")


def run(page, line: str, shown: str) -> None:
    page.keyboard.type(line)
    page.keyboard.press("Enter")
    eventually(lambda: re.search(shown, screen(page), re.MULTILINE), within=LONG / 1000, what=shown)


def test_what_is_typed_is_done_in_the_container_and_its_output_is_only_drawn(terminal, container, site):
    page = terminal
    run(page, "echo $((6*7)) && echo $0; pwd", r"^42\s+/bin/bash\s+/root")
    evil = "<img src=x onerror=window.owned=1>"
    run(page, f"printf '\\033[38;2;10;160;90m{evil}\\033[0m\\n'", re.escape(evil))
    page.locator(f"{SCREEN} span[style*='color']", has_text="<img").first.wait_for()
    assert page.locator(".terminal-place img").count() == 0
    run(page, "clear", r"\Aroot@\S+\s*\Z")
    run(page, "python --version", "^Python 3")
    run(page, "ls --color=always /", "usr")
    assert serious(page) == []
    page.locator("#terminal").scroll_into_view_if_needed()
    shot(page, "terminal", full=False)
    [event] = [one for one in site.story(container)["events"] if one["kind"] == "exec_started"][-1:]
    assert event["cause"].startswith("the owner, in the dashboard")


def test_control_c_interrupts_and_its_size_follows_the_window(terminal):
    page = terminal
    run(page, "echo begun; sleep 1000", "^begun")
    page.keyboard.press("Control+c")
    run(page, "echo status $?", r"^status 130")
    run(page, "clear; echo again; sleep 1000", "^again")
    page.locator(".terminal-keys button", has_text="Ctrl+C").evaluate("key => key.click()")  # shown where fingers are used
    run(page, "echo status $?", r"^status 130")
    before = screen(page).count("\n")
    page.set_viewport_size({"width": 700, "height": 900})
    columns = eventually(
        lambda: page.evaluate("document.querySelector('.xterm-screen').clientWidth < 660"), within=30, what="A smaller one"
    )
    assert columns
    page.keyboard.type("clear; stty size\n")
    found = eventually(lambda: re.search(r"^(\d+) (\d+)$", screen(page), re.MULTILINE), within=30, what="Its size")
    assert int(found[1]) == before + 1
    assert 40 < int(found[2]) < 100


def test_keys_lead_in_and_out_again(terminal):
    page = terminal
    assert page.evaluate("document.activeElement.classList.contains('xterm-helper-textarea')")
    page.keyboard.press("Control+.")
    assert page.evaluate("document.activeElement.textContent") == "Close"
    page.get_by_label("For a screen reader").check()
    page.locator(".xterm-accessibility-tree").wait_for(state="attached")
    assert serious(page) == []
    page.get_by_label("For a screen reader").uncheck()
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.querySelector('.xterm-scrollable-element')).backgroundColor") == "rgb(14, 17, 15)"
    assert serious(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    page.locator("#terminal").scroll_into_view_if_needed()
    shot(page, "terminal-phone", full=False)
    page.locator("#theme").click()
    page.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.textContent") == "Open terminal"
    assert page.locator(".terminal-place .xterm").count() == 0


def test_a_flood_neither_stops_it_nor_keeps_control_c_out(terminal):
    page = terminal
    page.keyboard.type("yes | head -c 3000000; echo all done\n")
    run(page, "", "^all done")
    run(page, "yes flood", r"^flood\s+flood\s+flood")  # not what is on the screen already: it has to run when it is interrupted
    page.keyboard.press("Control+c")
    run(page, "echo still here", "^still here")


def test_it_ends_with_the_shell_and_with_the_container(terminal, container):
    page = terminal
    page.keyboard.type("exit 3\n")
    page.get_by_text("The shell has ended with status 3.").first.wait_for(timeout=LONG)
    page.get_by_role("button", name="Open terminal").click()
    wait_for_shell(page)
    page.locator("summary", has_text="Stop").click()
    page.evaluate(
        "fetch(document.querySelector('details.confirm form').action, {method: 'POST', body: new URLSearchParams({csrf: document.querySelector('[name=csrf]').value})})"
    )
    page.get_by_text("Its container has ended.").first.wait_for(timeout=LONG)


class TestRefusals:
    def opened(self, site, container, **headers):
        with connect(
            site.gateway_url.replace("http", "ws") + f"/dash/containers/{container}/terminal", additional_headers=headers, open_timeout=30
        ) as socket:
            return socket

    def test_without_a_login(self, site, container):
        with pytest.raises(InvalidStatus, match="401"):
            self.opened(site, container, Origin=site.gateway_url)

    @pytest.mark.parametrize("origin", ["https://example.com", "http://local--shop-api.localhost:8980", "null"])
    def test_from_a_page_of_another_site(self, site, container, visitor, origin):
        cookies = "; ".join(f"{one['name']}={one['value']}" for one in visitor.cookies())
        with pytest.raises(InvalidStatus, match="403"):
            self.opened(site, container, Origin=origin, Cookie=cookies)

    def test_without_the_word_of_the_page(self, site, container, visitor):
        cookies = "; ".join(f"{one['name']}={one['value']}" for one in visitor.cookies())
        address = site.gateway_url.replace("http", "ws") + f"/dash/containers/{container}/terminal"
        with connect(address, additional_headers={"Origin": site.gateway_url, "Cookie": cookies}, open_timeout=30) as socket:
            socket.send('{"csrf": "guessed", "rows": 24, "columns": 80}')
            assert "Load the page again" in str(socket.recv(timeout=30))
