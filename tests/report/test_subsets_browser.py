"""The numbers that report.html computes for a choice of sequences are those that Python computes for them."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.attributes import read_attributes
from lib.evaluation.benchmarks import BENCHMARKS, LASHER
from lib.evaluation.evaluate import Evaluation, overlap_traces, score_results
from lib.evaluation.selection import Results, load_results
from lib.evaluation.statistics import compare, interval, resampled_weights
from lib.report.html import write_html
from lib.report.subsets import Parts
from lib.report.tables import headline, headline_latex, markdown, to_csv
from lib.results.folder import ResultFolder
from tests.evaluation import test_multistart
from tests.evaluation.test_evaluation import annotate, save
from tests.report.test_html_browser import Page, make_browser

pytestmark = pytest.mark.slow

COUNT = 14  # sequences of the drawn data
CHOICE = (1, 2, 5, 6, 9, 12)  # chosen sequences, in the order of the annotations
SHORT_RUNS = test_multistart.SHORT


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from make_browser(tmp_path_factory)


def write_page(evaluation: Evaluation, path):
    parts = Parts(evaluation.scored, evaluation.results.outputs, evaluation.flags)
    write_html(evaluation.report, overlap_traces(evaluation.results), [], path, parts)


def part_of(evaluation: Evaluation, chosen: list[int]) -> Results:
    """The results of some sequences, to be scored as if there were no others."""
    results = evaluation.results
    outputs = {tracker: [found[index] for index in chosen] for tracker, found in results.outputs.items()}
    return results._replace(annotations=[results.annotations[index] for index in chosen], outputs=outputs)


class ChoicePage(Page):
    """The page with what it shows, as numbers."""

    def wait(self) -> None:
        self.driver.execute_async_script(
            "const done = arguments[0]; const look = () => (view.pending ? setTimeout(look, 10) : done()); look();"
        )

    def choose_places(self, places) -> None:
        script = "choose(SEQUENCES.filter((sequence) => arguments[0].includes(data.subsets.places[sequence])))"
        self.driver.execute_script(script, list(places))
        self.wait()

    def numbers(self) -> dict:
        """Tracker → scores, intervals and the last curve; and sentences of all pairs."""
        script = """
            const plots = (place) => view.plots.map(({ curves }) => [curves[place].x, curves[place].y]);
            const entries = view.trackers.map(({ name, scores, intervals, sequences }, place) =>
              [name, { scores, intervals, sequences, plots: plots(place) }]);
            return { trackers: Object.fromEntries(entries), pairs: view.comparisons.map(({ text }) => text),
              sequences: data.sequences.map(({ name }) => name) };"""
        return self.driver.execute_script(script)

    def copied(self, table: str, form: str) -> str:
        """What the button puts on the clipboard."""
        self.driver.execute_script("arguments[0].click()", self.button(table, form))
        return self.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")

    def button(self, table: str, form: str):
        return next(found for found in self.all(f".copy[data-table='{table}'] button") if found.text == form)


def open_page(browser, path) -> ChoicePage:
    page = ChoicePage(browser, path)
    for name in ("clipboard-read", "clipboard-write"):
        browser.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": name}, "setting": "granted"})
    # Only the page that has the focus may use the clipboard. A window without a screen may have none.
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    return page


def draw_boxes(tmp_path, seed: int):
    """Annotations and results of three trackers; sizes, lengths and errors differ."""
    rng, annotations = np.random.default_rng(seed), []
    for index in range(COUNT):
        frames = 12 + 3 * index
        boxes = np.concatenate([rng.uniform(20, 60, (frames, 2)), rng.uniform(8, 30, (frames, 2))], axis=1).round()
        annotations.append(annotate(boxes, name=f"s{index:02d}"))
        for place, tracker in enumerate("abc"):
            spread = rng.uniform(1, 9 + 3 * place)
            shift = rng.normal(0, spread, (frames, 4)) * [1, 1, 0, 0] + np.array([900, 900, 0, 0]) * (index == 3)
            scores = np.exp(-np.abs(shift).sum(axis=1) / 20)
            save(tmp_path / tracker, annotations[-1], boxes + shift, scores, seconds=0.01 * (1 + place))
    return annotations


def draw_runs(tmp_path):
    rng = np.random.default_rng(5)
    for index in range(COUNT):
        frames = 10 + index
        test_multistart.annotate(tmp_path / "gt", f"s{index:02d}", frames=frames)
        for tracker in "abc":
            for anchor in (0, frames - 1):
                shifts = rng.uniform(0, 2 + index * (tracker == "b"), frames)
                rows = [(4 + shift, 4, 8, 8) for shift in shifts]
                test_multistart.run(tmp_path / tracker, f"s{index:02d}", anchor, rows)
    return annotations_from_folder(tmp_path / "gt")


def make_evaluation(name: str, tmp_path) -> Evaluation:
    benchmark = SHORT_RUNS if name == "VOT-RGBD2022" else BENCHMARKS[name]
    annotations = draw_runs(tmp_path) if benchmark is SHORT_RUNS else draw_boxes(tmp_path, 1)
    folders = {tracker: ResultFolder(tracker, tmp_path / tracker) for tracker in "abc"}
    results = load_results(benchmark, annotations, folders)
    flags = {"EVEN": np.arange(COUNT) % 2 == 0, "LAST": np.arange(COUNT) == COUNT - 1}
    return score_results(benchmark, results, attributes=flags)


def expected(evaluation: Evaluation, benchmark, chosen) -> tuple[dict, list[str]]:
    """What Python computes for a choice. Precision and recall keep the confidence thresholds of all sequences."""
    if "F" not in evaluation.report.metrics:
        report = score_results(benchmark, part_of(evaluation, list(chosen))).report
        trackers = {
            name: (list(found.scores.values()), list(found.intervals.values()))
            for name, found in report.trackers.items()
        }
        return trackers, [str(comparison) for comparison in report.comparisons]
    weights = np.zeros((2000, COUNT))
    weights[:, list(chosen)] = resampled_weights(len(chosen))
    once = np.isin(np.arange(COUNT), chosen)[None].astype(float)
    trackers, samples = {}, {}
    for name, scored in evaluation.scored.items():
        resampled = scored.combine(weights)
        samples[name] = resampled["F"]
        scores = [float(values[0]) for values in scored.combine(once).values()]
        trackers[name] = scores, [interval(values) for values in resampled.values()]
    falling = dict(sorted(((name, scores[-1]) for name, (scores, _) in trackers.items()), key=lambda item: -item[1]))
    return trackers, [str(comparison) for comparison in compare(falling, samples)]


@pytest.mark.parametrize("name", ["LasHeR", "RGBT234", "GTOT", "STC", "COESOT", "DepthTrack", "VOT-RGBD2022"])
def test_a_choice_has_the_numbers_of_python(browser, tmp_path, name):
    """Every kind of rule: means, pooled frames, areas, left out sequences, precision and recall, runs from anchors."""
    evaluation = make_evaluation(name, tmp_path)
    benchmark = SHORT_RUNS if name == "VOT-RGBD2022" else BENCHMARKS[name]
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    page.choose_places(CHOICE)
    found, (trackers, pairs) = page.numbers(), expected(evaluation, benchmark, CHOICE)
    close, closer = (2e-4, 1e-4) if name == "VOT-RGBD2022" else (1e-6, 1e-6)  # runs are stored in 16 bits
    for tracker, (scores, ends) in trackers.items():
        np.testing.assert_allclose(found["trackers"][tracker]["scores"], scores, atol=closer)
        np.testing.assert_allclose(found["trackers"][tracker]["intervals"], ends, atol=close)
    assert found["pairs"] == pairs and len(pairs) == 3
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("name", ["LasHeR", "COESOT", "DepthTrack", "VOT-RGBD2022"])
def test_all_sequences_as_a_choice_have_the_numbers_of_the_report(browser, tmp_path, name):
    """Curves and scores of each sequence too."""
    evaluation = make_evaluation(name, tmp_path)
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    page.driver.execute_script("view = choiceView(inOrder(SEQUENCES)); runSteps(resample(view), view)")
    page.wait()
    found, report = page.numbers(), evaluation.report
    for tracker, numbers in found["trackers"].items():
        scores = report.trackers[tracker]
        np.testing.assert_allclose(numbers["scores"], list(scores.scores.values()), atol=1e-4)
        np.testing.assert_allclose(numbers["intervals"], list(scores.intervals.values()), atol=2e-4)
        last = scores.curves[report.metrics[-1]]
        np.testing.assert_allclose(numbers["plots"][-1], [last.x, last.y], atol=1e-3)
        rows = [list(scores.per_sequence[name].values()) for name in found["sequences"]]
        np.testing.assert_allclose(numbers["sequences"], np.transpose(rows), atol=0.00501)
    assert found["pairs"] == [str(comparison) for comparison in report.comparisons]


@pytest.fixture(scope="module")
def lasher_page(shared, tmp_path_factory):
    folder = shared / "reference"
    annotations = annotations_from_folder(folder / "gt/LasHeR_test")
    flags = read_attributes(folder / "gt/LasHeR_attr", LASHER.attributes, [a.name for a in annotations])
    names = ("MTNet", "APFNet", "mfDiMP")
    results = {name: ResultFolder(name, folder / "results/LasHeR" / name) for name in names}
    evaluation = score_results(LASHER, load_results(LASHER, annotations, results), attributes=flags)
    path = tmp_path_factory.mktemp("lasher") / "report.html"
    write_page(evaluation, path)
    return evaluation, path


def test_an_attribute_of_lasher_has_the_tables_of_a_report_on_it(browser, lasher_page):
    """As written: what the buttons copy is what report.csv, .tex and .md hold for these sequences alone."""
    evaluation, path = lasher_page
    page = open_page(browser, path)
    page.choose("#choice-select", "LI (51)")
    page.wait()
    alone = score_results(LASHER, part_of(evaluation, np.flatnonzero(evaluation.flags["LI"]).tolist())).report
    assert page.copied("scores-table", "CSV") == without_speed(to_csv(headline(alone)))
    assert page.copied("scores-table", "LaTeX").count(r"\underline{") == 5
    measured = page.texts("#scores-table tbody small")
    wanted = [alone.trackers[name].intervals for name in alone.ranked("SR")]
    assert measured == [f"{low:.1f} to {high:.1f}" for ends in wanted for low, high in ends.values()]
    neighbours = [str(c) for c in alone.comparisons if (c.better, c.worse) != ("MTNet", "mfDiMP")]
    assert page.texts("#neighbours li") == neighbours
    assert page.texts("#choice-words")[0].startswith("51 of 245 sequences")
    page.click("#choice-all")
    assert page.copied("scores-table", "CSV") == without_speed(to_csv(headline(evaluation.report)))


def without_speed(text: str) -> str:
    """These results have no times, so the page has no column for them."""
    rows = list(csv.reader(io.StringIO(text)))
    assert {row[-1] for row in rows} == {"FPS", "-"}
    return to_csv([row[:-1] for row in rows])


def test_copied_tables_are_those_of_the_files(browser, tmp_path):
    evaluation = make_evaluation("LasHeR", tmp_path)
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    report = evaluation.report
    assert page.copied("scores-table", "CSV") == to_csv(headline(report))
    assert page.copied("scores-table", "Markdown") == markdown(headline(report))
    assert page.copied("scores-table", "LaTeX") == headline_latex(report)
    assert "✓" in page.driver.execute_script(
        "return getComputedStyle(arguments[0], '::after').content", page.button("scores-table", "LaTeX")
    )
    alone = score_results(LASHER, part_of(evaluation, list(CHOICE))).report
    page.choose_places(CHOICE)
    assert page.copied("scores-table", "CSV") == to_csv(headline(alone)), "with the speed on these sequences"
    assert page.copied("scores-table", "LaTeX") == headline_latex(alone)


def test_attributes_and_ticks_and_the_filter_choose(browser, tmp_path):
    evaluation = make_evaluation("LasHeR", tmp_path)
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    assert page.texts("#choice-select option")[:3] == ["all 14 sequences", "EVEN (7*)", "LAST (1*)"]
    page.click("#attributes-table button[data-attribute='0']")
    page.wait()
    assert page.texts("#choice-words")[0].startswith("7 of 14 sequences, fewer than 10:")
    assert page.texts("#attributes-table tbody tr:nth-child(2) td")[:2] == ["LAST", "0*"]
    page.all("#filter")[0].send_keys("s00")
    page.click("#choose-filtered")
    assert len(page.all("#sequences-table input:checked")) == 1
    assert page.texts("#scores-table tbody small") == [], "one sequence has no interval"
    assert page.texts("#neighbours li") == ["A single sequence allows no comparison."]
    page.click("#sequences-table tr:not([hidden]) input")
    assert page.texts("#scores-table tbody td:nth-child(2)") == ["–"] * 3, "nothing is chosen"
    page.click("#choice-all")
    assert not page.all("#choice-all")[0].is_displayed() and len(page.all("#sequences-table input:checked")) == COUNT
    assert browser.get_log("browser") == []


def test_the_address_brings_back_the_view(browser, tmp_path):
    evaluation = make_evaluation("LasHeR", tmp_path)
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    page.choose_places(CHOICE)
    page.choose("#attributes select", "NPR")
    page.choose("#pair-second", "a")
    page.click("#scores-table input[data-tracker='1']")
    page.driver.execute_script("showSequence(3, 7)")
    page.click("#theme")
    page.driver.execute_script("arguments[0].click()", page.all("#link")[0])
    link = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    read = "const { metric, pair, shown, sequence, frame, theme, chosen } = state;"
    read += "return [metric, pair, [...shown], sequence, frame, theme, inOrder(chosen)]"
    before, numbers = page.driver.execute_script(read), page.numbers()
    browser.get("about:blank")
    browser.get(link)
    page.wait()
    assert page.driver.execute_script(read) == before and page.numbers() == numbers
    assert before[0] == 1 and before[2] == [0, 2] and before[3:6] == [3, 7, "dark"]
    assert page.driver.execute_script("return location.href") == link
    browser.get(f"{page.path.as_uri()}#shown=zz&sequences=fffffff&pair=7,8&metric=XY&frame=99999&theme=pink&sequence=")
    page.driver.refresh()
    first = "return [state.shown.size, state.chosen, state.metric, state.frame, state.theme]"
    assert page.driver.execute_script(first) == [3, None, 4, None, None]
    assert browser.get_log("browser") == []


def test_a_rule_that_the_page_does_not_know_has_no_choice(browser, tmp_path):
    evaluation = make_evaluation("LasHeR", tmp_path)
    scored = {
        name: each._replace(combine=lambda weights, known=each.combine: known(weights))
        for name, each in evaluation.scored.items()
    }
    write_page(evaluation._replace(scored=scored), tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    assert not page.all("#choice")[0].is_displayed() and page.all("#sequences-table input") == []
    assert page.texts("#attributes-table tbody td:first-child") == ["EVEN", "LAST"]
    assert browser.get_log("browser") == []


def test_failures_by_hand(browser, tmp_path):
    """12 lost frames with a return; 9 of them are none; 10 up to the end, around an absence."""
    boxes = np.tile([20.0, 20, 10, 10], (60, 1))
    visible = np.ones(60, bool)
    visible[52:55] = False
    results = boxes.copy()
    results[10:22, 0] = 500
    results[30:39, 0] = 500
    results[47:, 0] = 500
    for name in ("car", "dog"):
        save(tmp_path / "t", annotate(boxes, visible, name), results if name == "car" else boxes)
    annotations = [annotate(boxes, visible, name) for name in ("car", "dog")]
    loaded = load_results(LASHER, annotations, {"t": ResultFolder("t", tmp_path / "t")})
    write_page(score_results(LASHER, loaded), tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    # 22 of 2 × 57 frames; lengths 12 and 10; one of two recovered, at frame 22; the first one after 10 of 60 frames.
    assert page.texts("#failures-table tbody td")[1:] == ["2", "1", "19.30", "11", "50.0", "17"]
    rows = page.texts("#longest-table tbody td")
    assert (rows[0], rows[2:5], rows[7:10]) == ("car", ["10", "12", "22"], ["47", "10", "never"])
    page.click("#longest-table tbody tr:nth-child(2) button")
    assert page.texts("#timeline-chart .tooltip > *")[0] == "Frame 47"
    page.choose_places([1])
    assert page.texts("#failures-table tbody td")[1:] == ["0", "0", "0.00", "–", "–", "–"]


def test_a_point_of_the_scatter_leads_to_its_sequence_without_traces_too(browser, tmp_path):
    evaluation = make_evaluation("VOT-RGBD2022", tmp_path)
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    script = """
        const point = [...document.querySelectorAll("#pair-chart circle[data-sequence]")].pop();
        const area = byId("pair-chart").getBoundingClientRect();
        const [left, top] = [area.left + Number(point.getAttribute("cx")), area.top + Number(point.getAttribute("cy"))];
        byId("pair-chart").dispatchEvent(new MouseEvent("click", { clientX: left, clientY: top }));
        return data.sequences[point.dataset.sequence].name"""
    name = page.driver.execute_script(script)
    (row,) = page.all("#sequences-table tr.chosen")
    assert row.text.split()[0] == name
    top = page.driver.execute_script("return arguments[0].getBoundingClientRect().top", row)
    assert 0 < top < 900


def test_resamples_without_a_score_are_ignored_as_in_python(browser, tmp_path):
    """One of two chosen sequences has no frame with an overlap, and is left out where the rule says so."""
    evaluation, benchmark = make_evaluation("RGBT210", tmp_path), BENCHMARKS["RGBT210"]
    benchmark = benchmark._replace(rule=replace(benchmark.rule, drop_zero_curves=True, replace_first_row=False))
    evaluation = score_results(benchmark, evaluation.results)
    assert np.isnan(evaluation.scored["a"].combine(np.eye(COUNT)[3:4])["SR"]).all()
    write_page(evaluation, tmp_path / "report.html")
    page = open_page(browser, tmp_path / "report.html")
    page.choose_places([3, 4])
    found, (trackers, pairs) = page.numbers(), expected(evaluation, benchmark, [3, 4])
    for tracker, (scores, ends) in trackers.items():
        np.testing.assert_allclose(found["trackers"][tracker]["scores"], scores, atol=1e-9)
        np.testing.assert_allclose(found["trackers"][tracker]["intervals"], ends, atol=1e-9)
    assert found["pairs"] == pairs
    page.choose_places([3])
    assert found["trackers"].keys() == page.numbers()["trackers"].keys()
    assert page.numbers()["trackers"]["a"]["scores"][-1] == 0, "as in the toolkits"


def test_numbers_are_rounded_as_python_rounds_them(browser, lasher_page):
    values = [step / 64 for step in range(-640, 6500, 7)] + [step / 1000 + 0.005 for step in range(0, 100000, 97)]
    page = open_page(browser, lasher_page[1])
    for digits in (0, 1, 2, 3):
        found = page.driver.execute_script("return arguments[0].map((v) => fixed(v, arguments[1]))", values, digits)
        assert found == [f"{value:.{digits}f}" for value in values]
