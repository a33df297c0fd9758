"""report.html in a real browser: all controls work, without an error and without a network request."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lib.report.html import write_html
from lib.report.moments import draw_moments, find_moments
from lib.report.palette import MARKERS
from tests.report.test_html import EVIL, make_report, make_sequence, make_traces

pytestmark = pytest.mark.slow

HINT = (
    "needs a browser: run `make browser` (Debian's packages chromium and chromium-driver) and install requirements.txt"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
    "--force-color-profile=srgb",
)
NAMES = ("first", "second", EVIL, *(f"tracker{place}" for place in range(7)))
SEQUENCES = ("a", "dog", EVIL)
BACKGROUND = ("chrome-extension:", "chrome-untrusted:", "chrome:")  # internal requests of the browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from make_browser(tmp_path_factory)


def make_browser(tmp_path_factory):
    """Headless Chromium that records its console and all requests. A missing browser is a failure, not a skip."""
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: {HINT}")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.fail(f"chromium: {chromium}, chromedriver: {driver}: {HINT}")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def report_page(tmp_path_factory):
    report = make_report(NAMES, SEQUENCES)
    traces = make_traces(report)
    for place, name in enumerate(NAMES):
        traces[name]["a"] = traces[name]["a"][:4]  # as long as the sequence that has pictures
        traces[name]["a"][2:] = 0.04 / (1 + place)
        traces[name][EVIL] = traces[name][EVIL] / 2  # so that every sequence looks different
    results = {name: {"a": np.tile([60.0, 40, 20, 10], (4, 1))} for name in NAMES}
    picked = [moment for moment in find_moments(traces, 30) if moment[0] == "a"][:2]
    pictures = draw_moments(picked, {"a": make_sequence()}, results)
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(report, traces, pictures, path)
    return path


class Page:
    """The opened page with the actions of a user."""

    def __init__(self, driver, path):
        self.driver, self.path = driver, path
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(path.as_uri())

    def all(self, selector: str):
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return [found.text for found in self.all(selector)]

    def click(self, selector: str) -> None:
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.all(selector)[0])
        self.all(selector)[0].click()

    def choose(self, selector: str, text: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.all(selector)[0]).select_by_visible_text(text)

    def hover(self, selector: str, across: float, then=lambda chain: chain) -> None:
        """Moves the pointer to a part of the element's width, at half of its height."""
        from selenium.webdriver.common.action_chains import ActionChains

        target = self.all(selector)[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
        shift = round((across - 0.5) * target.size["width"])
        then(ActionChains(self.driver).move_to_element_with_offset(target, shift, 0)).perform()

    def requests(self) -> list[str]:
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(BACKGROUND)]

    def canvas(self) -> bytes:
        return self.driver.execute_script("return document.querySelector('canvas').toDataURL()")


@pytest.fixture
def opened(browser, report_page):
    """The page; after each test: nothing on the console, and no request except for the file and embedded data."""
    page = Page(browser, report_page)
    yield page
    assert browser.get_log("browser") == []
    requested = page.requests()
    assert report_page.as_uri() in requested
    assert [url for url in requested if url != report_page.as_uri() and not url.startswith("data:")] == []


def test_a_click_on_a_header_sorts(opened):
    names = "#scores-table tbody td:first-child"
    assert opened.texts(names)[:2] == ["first", "second"]
    assert opened.all("#scores-table th")[3].get_attribute("aria-sort") == "descending"
    opened.click("#scores-table th:nth-child(4) button")
    assert opened.texts(names)[-1] == "first"
    assert [head.get_attribute("aria-sort") for head in opened.all("#scores-table th")].count("ascending") == 1
    opened.click("#scores-table th:nth-child(5) button")  # FPS, which the first tracker lacks: it sorts last both ways
    assert opened.texts(names)[-1] == "first"
    opened.click("#scores-table th:nth-child(5) button")
    assert opened.texts(names)[-1] == "first"
    assert [cell.text.split()[0] for cell in opened.all("#scores-table td.best")] == ["65.00", "60.00", "60.00"]


def test_names_are_text_in_every_table_and_list(opened):
    assert opened.all("b:not(.tooltip b)") == [] and opened.driver.title.startswith("LasHeR")
    for selector in ("#scores-table td", ".legend .tracker", "#pair-first option", "#sequences-table td:first-child"):
        found = [element.get_attribute("textContent") for element in opened.all(selector)]
        assert any('</script><b>a$b&"{{data}}' in text for text in found), selector


def test_a_hidden_tracker_leaves_all_charts_and_comes_back(opened):
    lines = ".curve path[data-tracker='1']"
    dots = len(opened.all("#attributes-chart [data-dot]"))
    before = opened.canvas()
    assert len(opened.all(lines)) == 2
    opened.click("#scores-table input[data-tracker='1']")
    assert opened.all(lines) == [] and len(opened.all("#attributes-chart [data-dot]")) == dots - 1
    assert opened.canvas() != before
    assert not any(box.is_selected() for box in opened.all("input[data-tracker='1']"))
    opened.click("#curves .legend input[data-tracker='1']")
    assert len(opened.all(lines)) == 2 and opened.canvas() == before


def test_of_many_trackers_the_best_are_drawn_first_and_all_on_demand(opened):
    assert len(opened.all(".curve:first-of-type path[data-tracker]")) == 2 * 8
    opened.driver.execute_script("document.querySelector('#curves .legend button').click()")
    assert len(opened.all(".curve path[data-tracker]")) == 2 * len(NAMES)


def test_hovering_a_curve_shows_threshold_and_values(opened):
    opened.hover("#curves-plots figure:nth-child(2) .curve", 0.53)  # success; the middle of the axes
    lines = opened.texts(".tooltip > *")
    assert lines[0] == "Overlap threshold: 0.5"
    assert lines[1].split() == ["first", "60.0"] and lines[2].split() == ["second", "50.0"] and len(lines) == 1 + 8
    opened.hover("h1", 0.5)
    assert opened.all(".tooltip") == []


def test_two_trackers_can_be_compared_in_either_order(opened):
    assert len(opened.all("#neighbours li")) == len(NAMES) - 1
    assert opened.texts("#pair-sentence")[0].startswith("first is better than second: +10.00 ± 5.00")
    opened.choose("#pair-first", "second")
    assert opened.texts("#pair-sentence") == ["Choose two different trackers."]
    opened.choose("#pair-second", "first")
    assert opened.texts("#pair-sentence")[0].startswith("first is better than second")
    assert len(opened.all("#pair-chart circle[data-sequence]")) == 3


def test_the_metric_changes_both_tables(opened):
    score = [f"#{name}-table tbody td:nth-child(3) .number" for name in ("attributes", "sequences")]
    assert [opened.texts(selector)[0] for selector in score] == ["10.00", "0.00"]
    opened.choose("#attributes select", "PR")
    assert [opened.texts(selector)[0] for selector in score] == ["1.00", "50.00"]
    assert opened.all("#sequences select")[0].get_attribute("value") == "0"


def test_a_filter_and_a_click_choose_a_sequence(opened):
    first = opened.canvas()
    opened.all("#filter")[0].send_keys("DO")
    rows = [row for row in opened.all("#sequences-table tbody tr") if row.is_displayed()]
    assert [row.find_element("css selector", "td").text for row in rows] == ["dog"]
    assert opened.texts("#filter-count") == ["1 of 3"]
    rows[0].find_element("css selector", "button").click()
    assert opened.all("#sequence")[0].get_attribute("value") == "1" and opened.canvas() != first
    assert "chosen" in rows[0].get_attribute("class")


def test_the_timeline_steps_through_frames_and_zooms(opened):
    opened.click("#next")
    assert opened.texts("#sequence option:checked") == ["dog (40 frames)"]
    opened.hover("#timeline-chart", 0.5)
    head, best, *_ = opened.texts("#timeline-chart .tooltip > *")
    frame = int(head.removeprefix("Frame "))
    assert 18 <= frame <= 21 and best.split() == ["first", f"{round(1 - frame / 39, 2):.2f}"]
    for _ in range(2):
        opened.all("#timeline-chart")[0].send_keys("\ue014")  # →: the first frame, then the next one
    assert opened.texts("#timeline-chart .tooltip > *")[0] == "Frame 1"
    whole = opened.canvas()
    opened.hover("#timeline-chart", 0.3, lambda chain: chain.click_and_hold().move_by_offset(400, 3).release())
    assert opened.canvas() != whole
    opened.click("#whole")
    assert opened.canvas() == whole and not opened.all("#whole")[0].is_displayed()
    opened.click("#previous")
    assert opened.all("#sequence")[0].get_attribute("value") == "0" and not opened.all("#previous")[0].is_enabled()


def test_frames_without_a_target_say_so(opened):
    opened.driver.execute_script("showSequence(1, 6)")
    assert opened.texts("#timeline-chart .tooltip > *") == ["Frame 6: no target"]


def test_a_thumbnail_leads_to_its_frame(opened):
    pictures = opened.all("#thumbnails img")
    assert len(pictures) == 1 and pictures[0].get_property("naturalWidth") == 480
    opened.click("#thumbnails button")
    assert opened.texts("#sequence option:checked") == ["a (4 frames)"]
    assert opened.texts("#timeline-chart .tooltip > *")[0] == "Frame 2"
    top = opened.driver.execute_script("return document.querySelector('#timeline').getBoundingClientRect().top")
    assert -5 < top < 900


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page(opened, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.driver.refresh()
        root = "document.documentElement"
        inner, outer = opened.driver.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
        assert inner == outer and width - 20 < outer <= width  # except for a scroll bar
    finally:
        opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_sections_without_data_are_hidden(browser, tmp_path):
    report = make_report(("only",), ("car",))
    write_html(report, {}, [], tmp_path / "report.html")
    page = Page(browser, tmp_path / "report.html")
    shown = [part.get_attribute("id") for part in page.all("main > section") if part.is_displayed()]
    assert shown == ["scores", "curves", "attributes", "sequences", "notes"]
    assert browser.get_log("browser") == []


LONG = [f"transcmd/student_with_a_long_configuration_{'and_a_suffix_' * 4}_{place:02d}" for place in range(20)]


@pytest.fixture(scope="module")
def crowded_page(tmp_path_factory):
    """Twenty trackers with long names, under seven protocols: more columns than fit."""
    report = make_report(LONG, SEQUENCES)
    beside = {p: {name: t.scores for name, t in report.trackers.items()} for p in ("strict", "pytracking", *"abcd")}
    path = tmp_path_factory.mktemp("crowded") / "report.html"
    write_html(replace(report, beside=beside), make_traces(report), [], path)
    return path


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_long_names_are_capped_and_tables_scroll(browser, crowded_page, width, theme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page = Page(browser, crowded_page)
        browser.execute_script(f"applyTheme('{theme}')")
        root = "document.documentElement"
        inner, outer = browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
        assert inner == outer and width - 20 < outer <= width
        heights = browser.execute_script(
            "return [...document.querySelectorAll('thead .words')].map((words) =>"
            " words.offsetHeight / parseFloat(getComputedStyle(words).lineHeight))"
        )
        assert len(heights) > 60 and max(heights) < 2.1, "lines of a column's header"
        assert page.all("#scores-table .tracker")[0].get_attribute("title") == LONG[0]
        assert page.all("#scores-table .tracker span")[0].size["width"] < 400
        for names in ("#scores-table .tracker span", "#sequences thead .words"):
            texts = [name.get_attribute("textContent") for name in page.all(names)]
            assert len(set(texts)) == len(texts) >= 20  # names that differ only at the end stay apart
        cue = "return [document.querySelector('#protocols .frame').classList.contains('more'),"
        cue += " getComputedStyle(document.querySelector('#protocols .frame'), '::after').content]"
        assert browser.execute_script(cue) == [True, '"›"']
        browser.execute_script("document.querySelector('#protocols .scroll').scrollLeft = 9999")
        browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        assert browser.execute_script(cue)[0] is False
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dots_of_attributes_have_the_shapes_of_the_legend(opened):
    markers = [MARKERS[place % len(MARKERS)] for place in range(8)]
    dots = {int(dot.get_attribute("data-dot")): dot for dot in opened.all("#attributes-chart [data-dot]")}
    assert [dots[place].get_attribute("data-marker") for place in range(8)] == markers
    corners = {place: dot.get_attribute("d").count("L") + 1 for place, dot in dots.items()}
    assert [corners[place] for place in range(5)] == [1, 4, 3, 4, 3]  # a circle has no corners
    drawn = [path.get_attribute("d") for path in opened.all("#curves .legend .swatch path")]
    assert len(set(drawn[:5])) == 5


def test_the_dark_page_has_its_own_colours_and_comes_back(opened):
    line = "return getComputedStyle(document.querySelector(\".curve path[data-tracker='0']\")).stroke"
    page = "return getComputedStyle(document.body).backgroundColor"
    light = [opened.driver.execute_script(script) for script in (line, page)] + [opened.canvas()]
    assert light[:2] == ["rgb(178, 24, 43)", "rgb(255, 255, 255)"]
    opened.click("#theme")
    dark = [opened.driver.execute_script(script) for script in (line, page)] + [opened.canvas()]
    assert dark[0] == "rgb(255, 107, 107)" and dark[1] == "rgb(21, 25, 29)" and dark[2] != light[2]
    opened.click("#theme")
    assert [opened.driver.execute_script(script) for script in (line, page)] + [opened.canvas()] == light


def test_the_page_follows_the_system_into_the_dark(opened):
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        opened.driver.refresh()
        assert opened.driver.execute_script("return document.documentElement.dataset.theme") == "dark"
    finally:
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_few_sequences_and_intervals_are_shown_at_attributes(opened):
    assert opened.texts("#attributes-table tbody td")[1] == "1*"
    assert opened.texts("#attributes-table tbody small")[:2] == ["8.0 to 12.0", "8.0 to 13.0"]
    assert "* fewer than 10 sequences" in opened.texts("#attributes-words")[0]
    assert "NO*" in opened.texts("#attributes-chart text")


def test_a_point_of_the_scatter_leads_to_its_sequence(opened):
    point = opened.all("#pair-chart circle[data-sequence='1']")[0]
    opened.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    opened.hover("#pair-chart circle[data-sequence='1']", 0.5, lambda chain: chain.click())
    assert opened.texts("#sequence option:checked") == ["dog (40 frames)"]
    assert "sequence=dog" in opened.driver.execute_async_script("setTimeout(() => arguments[0](location.hash), 400)")


def test_a_link_to_a_section_keeps_the_view_in_the_address(opened):
    opened.choose("#attributes select", "PR")
    opened.click("#contents a[href='#sequences']")
    assert opened.driver.execute_async_script("setTimeout(() => arguments[0](location.hash), 400)") == "#metric=PR"
