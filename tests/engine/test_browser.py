"""The page as a person meets it: a real browser, through the proxy, from the login to the downloaded file."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.engine.browser import ADDRESS, ARTEFACTS, PATIENCE_MS, Visitor, barriers, chromium, colours
from tests.engine.stack import Stack

STEPS = 8
# Counts the ticks and the lines of the log whenever either changes, as an onlooker would.
WATCH = """() => {
  window.seen = { ticks: [], lines: [] };
  const look = () => {
    const now = { ticks: document.querySelectorAll("#checklist .done").length,
                  lines: document.querySelectorAll("#log li").length };
    for (const [what, count] of Object.entries(now))
      if (seen[what].at(-1) !== count) seen[what].push(count);
  };
  look();
  new MutationObserver(look).observe(document.querySelector(".grid"), {
    subtree: true, childList: true, attributes: true });
}"""

# Milliseconds from the click to a page that reacts, and to the last thing it fetched; what kept it waiting longest.
TIMINGS = """() => {
  const fetched = performance.getEntriesByType("resource").map((each) => [each.name, each.responseEnd, each.duration]);
  fetched.sort((a, b) => b[2] - a[2]);
  return { interactive: performance.getEntriesByType("navigation")[0].domInteractive,
           complete: Math.max(...fetched.map((each) => each[1])), slowest: fetched.slice(0, 3) };
}"""
# Resolves once the ticks went down and came back to all (a promise: the site's policy forbids eval in the page).
TICKED_AGAIN = """([steps, patience]) => new Promise((resolve, reject) => {
  const look = () => seen.ticks.some((ticks) => ticks < steps) && seen.ticks.at(-1) === steps && resolve();
  setInterval(look, 50);
  setTimeout(() => reject(new Error(`the ticks were ${seen.ticks}, the lines ${seen.lines}`)), patience);
})"""


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Iterator[Browser]:
    with chromium(stack) as started:
        yield started


@pytest.fixture(scope="module")
def visitor(stack: Stack, browser: Browser) -> Visitor:
    """Somebody who is logged in."""
    made = Visitor(browser.new_context(viewport={"width": 1280, "height": 900}))
    made.log_in("admin@example.org", stack.secret("admin_password"))
    return made


@pytest.fixture(scope="module")
def run_page(visitor: Visitor) -> Page:
    """The page of a run that was created, started and watched to its end."""
    page = visitor.create_run("In a browser")
    expect(page.locator("#log-state")).to_have_text("live")
    expect(page.locator("#checklist-state")).to_have_text("live")
    visitor.picture("run-new")
    page.evaluate(WATCH)
    start_and_wait(page)
    return page


@pytest.fixture(autouse=True)
def _nothing_went_wrong(visitor: Visitor) -> Iterator[None]:
    yield
    found, visitor.problems[:] = list(visitor.problems), []
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def start_and_wait(page: Page) -> None:
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_have_text("finished", timeout=PATIENCE_MS)
    expect(page.locator("#checklist .done")).to_have_count(STEPS)


def test_a_login_sticks_over_plain_http(visitor: Visitor, run_page: Page) -> None:
    (cookie,) = [each for each in visitor.context.cookies() if each["name"] == "session"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, False, "Lax")
    run_page.reload()
    expect(run_page.get_by_role("button", name="Log out")).to_be_visible()


def test_log_and_checklist_move_while_the_worker_works(run_page: Page) -> None:
    page = run_page
    page.reload()
    create = page.context.new_page()
    create.goto(page.url.split("/runs/")[0] + "/")
    create.get_by_label("Name of a new run").fill("Watched")
    create.get_by_role("button", name="Create a run").click()
    expect(create.locator("#checklist-state")).to_have_text("live")
    expect(create.locator("#log-state")).to_have_text("live")
    create.evaluate(WATCH)
    start_and_wait(create)
    expect(create.locator("#log")).to_contain_text("run_project COMPLETED")
    seen: dict[str, list[int]] = create.evaluate("seen")
    assert (seen["ticks"][0], seen["ticks"][-1]) == (0, STEPS)
    assert len(seen["ticks"]) >= 4, seen
    assert seen["ticks"] == sorted(seen["ticks"])
    assert len(seen["lines"]) >= 5, seen
    create.close()


def test_the_map_shows_the_relief_and_the_channels(visitor: Visitor, run_page: Page) -> None:
    expect(run_page.locator("#map .channel").first).to_be_attached()
    run_page.get_by_label("Relief alone").check()
    run_page.locator("#map img").first.evaluate("(image) => image.decode()")
    drawn = colours(run_page.locator("#map"))
    visitor.picture("run-finished")
    assert drawn["greys"] > 100, drawn
    assert drawn["blue"] > 0.005 * drawn["pixels"], drawn


def test_the_results_stand_first_with_units_and_say_that_they_are_a_sample(run_page: Page) -> None:
    results = run_page.locator("#results")
    expect(results).to_contain_text("A sample, not the WEPP model")
    for unit in ("t/(ha yr)", "mm/yr", "m³/s"):
        expect(results.locator("#figures")).to_contain_text(unit)
    below = run_page.locator("div.grid").bounding_box()
    above = results.bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] <= below["y"]
    results.get_by_text("Water balance and methods").click()
    expect(results).to_contain_text("MUSLE, Williams (1975)")
    depths = [float(text) for text in results.locator("#balance td").all_inner_texts()]
    assert sum(depths[1:]) == pytest.approx(depths[0], abs=3)  # each is rounded to a millimetre
    expect(run_page.locator("#notify")).to_be_hidden()  # a run that is over has nothing to tell


def test_each_layer_of_the_map_has_its_legend_also_by_keyboard(visitor: Visitor, run_page: Page) -> None:
    legend = run_page.locator("#legend")
    run_page.get_by_label("Soil loss").check()
    run_page.get_by_label("Soil loss").focus()
    expect(legend).to_contain_text("Soil loss, t/(ha yr)")
    assert run_page.locator("#map path.leaflet-interactive").count() > 100
    for title, content in (
        ("Runoff", "mm/yr"),
        ("Discharge", "m³/s"),
        ("Land cover", "evergreen forest"),
        ("Elevation", " m"),
    ):
        run_page.keyboard.press("ArrowRight")
        expect(run_page.get_by_label(title)).to_be_checked()
        expect(legend).to_contain_text(content)
        visitor.picture(f"layer-{title.replace(' ', '-').lower()}")
    expect(run_page.locator("#map img.codes")).to_have_js_property("complete", True)
    expect(run_page.locator(".leaflet-control-scale")).to_contain_text("km")


def test_the_map_tells_where_the_pointer_is_and_zooms_by_keyboard(run_page: Page) -> None:
    run_page.locator("#map").hover(position={"x": 200, "y": 150})
    expect(run_page.locator("#coordinates")).to_have_text(re.compile(r"^46\.\d{5}° N, 116\.\d{5}° W$"))
    before = run_page.locator(".leaflet-control-scale").inner_text()
    run_page.locator("#map").focus()
    run_page.keyboard.press("+")
    expect(run_page.locator(".leaflet-control-scale")).not_to_have_text(before)
    run_page.keyboard.press("-")
    expect(run_page.locator(".leaflet-control-scale")).to_have_text(before)


def test_the_table_of_subcatchments_sorts_and_leads_to_the_map(run_page: Page) -> None:
    table = run_page.locator("#subcatchments")
    expect(table.locator("tbody tr")).not_to_have_count(0)
    heading = run_page.get_by_role("button", name="Soil loss")
    for order, descending in (("descending", True), ("ascending", False)):
        heading.click()
        expect(table.locator("th", has=heading)).to_have_attribute("aria-sort", order)
        shown = [float(text) for text in table.locator("td:nth-child(3)").all_inner_texts()]
        assert shown == sorted(shown, reverse=descending)
    table.locator("tbody tr button").last.click()
    expect(run_page.locator("#map path.chosen")).to_be_attached()
    run_page.reload()
    expect(run_page.locator("#map .channel").first).to_be_attached()


def test_a_click_on_the_map_tells_elevation_and_climate(stack: Stack, run_page: Page) -> None:
    run_page.locator("#map").click(position={"x": 200, "y": 150})
    answer = run_page.locator("#answer")
    expect(answer).to_have_text(re.compile(r"^[\d.]+ m at [\d.-]+, [\d.-]+$"))
    elevation, latitude, longitude = map(float, re.findall(r"-?[\d.]+", answer.inner_text()))
    path = run_page.url.partition(ADDRESS)[2]
    told = stack.get(f"{path}elevationquery?lat={latitude}&lng={longitude}").content["Elevation"]
    assert abs(elevation - told) < 10  # the place is shown to a metre, the ground is steep
    expect(run_page.locator("#climate rect.rain")).to_have_count(12)
    run_page.get_by_text("The numbers").click()
    shown = run_page.locator("#climate tbody tr td:nth-child(2)").all_inner_texts()
    query = f"lat={latitude}&lng={longitude}&dataset=daymet/monthly/ppt&method=bilinear"
    rain = stack.get(f"/webservices/metquery/monthly?{query}").content["MonthlyValues"]
    assert [float(value) for value in shown] == pytest.approx(rain, abs=0.2)


def test_typed_coordinates_do_the_same_without_a_mouse(run_page: Page) -> None:
    run_page.locator("#answer").evaluate("(element) => (element.textContent = '')")
    run_page.get_by_label("Longitude").focus()
    run_page.keyboard.press("Enter")
    expect(run_page.locator("#answer")).to_contain_text(" m at ")


def test_all_files_of_a_run_come_as_one_archive(run_page: Page) -> None:
    runid = run_page.locator("#run").get_attribute("data-runid")
    with run_page.expect_download() as waiting:
        run_page.get_by_role("link", name="all as ZIP").click()
    target = ARTEFACTS / "run.zip"
    waiting.value.save_as(target)
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    target.unlink()
    assert {
        f"{runid}/{name}" for name in ("report.json", "map/subcatchments.geojson", "dem/dem.tif")
    } <= names


def test_a_downloaded_file_has_the_workers_bytes(stack: Stack, visitor: Visitor, run_page: Page) -> None:
    runid = run_page.locator("#run").get_attribute("data-runid")
    assert runid
    run_page.get_by_role("link", name="dem/").click()
    visitor.picture("files")
    run_page.get_by_role("link", name="dem.tif").first.click()
    visitor.picture("file")
    with run_page.expect_download() as waiting:
        run_page.get_by_role("link", name=re.compile("download", re.IGNORECASE)).first.click()
    target = ARTEFACTS / "dem.tif"
    waiting.value.save_as(target)
    file = f"/wc1/runs/{runid[:2]}/{runid}/dem/dem.tif"
    worker = stack.compose("exec", "-T", "rq-worker", "sha256sum", file).stdout.split()[0]
    assert hashlib.sha256(target.read_bytes()).hexdigest() == worker
    target.unlink()


def test_the_list_of_runs_leads_back_to_the_run(visitor: Visitor, run_page: Page) -> None:
    page = visitor.go("/weppcloud/")
    row = page.get_by_role("row").filter(has_text="In a browser").first
    expect(row).to_contain_text("finished")
    visitor.picture("runs")
    row.get_by_role("link", name="In a browser", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("In a browser")
    expect(page.locator("#checklist .done")).to_have_count(STEPS)
    expect(page.locator("#log li").last).to_contain_text("run_project COMPLETED")


def test_runs_are_searched_compared_renamed_and_deleted_in_the_list(visitor: Visitor, run_page: Page) -> None:
    visitor.create_run("To be thrown away")
    page = visitor.go("/weppcloud/")
    expect(page.locator("table.runs time").first).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d \w+"))
    compare = page.get_by_role("button", name="Compare two chosen runs")
    expect(compare).to_be_disabled()
    for name in ("Compare In a browser", "Compare To be thrown away"):
        page.get_by_label(name).first.check()
    compare.click()
    row = page.get_by_role("row").filter(has_text="Soil loss of the watershed")
    expect(row).to_contain_text("t/yr")
    expect(row).to_contain_text("\u2013")  # the second run was not computed
    visitor.picture("compare")
    assert barriers(page) == []
    page.go_back()
    page.get_by_label("Search by name").fill("thrown")
    page.keyboard.press("Enter")
    expect(page.locator("table.runs tbody tr")).to_have_count(1)
    expect(page.locator("table.runs tbody tr")).to_contain_text("you")
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("New name").fill("Renamed")
    page.get_by_role("button", name="Rename").click()
    row = page.get_by_role("row").filter(has_text="Renamed")
    row.locator("summary").click()
    row.get_by_label("delete it with all its files").check()
    row.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("row").filter(has_text="Renamed")).to_have_count(0)
    page.get_by_role("link", name="In a browser", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("In a browser")


def test_the_first_tab_leads_past_the_header(run_page: Page) -> None:
    run_page.reload()
    run_page.keyboard.press("Tab")
    expect(run_page.get_by_role("link", name="Skip to the content")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desk", "phone"])
def test_pages_can_be_read_and_used_by_everybody(
    visitor: Visitor, browser: Browser, run_page: Page, scheme: Any, device: str
) -> None:
    size = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    options: dict[str, Any] = size if device == "phone" else {}
    other = Visitor(browser.new_context(color_scheme=scheme, **options))
    for name, path in (
        ("run", run_page.url.partition(ADDRESS)[2]),
        ("runs", "/weppcloud/"),
        ("login", "/weppcloud/login"),
    ):
        page = other.go(path)
        if name == "run":
            expect(page.locator("#climate rect.rain")).to_have_count(12)
            expect(page.locator("#map .channel").first).to_be_attached()
            expect(page.locator("#checklist .done")).to_have_count(STEPS)
            if device == "phone":
                page.locator("#map").tap()
                expect(page.locator("#answer")).to_contain_text(" m at ")
        other.picture(f"{name}-{device}-{scheme}")
        assert barriers(page) == [], name
    other.context.close()
    assert other.problems == []


def test_how_soon_the_pages_are_usable_is_written_down(visitor: Visitor, run_page: Page) -> None:
    """Recorded, not asserted: the machine may be busy. `.docker-data/screenshots/timings.json` has the figures."""
    path = run_page.url.partition(ADDRESS)[2]
    timings = {}
    for name, address in (("runs", "/weppcloud/"), ("run", path)):
        page = visitor.go(address)
        if name == "run":
            page.locator("#map img").first.evaluate("(image) => image.decode()")
            expect(page.locator("#climate rect.rain")).to_have_count(12)
        timings[name] = page.evaluate(TIMINGS)
    (ARTEFACTS / "timings.json").write_text(json.dumps(timings, indent=1))
    assert all(each["interactive"] > 0 and each["slowest"] for each in timings.values())


@pytest.mark.parametrize("services", [("status", "preflight"), ("redis",)])
def test_an_open_page_recovers_by_itself(
    stack: Stack, visitor: Visitor, browser: Browser, attached: bool, services: tuple[str, ...]
) -> None:
    """Restarted in the middle of a run: the page ends with the same log, ticks and state as if nothing had been."""
    if attached:
        pytest.skip("the services of somebody's own stack are not restarted")
    visitor.page.goto("about:blank")  # its own page would report the restart too
    other = Visitor(browser.new_context(storage_state=visitor.context.storage_state()))
    page = other.create_run(f"Through a restart of {' and '.join(services)}")
    expect(page.locator("#log-state")).to_have_text("live")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#log li").first).to_be_attached(timeout=PATIENCE_MS)
    stack.compose("restart", *services)
    expect(page.locator("#state")).to_have_text("finished", timeout=PATIENCE_MS)
    expect(page.locator("#checklist .done")).to_have_count(STEPS, timeout=PATIENCE_MS)
    expect(page.locator("#log")).to_contain_text("run_project COMPLETED", timeout=PATIENCE_MS)
    for state in ("#log-state", "#checklist-state"):
        expect(page.locator(state)).to_have_text("live", timeout=PATIENCE_MS)
    # And the page still follows: a second run of the same page unticks and ticks again.
    page.evaluate(WATCH)
    page.get_by_role("button", name="Run again").click()
    page.evaluate(TICKED_AGAIN, [STEPS, PATIENCE_MS])
    expect(page.locator("#state")).to_have_text("finished", timeout=PATIENCE_MS)
    # A browser reports every connection that is refused; nothing else may go wrong.
    assert [each for each in other.problems if "WebSocket" not in each and "Failed to load" not in each] == []
    other.context.close()
