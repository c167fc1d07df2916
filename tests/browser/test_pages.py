"""The pages in a real browser, with what real containers did: each is there, usable, safe, and keeps up by itself."""

import re
from collections import Counter
from html import unescape
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import modal
import pytest
from conformance.waiting import eventually
from modal_proto import api_pb2

from browser.conftest import away, serious, shot

LISTS = ["", "calls", "containers", "images", "schedules", "secrets", "volumes", "machines", "settings"]


def function_page(page, app_id, name):
    page.goto(f"/dash/apps/{app_id}")
    page.get_by_role("link", name=name, exact=True).first.click()
    page.wait_for_url("**/functions/**")


def log_in(page, token_id, secret):
    page.get_by_label("Token id").fill(token_id)
    page.get_by_label("Token secret").fill(secret)
    page.get_by_role("button", name="Log in").click()


class TestLogin:
    def test_a_wrong_token_is_refused_and_the_right_one_leads_back(self, site, chromium, app_id):
        context = chromium.new_context(base_url=site.gateway_url)
        page = context.new_page()
        page.goto(f"/id/{app_id}")
        assert "/dash/login" in page.url
        assert serious(page) == []
        shot(page, "login", full=False)
        log_in(page, "ak-wrong", "as-wrong")
        assert page.get_by_role("alert").is_visible()
        page.goto(f"/id/{app_id}")
        log_in(page, site.credentials["MODAL_TOKEN_ID"], site.credentials["MODAL_TOKEN_SECRET"])
        page.wait_for_url(f"**/apps/{app_id}")
        assert "freehold_session" not in page.evaluate("document.cookie")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto("/dash/calls")
        assert "/dash/login" in page.url
        context.close()

    def test_programs_without_a_token_get_nothing(self, site):
        for path in ("/dash/calls", "/dash/stream"):
            with pytest.raises(HTTPError, match="401"):
                urlopen(site.gateway_url + path, timeout=10)


@pytest.mark.parametrize("path", LISTS)
def test_each_list_is_there_and_no_serious_fault_keeps_anyone_out(page, path):
    answer = page.goto(f"/dash/{path}")
    assert answer.status == 200
    assert serious(page) == []
    shot(page, path or "apps", full=False)


def test_every_link_of_every_page_leads_somewhere(site):
    """Five of each kind of page."""
    token = ":".join((site.credentials["MODAL_TOKEN_ID"], site.credentials["MODAL_TOKEN_SECRET"]))
    seen: dict[str, int] = {}
    found, kinds = ["/dash/"], Counter()
    while found:
        path = found.pop()
        kind = re.sub(r"/[a-z]{2}-\w{22}|=.*", "/…", path.partition("#")[0])
        if path in seen or kinds[kind] == 5:
            continue
        kinds[kind] += 1
        with urlopen(
            Request(site.gateway_url + path, headers={"Authorization": f"Bearer {token}", "Accept": "text/html"}), timeout=30
        ) as page:
            seen[path] = page.status
            found += [unescape(link) for link in re.findall(r'href="(/(?:dash|id)/[^"]*)"', page.read().decode()) if "/static/" not in link]
    assert set(seen.values()) == {200}
    assert {"/dash/apps/…", "/dash/functions/…", "/dash/calls/…", "/dash/containers/…", "/dash/images/…", "/dash/volumes/…"} <= set(kinds)


def test_a_failed_call_is_at_most_three_clicks_from_its_traceback_and_log(page):
    page.goto("/dash/")
    page.locator("section", has_text="What failed last").locator("tbody a").first.click()
    page.wait_for_url("**/calls/**")
    assert "ValueError: no p" in page.locator(".traceback").inner_text()
    assert "checking the stock of p" in page.locator("#log").inner_text()
    assert "Where the time went" in page.content()
    assert serious(page) == []
    shot(page, "call")


def test_output_that_looks_like_markup_stays_text(page, app_id):
    page.goto(f"/dash/apps/{app_id}")
    assert "<img src=x onerror=" in page.locator("#log").inner_text()
    assert page.locator("#log img, #log script").count() == 0
    page.goto("/dash/")
    page.locator("section", has_text="What failed last").locator("tbody a").first.click()
    assert "<script>window.owned" in page.locator(".traceback").inner_text()
    assert page.locator("main script").count() == 0


def test_a_name_that_looks_like_markup_stays_text(page, site):
    name = "<script>window.owned='name'</script>"
    state = api_pb2.APP_STATE_EPHEMERAL
    app_id = site.call("AppCreate", api_pb2.AppCreateRequest(description=name, app_state=state)).app_id
    for path in ("/dash/", f"/dash/apps/{app_id}"):
        page.goto(path)
        assert name in page.locator("main").inner_text()
    site.call("AppStop", api_pb2.AppStopRequest(app_id=app_id))


def test_a_function_shows_its_figures_and_takes_other_settings(page, app_id, site):
    function_page(page, app_id, "price")
    page.locator(".uplot canvas").first.wait_for()
    assert page.locator(".chart").count() >= 5
    assert serious(page) == []
    shot(page, "function")
    page.get_by_label("scaledown_window").fill("45")
    page.get_by_role("button", name="Change").click()
    page.wait_for_load_state()
    assert page.get_by_label("scaledown_window").input_value() == "45"
    function_id = page.url.rpartition("/")[2]
    [event] = [one for one in site.story(function_id)["events"] if one["kind"] == "autoscaler_changed"]
    assert event["cause"].startswith("the owner, in the dashboard")
    page.get_by_label("min_containers").fill("1000000")
    page.get_by_role("button", name="Change").click()
    assert "more than this machine takes" in page.get_by_role("alert").inner_text()


def test_lines_of_a_log_appear_as_they_are_written(page, app_id):
    page.goto(f"/dash/apps/{app_id}")
    away(lambda: modal.Function.from_name("shop", "ticks").spawn(10))
    page.locator("#log .line", has_text=re.compile("tick 9$")).wait_for()
    page.locator(".log-filter").fill("tick 3")
    assert set(page.locator("#log .line:visible .text").all_inner_texts()) == {"tick 3"}


def test_a_page_follows_what_happens_without_being_loaded_again(page, app_id):
    function_page(page, app_id, "ticks")
    page.evaluate("window.stays = true")
    field = page.get_by_label("min_containers")
    field.fill("7")
    page.locator("#live h1").click()
    place = page.evaluate("scrollY")
    call = away(lambda: modal.Function.from_name("shop", "ticks").spawn(1))
    page.get_by_role("link", name=call.object_id).wait_for()
    assert page.evaluate("window.stays")
    assert field.input_value() == "7", "what was typed is not written over"
    assert page.evaluate("scrollY") == place


def test_a_container_shows_its_start_its_curves_and_its_log(page, app_id):
    page.goto(f"/dash/apps/{app_id}")
    page.locator("section", has_text="Containers").locator("tbody a[href*='/containers/']").first.click()
    page.wait_for_url("**/containers/**")
    assert "Its start" in page.content()
    page.locator("#charts").wait_for()
    assert serious(page) == []
    shot(page, "container")


class TestCost:
    def test_an_app_tells_what_it_used_and_cost_today_and_by_function(self, page, app_id):
        def tiles():
            page.goto(f"/dash/apps/{app_id}")
            found = dict(zip(page.locator("#cost dt").all_inner_texts(), page.locator("#cost dd").all_inner_texts(), strict=True))
            return found if {"Today", "CPU"} <= found.keys() and not found["CPU"].startswith(("0.0", "<")) else None

        found = eventually(tiles, within=60, what="A container that was read")
        assert re.fullmatch(r"[\d,]+\.\d{4} EUR", found["Today"])
        assert float(found["Today"].removesuffix(" EUR").replace(",", "")) > 0
        assert found["Today"] == found["This month"] == found["Last 31 days"] or page.locator("#cost-days tbody tr").count() > 1
        page.locator("#cost .uplot canvas").wait_for()
        assert page.locator("#cost").get_by_role("link", name="shop.price").is_visible()
        assert serious(page) == []
        page.goto("/dash/")
        shot(page, "apps", full=False)
        assert re.search(r"All apps, stopped ones too: [\d,.]+ EUR today", page.locator("main").inner_text())

    def test_a_call_tells_what_it_used(self, page, app_id):
        call = away(lambda: modal.Function.from_name("shop", "burn").spawn(1.0))

        def tiles():
            page.goto(f"/dash/calls/{call.object_id}")
            found = page.locator(".tiles").all_inner_texts()
            return found[0] if found and not re.search(r"CPU\n(0\.0|<)", found[0]) else ""

        found = eventually(tiles, within=60, what="A call that was charged")
        assert re.search(r"Cost\n0\.0[0-9]{3} EUR", found)
        page.get_by_role("link", name="burn", exact=True).click()
        page.wait_for_url("**/functions/**")
        assert "EUR" in page.locator("#cost .tiles").inner_text()

    def test_settings_name_the_file_and_its_prices(self, page, site):
        page.goto("/dash/settings")
        prices = page.locator("#prices").inner_text()
        assert str(site.home / "prices.toml") in prices
        assert re.search(r"a core\s+0\.02\s+72", prices)

    def test_without_prices_it_is_said_how_to_set_them(self, page, site, app_id):
        file = site.home / "prices.toml"
        kept = file.read_text()
        try:
            file.write_text('currency = "EUR"\n')
            for path in ("/dash/", f"/dash/apps/{app_id}"):
                page.goto(path)
                assert f"Set prices in {file}" in page.locator("main").inner_text()
                assert "EUR" not in page.locator("main").inner_text()
        finally:
            file.write_text(kept)


def test_an_image_shows_its_steps_and_layers(page):
    page.goto("/dash/images")
    page.locator("tbody a").first.click()
    page.wait_for_url("**/images/**")
    assert "Layers" in page.content()
    assert serious(page) == []


def test_a_token_is_revoked_by_hand(page, site):
    site.freehold("tokens", "make", "--name", "lost laptop").succeeded()
    page.goto("/dash/tokens")
    row = page.locator("tr", has_text="lost laptop")
    row.locator("summary", has_text="Revoke").click()
    row.get_by_role("button", name="Revoke").click()
    page.locator(".story", has_text="token_revoked").wait_for()
    assert "lost laptop" not in page.locator("table").first.inner_text()
    assert serious(page) == []


def test_a_volume_shows_its_files(page):
    page.goto("/dash/volumes")
    page.get_by_role("link", name="shop-data").click()
    page.get_by_role("link", name="lists/").click()
    assert "prices & more.txt" in page.locator("main").inner_text()
    assert "5 B" in page.locator("main").inner_text()
    assert serious(page) == []


def test_links_of_the_client_lead_to_pages(page):
    counter = away(lambda: modal.Cls.from_name("shop", "Counter").hydrate())
    page.goto(f"/id/{counter.object_id}")
    assert page.get_by_role("heading", name="Counter", exact=True).is_visible()
    assert "start=5" in page.locator("section", has_text="Variants").inner_text()
    call = away(lambda: modal.Cls.from_name("shop", "Counter")(start=5).after.spawn(1))
    page.get_by_role("link", name=call.object_id).wait_for()
    page.locator("section", has_text="Calls").locator("a[href*='/calls/']").first.wait_for()
    volume = away(lambda: modal.Volume.from_name("shop-data").hydrate())
    page.goto(f"/id/{volume.object_id}")
    assert page.get_by_role("heading", name="shop-data").is_visible()


def test_a_schedule_is_run_paused_and_resumed_by_hand(page, site):
    page.goto("/dash/schedules")
    row = page.locator("tr", has_text="shop.report")
    row.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/calls/**")
    call_id = page.url.rpartition("/")[2]
    page.locator(".badge.ok", has_text="success").first.wait_for()
    assert "'sent'" in page.content() or "&#39;sent&#39;" in page.content()
    assert any("by hand" in event["cause"] for event in site.story(call_id)["events"])
    page.goto("/dash/schedules")
    page.locator("tr", has_text="shop.report").get_by_role("button", name="Pause").click()
    page.locator("tr", has_text="shop.report").get_by_role("button", name="Resume").click()
    assert page.locator("tr", has_text="shop.report").get_by_role("button", name="Pause").is_visible()


def test_a_web_function_is_tried_with_a_form_of_its_openapi_document(page, app_id):
    page.goto(f"/dash/apps/{app_id}")
    page.get_by_role("button", name="Try it").click()
    choice = page.get_by_label("Request")
    choice.wait_for()
    choice.select_option(label=next(text for text in choice.locator("option").all_inner_texts() if text.startswith("POST /price")))
    assert '"item": "apple"' in page.get_by_label("Body (JSON)").input_value()
    page.get_by_role("button", name="Send").click()
    page.locator(".try-answer .badge.ok").wait_for()
    assert '"total": 10' in page.locator(".try-answer pre").inner_text()
    assert serious(page) == []
    shot(page, "app")
    page.get_by_label("Body (JSON)").fill(f'"{"x" * 500}"')
    page.get_by_role("button", name="Send").click()
    page.locator(".try-answer .badge.bad").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")


def test_a_call_is_made_again(page):
    page.goto("/dash/")
    page.locator("section", has_text="What failed last").locator("tbody a").first.click()
    page.wait_for_url("**/calls/**")
    before = page.url
    page.get_by_role("button", name="Replay").click()
    page.wait_for_url(lambda url: "/calls/" in url and url != before)
    page.locator(".traceback").first.wait_for()


def test_an_earlier_version_comes_back_with_one_click(page, app_id, site):
    page.goto(f"/dash/apps/{app_id}")
    versions = page.locator(".versions")
    versions.locator("details summary").first.click()
    assert "timeout_secs" in versions.inner_text()
    versions.get_by_role("button", name="Roll back to v1").click()
    eventually(lambda: "rollback of v1" in page.locator(".versions").inner_text(), within=60, what="A new version")
    [event] = [one for one in site.story(app_id)["events"] if one["kind"] == "app_rolled_back"]
    assert event["cause"].startswith("the owner, in the dashboard")


def test_dark_and_small_it_is_as_usable(page, app_id):
    page.goto(f"/dash/apps/{app_id}")
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert serious(page) == []
    shot(page, "dark", full=False)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    assert serious(page) == []
    shot(page, "phone", full=False)
    page.goto("/dash/settings")
    assert serious(page) == []
    page.locator("#theme").click()


def test_keys_alone_lead_to_an_id(page, app_id):
    page.goto("/dash/")
    page.keyboard.press("/")
    page.keyboard.type(app_id)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/apps/{app_id}")
