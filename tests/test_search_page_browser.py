"""The page in a real browser: asked, looked through and taken from, with mouse, finger and keyboard.

Needs Chromium (Debian's `chromium`). Where there is none the tests are skipped, unless
DENSECAP_SEARCH_NEEDS_BROWSER is set, as .ci/run does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, Page, expect, sync_playwright

from helpers.page_world import PageServer, add_photos, draw, drawn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = os.environ.get("DENSECAP_SEARCH_NEEDS_BROWSER")
if not CHROMIUM and not NEEDED:
    pytest.skip("no Chromium here: `apt-get install chromium` has the page tested too", allow_module_level=True)

PATIENCE = 180_000  # milliseconds, for computers that are busy; nothing here waits for so long without need
expect.set_options(timeout=PATIENCE)

# Nothing of the browser's own on the network, and no sandbox where the tests run as root in a container.
ARGUMENTS = [
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-quic", "--no-first-run"),
]

PHOTOS = {
    "garden/dog.jpg": drawn("a dog", "a couch", taken="2019-06-23T14:05:06", make="Canon", model="Canon EOS 5D"),
    "garden/dogs.jpg": drawn("a dog", "a black dog", "grass", size=(480, 320), taken="2021-01-02T03:04:05"),
    "house/cat.jpg": drawn("a cat", "a couch", size=(240, 320), latitude=48.5, longitude=9.05, keywords=("pets",)),
    "house/car.jpg": drawn("a red car", "a street", taken="2020-05-05T10:00:00", make="NIKON", model="D90"),
    **{f"trees/tree{i:02}.jpg": drawn("a tree", "the sky", size=(300 + 7 * i, 240)) for i in range(60)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "home").mkdir()
    add_photos(folder / "collection", folder / "photos", PHOTOS, {"broken.jpg": "the file is empty"})
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with PageServer(folder / "collection", folder / "home") as server:
        while not server.get("/api/collection/words")["counted"]:  # before somebody types
            time.sleep(0.05)
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page in a context of its own, which must not complain but of what is expected.

    expected: regular expressions, each of a whole complaint. A browser notes every answer that is an error, and its
    note may come at any time until the page is closed: so what is expected is named before the visit.
    """

    def __init__(self, browser, server, *, expected=(), **options):
        self.expected = expected
        options = {"viewport": {"width": 1280, "height": 800}, "accept_downloads": True, **options}
        self.context = browser.new_context(base_url=server.address.split("?")[0].rstrip("/"), **options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )

    def __enter__(self):
        return self.page

    def __exit__(self, kind, error, trace):
        self.context.close()
        if kind is None:
            known = [re.compile(pattern) for pattern in self.expected]
            assert [each for each in self.complaints if not any(one.fullmatch(each) for one in known)] == []


def answered(*statuses):
    """The complaints of a browser that was answered with these errors."""
    return [rf"Failed to load resource: the server responded with a status of {status} \(.*\)" for status in statuses]


@pytest.fixture
def page(browser, server):
    with Visit(browser, server) as page:
        yield page


def tiles(page):
    """Those that answer, and behind them the less likely ones."""
    return page.locator(".grid:not([hidden]) > li")


def names(page):
    """File names of the photographs found, as far as they are drawn."""
    labels = page.locator(".grid:not([hidden]) .tile a").evaluate_all(
        "links => links.map(a => a.getAttribute('aria-label'))"
    )
    return [label.split(",")[0] for label in labels]


def ask(page, question):
    page.get_by_role("combobox").fill(question)
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="How the question was read")).to_be_visible()


def assert_accessible(page):
    results = Axe().run(page)
    found = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]])
        for violation in results.response["violations"]
    ]
    assert found == []


def test_a_question_is_answered_with_boxes(page):
    page.goto("/")
    expect(page.get_by_role("heading", name="64 photographs")).to_be_visible()
    ask(page, "dog on couch")
    expect(page).to_have_url(re.compile(r"/search\?q=dog\+on\+couch$"))
    first = tiles(page).first
    expect(first.get_by_role("link")).to_have_attribute("aria-label", re.compile("dog.jpg, shows a dog, a couch"))
    assert first.locator(".box").count() == 2
    # The box lies over the photograph where the region is: 4, 48 to 156, 216 of 320 x 240 pixels.
    image, box = first.evaluate(
        "tile => ['img', '.box rect.line'].map(name => tile.querySelector(name).getBoundingClientRect().toJSON())"
    )
    scale = image["width"] / 320
    assert abs(box["x"] - image["x"] - 4 * scale) < 3 and abs(box["width"] - 152 * scale) < 4
    expect(first.locator("img")).to_have_js_property("complete", True)
    assert first.locator("img").evaluate("image => image.naturalWidth") > 0


def test_suggestions_are_the_collections_own_phrases(page):
    page.goto("/")
    heading = page.get_by_role("heading", name="64 photographs")
    expect(heading).to_be_visible()
    page.get_by_role("combobox").press_sequentially("bla")
    option = page.get_by_role("option", name="a black dog")
    expect(option).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    assert_accessible(page)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=a\+black\+dog"))
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.go_back()
    expect(heading).to_be_focused()  # which it comes to when the photographs do, unless somebody types already
    page.get_by_role("combobox").press_sequentially("bla")
    expect(option).to_be_visible()
    page.keyboard.press("Escape")
    expect(option).to_be_hidden()


def test_chips_say_how_it_was_read_and_can_be_changed(page):
    page.goto("/search?q=dog+on+couch")
    chips = page.get_by_role("list", name="How the question was read")
    expect(chips.get_by_role("button", name="Change a dog", exact=True)).to_be_visible()
    chips.get_by_role("button", name="Without “a couch”").click()
    expect(page).to_have_url(re.compile(r"/search\?q=a\+dog$"))
    chips.get_by_role("button", name="Change a dog", exact=True).click()
    page.keyboard.type("a cat")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=a\+cat$"))
    chips.get_by_role("button", name="A thing that must not be there").click()
    page.keyboard.type("a couch")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=a\+cat&not=a\+couch$"))
    expect(chips.get_by_text("not a couch")).to_be_visible()
    assert "cat.jpg" not in names(page)
    chips.get_by_role("button", name="Without “not a couch”").click()
    expect(page).to_have_url(re.compile(r"q=a\+cat$"))


def test_a_word_read_as_another_is_told_and_undone(page):
    page.goto("/")
    ask(page, "a blakc dog")
    chips = page.get_by_role("list", name="How the question was read")
    expect(chips.get_by_text("read as black")).to_be_visible()
    chips.get_by_role("button", name="Read blakc as it is typed").click()
    expect(page).to_have_url(re.compile("as_typed=1"))
    expect(chips.get_by_text("every word as typed")).to_be_visible()


def test_facets_narrow_down_without_losing_anything(page):
    page.goto("/search?q=a+dog&all=1")
    expect(tiles(page).first).to_be_visible()
    page.get_by_role("region", name="Year").get_by_role("link", name="2021").click()
    expect(page).to_have_url(re.compile("after=2021&before=2022"))
    expect(page.get_by_role("heading", name="1 photograph", exact=True)).to_be_visible()
    assert names(page) == ["dogs.jpg"]
    page.go_back()
    page.get_by_role("region", name="Folder").get_by_role("link", name=re.compile("house")).click()
    expect(page.get_by_role("heading", name="2 photographs")).to_be_visible()
    assert sorted(names(page)) == ["car.jpg", "cat.jpg"]
    page.get_by_role("button", name="Without “in house”").click()
    page.get_by_role("region", name="Camera").get_by_role("link", name="NIKON D90").click()
    expect(page.get_by_role("heading", name="1 photograph", exact=True)).to_be_visible()
    assert names(page) == ["car.jpg"]


def test_sorting_by_date(page):
    page.goto("/search?q=a+dog&q=a+couch&before=2030&all=1")
    expect(tiles(page).first).to_be_visible()
    page.get_by_label("Sort by").select_option("date")
    expect(page).to_have_url(re.compile("sort=date"))
    expect(tiles(page)).to_have_count(3)
    dates = {"dogs.jpg": 2021, "car.jpg": 2020, "dog.jpg": 2019}
    for grid in page.locator(".grid:not([hidden])").all():
        labels = grid.locator(".tile a").evaluate_all("links => links.map(link => link.getAttribute('aria-label'))")
        taken = [dates[label.split(",")[0]] for label in labels]
        assert taken == sorted(taken, reverse=True)


def test_photographs_that_look_the_same_are_one_if_asked(page):
    page.goto("/search?q=a+tree&all=1")
    page.get_by_label("Similar ones as one").check()
    expect(page).to_have_url(re.compile(r"q=a\+tree&all=1&fold=1$"))
    expect(page.get_by_text(re.compile(r"^\+\d+$")).first).to_be_visible()
    page.get_by_label("Similar ones as one").uncheck()
    expect(page).to_have_url(re.compile(r"q=a\+tree&all=1$"))


def test_the_list_stops_where_answers_stop(page):
    page.goto("/search?q=a+tree")
    expect(page.get_by_text("Answers stop here")).to_be_visible()
    answers = names(page)
    assert answers[0].startswith("tree")
    assert_accessible(page)
    page.get_by_role("link", name="Show less likely ones").click()
    expect(page).to_have_url(re.compile(r"q=a\+tree&all=1$"))
    expect(page.get_by_role("heading", name="64 photographs")).to_be_visible()
    assert names(page)[:10] == answers[:10]
    expect(page.get_by_text("Less likely ones", exact=True)).to_be_visible()
    page.get_by_role("link", name="Hide less likely ones").click()
    expect(page.get_by_text("Answers stop here")).to_be_visible()


def test_a_photograph_is_opened_turned_over_and_left(page):
    page.goto("/search?q=a+dog&all=1")
    tiles(page).first.get_by_role("link").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(page).to_have_url(re.compile(r"/photo/\d+\?q=a\+dog&all=1$"))
    expect(page).to_have_title(re.compile("^" + names(page)[0]))
    first = page.url
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(first)
    expect(page.get_by_text("2 of 64", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile(r"/search\?q=a\+dog&all=1$"))
    # The keyboard is at the photograph that was left.
    expect(tiles(page).nth(1).get_by_role("link")).to_be_focused()


def test_a_photograph_has_an_address_of_its_own(page, server):
    hit = server.get("/api/search", q="a cat", k=1)["hits"][0]
    page.goto(f"/photo/{hit['photo_id']}?q=a+cat&all=1")
    expect(page.get_by_role("heading", name="cat.jpg")).to_be_visible()
    expect(page.get_by_text("48.50000° N, 9.05000° E")).to_be_visible()
    expect(page.get_by_text("pets", exact=True)).to_be_visible()
    expect(page.get_by_text("1 of 64", exact=True)).to_be_visible()
    assert_accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == server.ask(f"/api/photos/{hit['photo_id']}/original").body
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"/search\?q=a\+cat&all=1$"))


def region_center(page, number):
    box = page.locator(f".stage .box[data-region='{number}'] rect.line").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_region_is_named_below_the_pointer_and_leads_to_more_like_it(page, server):
    hit = server.get("/api/search", q="a cat", k=1)["hits"][0]
    regions = {
        region["phrase"]: region["region_id"] for region in server.get(f"/api/photos/{hit['photo_id']}")["regions"]
    }
    page.goto(f"/photo/{hit['photo_id']}")
    expect(page.get_by_role("heading", name="cat.jpg")).to_be_visible()
    page.mouse.move(*region_center(page, regions["a couch"]))
    expect(page.locator(".region-label")).to_have_text("a couch")
    expect(page.locator(".regions a.lit")).to_contain_text("a couch")
    page.mouse.click(*region_center(page, regions["a couch"]))
    expect(page).to_have_url(re.compile(rf"/like\?region={regions['a couch']}$"))
    expect(page.get_by_text("Photographs with something like this: a couch")).to_be_visible()
    assert names(page)[0] == "dog.jpg" and "cat.jpg" not in names(page)
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_what_is_less_sure_is_listed_when_asked_for(page, server):
    photo_id = server.get("/api/search", q="a cat", k=1)["hits"][0]["photo_id"]
    photo = server.get(f"/api/photos/{photo_id}")
    assert len(photo["regions"]) == 2 and all(region["sure"] for region in photo["regions"])
    photo["regions"][1]["sure"] = False
    page.route(f"**/api/v1/photos/{photo_id}", lambda route: route.fulfill(json=photo))
    page.goto(f"/photo/{photo_id}")
    expect(page.locator(".regions a:visible")).to_have_count(1)
    page.mouse.move(*region_center(page, photo["regions"][1]["region_id"]))
    expect(page.locator(".unsure.lit summary")).to_have_text("1 less sure")  # it holds what the pointer is on
    page.get_by_text("1 less sure").click()
    expect(page.locator(".regions a:visible")).to_have_count(2)
    del photo["regions"][0]  # where all are unsure none is hidden
    page.reload()
    expect(page.locator(".regions a:visible")).to_have_count(1)
    expect(page.get_by_text("less sure")).to_have_count(0)


def test_a_box_is_dragged_and_asks(page, server):
    hit = server.get("/api/search", q="a dog", k=10)["hits"]
    photo_id = next(entry["photo_id"] for entry in hit if entry["path"].endswith("dog.jpg"))
    page.goto(f"/photo/{photo_id}")
    expect(page.get_by_role("heading", name="dog.jpg")).to_be_visible()
    stage = page.locator(".canvas").bounding_box()
    assert stage
    scale = stage["width"] / 320
    page.mouse.move(stage["x"] + 6 * scale, stage["y"] + 50 * scale)
    page.mouse.down()
    page.mouse.move(stage["x"] + 100 * scale, stage["y"] + 150 * scale)
    expect(page.locator(".box.drawing")).to_be_visible()
    page.mouse.move(stage["x"] + 154 * scale, stage["y"] + 214 * scale)
    page.mouse.up()
    expect(page).to_have_url(re.compile(rf"/like\?photo={photo_id}&box="))
    box = [float(side) for side in re.search(r"box=([^&]+)", page.url.replace("%2C", ","))[1].split(",")]
    assert box == pytest.approx([6, 50, 148, 164], abs=2)
    expect(page.get_by_text("Photographs with something like this: a dog")).to_be_visible()
    assert names(page)[0] == "dogs.jpg" and "dog.jpg" not in names(page)


def test_zoom_with_the_wheel_and_pan(page, server):
    hit = server.get("/api/search", q="a dog", k=1)["hits"][0]
    page.goto(f"/photo/{hit['photo_id']}")
    expect(page.get_by_role("heading", name="dog.jpg")).to_be_visible()
    before = page.locator(".canvas").bounding_box()
    page.mouse.move(before["x"] + 30, before["y"] + 40)
    for _ in range(6):
        page.mouse.wheel(0, -120)
    page.wait_for_function(  # each makes it 1.35 times as large
        "width => document.querySelector('.canvas').getBoundingClientRect().width > width", arg=6 * before["width"]
    )
    after = page.locator(".canvas").bounding_box()
    # What was below the pointer still is.
    assert (before["x"] + 30 - after["x"]) / after["width"] == pytest.approx(30 / before["width"], abs=0.02)
    page.mouse.down()
    page.mouse.move(before["x"] - 20, before["y"] + 10)
    page.mouse.up()
    assert page.locator(".canvas").bounding_box()["x"] == pytest.approx(after["x"] - 50, abs=2)
    page.keyboard.press("0")
    assert page.locator(".canvas").bounding_box() == before


def test_everything_by_keyboard_alone(page, folder):
    page.goto("/")
    expect(page.get_by_role("heading", name="64 photographs")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    expect(tiles(page).first).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.tile') !== null"):
            break
    expect(tiles(page).nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(tiles(page).nth(1).get_by_role("link")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowLeft")  # "a dog" may have two answers only
    expect(page.get_by_text("2 selected", exact=True)).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    expect(tiles(page).nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".side h1")).to_be_visible()
    page.keyboard.press("b")
    expect(page.get_by_text("Drag a box, or move this one")).to_be_visible()
    before = page.locator(".box.drawing rect.line").get_attribute("x")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert page.locator(".box.drawing rect.line").get_attribute("x") != before
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/like\?photo=\d+&box="))
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Selected photographs")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Help")).to_be_hidden()


def test_what_is_selected_is_taken_along(page, folder):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/search?q=dog+on+couch&all=1")
    # Of one list: Shift selects from tile to tile of the same.
    listed = page.get_by_role("list", name="Less likely ones").get_by_role("listitem")
    first, third = (listed.nth(i) for i in (0, 2))
    first.hover()
    first.get_by_role("checkbox").click()
    third.hover()
    third.get_by_role("checkbox").click(modifiers=["Shift"])
    bar = page.get_by_role("region", name="Selected photographs")
    expect(bar.get_by_text("3 selected")).to_be_visible()
    assert_accessible(page)
    labels = [tile.get_by_role("link").get_attribute("aria-label") for tile in (first, listed.nth(1), third)]
    chosen = [label.split(",")[0] for label in labels]
    bar.get_by_role("button", name="Copy paths").click()
    expect(bar.get_by_text("Copied.")).to_be_visible()
    paths = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert [Path(path).name for path in paths] == chosen and all(Path(path).exists() for path in paths)
    with page.expect_download() as download:
        bar.get_by_role("button", name="Download ZIP").click()
    assert sorted(zipfile.ZipFile(download.value.path()).namelist()) == sorted(chosen)
    with page.expect_download() as download:
        bar.get_by_role("button", name="COCO").click()
    coco = json.loads(Path(download.value.path()).read_text())
    asked = {"a dog", "a couch", "dog on couch"}
    assert len(coco["images"]) == 3 and {each["name"] for each in coco["categories"]} & asked
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()


def test_a_long_list_is_drawn_where_the_window_is(page):
    page.goto("/")
    expect(page.get_by_role("heading", name="64 photographs")).to_be_visible()
    assert page.locator(".tile").count() < 64
    page.mouse.wheel(0, 100_000)
    expect(page.get_by_role("link", name=re.compile("^dog.jpg"))).to_be_visible()
    assert page.locator(".tile").count() < 64
    image = page.get_by_role("link", name=re.compile("^dog.jpg")).locator("img")
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("image => image.naturalWidth") > 0


def test_the_collection_view(page, folder):
    page.goto("/")
    page.get_by_role("link", name="Collection").click()
    expect(page.get_by_role("heading", name="The collection")).to_be_visible()
    expect(page.get_by_text(str(folder / "photos"))).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Words").click()
    expect(page.get_by_role("link", name="dog", exact=True)).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="As a cloud").click()
    expect(page.locator(".cloud").get_by_role("link", name="tree", exact=True)).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="As a cloud").click()
    page.get_by_role("searchbox").fill("black")
    expect(page.get_by_role("link", name="tree", exact=True)).to_be_hidden()
    page.get_by_role("link", name="a black dog").click()
    expect(page).to_have_url(re.compile(r"/search\?q=a\+black\+dog"))
    page.goto("/collection/errors")
    expect(page.get_by_text("the file is empty")).to_be_visible()
    assert_accessible(page)
    page.goto("/collection/duplicates")
    expect(page.get_by_role("heading", name="No photograph is there twice")).to_be_visible()
    page.goto("/api-docs")
    expect(page.get_by_role("heading", name="The API")).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_views_are_accessible_narrow_and_wide_light_and_dark(browser, server, scheme, width):
    with Visit(browser, server, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        for path in (
            "/",
            "/search?q=dog+on+couch&not=a+cat",
            "/like?photo=1",
            "/photo/1?q=a+dog",
            "/collection",
            "/collection/words",
            "/collection/errors",
            "/collection/duplicates",
            "/api-docs",
        ):
            page.goto(path)
            expect(page.locator("h1").first).to_be_visible()
            page.wait_for_load_state("networkidle")
            assert_accessible(page)
            # Nothing is wider than the window.
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_dark_and_light_are_chosen_and_kept(browser, server):
    with Visit(browser, server, color_scheme="light") as page:
        page.goto("/")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_role("button", name="Dark or light").click()
        dark = page.evaluate(ground)
        assert dark != light
        page.reload()
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Dark or light").click()
        assert page.evaluate(ground) == light


def test_with_a_finger_on_a_narrow_screen(browser, server):
    with Visit(browser, server, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as page:
        page.goto("/search?q=a+dog")
        tiles(page).first.get_by_role("link").tap()
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.locator(".side h1")).to_be_visible()
        stage = page.locator(".canvas").bounding_box()
        page.touchscreen.tap(stage["x"] + stage["width"] * 0.25, stage["y"] + stage["height"] * 0.5)
        expect(page.locator(".region-label")).to_be_visible()
        page.get_by_role("button", name=re.compile("^Back to the photographs")).tap()
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_an_empty_collection_says_what_to_do_and_photographs_appear(browser, tmp_path):
    (tmp_path / "home").mkdir()
    with PageServer(tmp_path / "collection", tmp_path / "home") as server, Visit(browser, server) as page:
        page.goto("/")
        expect(page.get_by_text("indexer build ~/Pictures")).to_be_visible()
        assert_accessible(page)
        add_photos(tmp_path / "collection", tmp_path / "photos", {"a.jpg": drawn("a dog")})
        expect(page.get_by_role("heading", name="1 photograph")).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="The collection grows")).to_be_visible()
        add_photos(tmp_path / "collection", tmp_path / "photos", {"b.jpg": drawn("a cat")})
        expect(page.get_by_role("link", name=re.compile("^b.jpg"))).to_be_visible()
        ask(page, "a cat")
        add_photos(tmp_path / "collection", tmp_path / "photos", {"c.jpg": drawn("a black cat")})
        # Said again for as long as the server answers from before: it reads no more often than its time allows.
        again = page.get_by_role("button", name="The collection has changed: ask again")
        newest = page.get_by_role("link", name=re.compile("^c.jpg"))
        expect(again).to_be_visible()
        deadline = time.monotonic() + PATIENCE / 1000
        while not newest.is_visible():
            assert time.monotonic() < deadline
            again.click()
            expect(again.or_(newest).first).to_be_visible()


def test_what_goes_wrong_is_said(browser, server, folder):
    disconnected = "Failed to load resource: net::ERR_INTERNET_DISCONNECTED"
    with Visit(browser, server, expected=[*answered(400, 404), disconnected]) as page:
        page.goto("/search?q=xqzzy+qwvvx")
        expect(page.get_by_role("alert")).to_contain_text("English")
        assert_accessible(page)
        page.goto("/photo/999999")
        expect(page.get_by_role("alert")).to_contain_text("no described photograph 999999")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.get_by_role("heading", name="64 photographs")).to_be_visible()
        page.context.set_offline(True)
        page.get_by_role("combobox").fill("a dog")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        expect(tiles(page).first).to_be_visible()


def test_a_visit_minds_what_it_was_not_told_to_expect(browser, server):
    with pytest.raises(AssertionError, match="unheard of"), Visit(browser, server, expected=answered(404)) as page:
        page.goto("/")
        page.evaluate("console.error('unheard of')")


def test_what_comes_too_late_takes_no_place(page, server, tmp_path):
    """Somebody asks on while a photograph from outside is looked at, and while the answer to a question is read."""
    held = []
    page.route("**/api/v1/like?*", lambda route: held.append(route))
    page.add_init_script("""
        const json = Response.prototype.json;
        window.reading = 0;
        Response.prototype.json = async function () {
            if (this.url.includes("q=a+dog")) {
                window.reading++;
                await new Promise((resolve) => (window.goOn = resolve));
                throw new DOMException("The user aborted a request.", "AbortError");
            }
            return json.call(this);
        };
    """)
    page.goto("/")
    expect(page.get_by_role("heading", name="64 photographs")).to_be_visible()
    draw(tmp_path / "a.jpg", drawn("a dog"))
    page.locator("#photo-file").set_input_files(tmp_path / "a.jpg")
    expect(page.get_by_text("Looking at a.jpg")).to_be_visible()
    while not held:
        page.wait_for_timeout(20)
    page.get_by_role("combobox").fill("a dog")
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.reading > 0")
    ask(page, "a cat")
    assert names(page)[0] == "cat.jpg"
    with suppress(Error):  # given up already
        held[0].fulfill(json=server.get("/api/search", q="a tree", k=3))
    page.evaluate("window.goOn(), fetch('/api/v1/collection').then((reply) => reply.text())")
    expect(page.get_by_role("list", name="How the question was read")).to_be_visible()
    assert names(page)[0] == "cat.jpg" and page.get_by_role("alert").count() == 0


def test_a_file_that_vanished_is_shown_as_that(browser, tmp_path):
    (tmp_path / "home").mkdir()
    add_photos(tmp_path / "collection", tmp_path / "photos", {"a.jpg": drawn("a dog"), "b.jpg": drawn("a cat")})
    (tmp_path / "photos" / "a.jpg").unlink()
    server = PageServer(tmp_path / "collection", tmp_path / "home")
    with server, Visit(browser, server, expected=answered(410)) as page:
        page.goto("/search?q=a+dog")
        expect(page.get_by_text("The file is not there any more")).to_be_visible()
        page.get_by_role("link", name=re.compile("^a.jpg")).click()
        expect(page.get_by_text("`indexer build` looks again")).to_be_visible()
        assert page.get_by_role("link", name="Open original").count() == 0


def test_no_page_can_be_made_to_run_what_a_photograph_says(browser, tmp_path):
    """Names and phrases of a photograph are text wherever they stand."""
    (tmp_path / "home").mkdir()
    name = '<img src=x onerror="document.title=1">.jpg'
    photo = drawn("a dog", '<script>document.title="2"</script> dog', make="<b>x", keywords=("<i>y",))
    add_photos(tmp_path / "collection", tmp_path / "photos", {name: photo}, {"<u>.jpg": "<s>reason"})
    with PageServer(tmp_path / "collection", tmp_path / "home") as server, Visit(browser, server) as page:
        for path in ("/", "/search?q=a+dog", "/photo/1?q=<b>dog", "/collection/words", "/collection/errors"):
            page.goto(path)
            page.wait_for_load_state("networkidle")
            assert page.title() not in ("1", "2")
            assert page.locator("main b, main i, main u, main s, #overlay b, #overlay i").count() == 0


def test_what_is_said_of_how_things_lie_is_a_chip(page):
    page.goto("/search?q=a+dog+left+of+a+couch")
    chips = page.get_by_role("list", name="How the question was read")
    expect(chips.get_by_role("button", name="Change a dog left of a couch")).to_be_visible()
    assert names(page)[0] == "dog.jpg"
    chips.get_by_role("button", name="Change a dog left of a couch").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("a dog right of a couch")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=a\+dog&q=a\+couch&where=a\+dog\+right\+of\+a\+couch$"))
    chips.get_by_role("button", name="Without “a couch”").click()
    expect(page).to_have_url(re.compile(r"/search\?q=a\+dog$"))


def test_a_photograph_from_outside_is_a_question(browser, tmp_path, tiny_checkpoint):
    """By a small network of its own: what it finds alike is of no matter."""
    (tmp_path / "home").mkdir()
    for name in ("a", "b"):
        draw(tmp_path / "photos" / f"{name}.jpg", drawn("a dog" if name == "a" else "a cat"))
    build = [sys.executable, "-m", "indexer", "build", str(tmp_path / "photos"), "--weights", str(tiny_checkpoint)]
    subprocess.run([*build, "--collection", str(tmp_path / "collection"), "-q"], check=True, capture_output=True)
    weights = ("--weights", str(tiny_checkpoint), "--device", "cpu")
    server = PageServer(tmp_path / "collection", tmp_path / "home", *weights)
    with server, Visit(browser, server, expected=answered(422)) as page:
        page.goto("/")
        page.locator("#photo-file").set_input_files(tmp_path / "photos" / "a.jpg")
        expect(page.get_by_text("Photographs like a.jpg")).to_be_visible()
        expect(tiles(page).first).to_be_visible()
        assert_accessible(page)
        (tmp_path / "no.jpg").write_bytes(b"%PDF-1.4 nothing")
        page.locator("#photo-file").set_input_files(tmp_path / "no.jpg")
        expect(page.get_by_role("alert")).to_contain_text("The photograph cannot be used")
