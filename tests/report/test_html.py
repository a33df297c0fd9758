"""report.html without a browser: embedded data, escaping of markup, and selection and drawing of moments."""

import base64
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.data.drop import Drop
from lib.data.sequence import Sequence
from lib.evaluation.report import Comparison, Curve, Report, TrackerScores
from lib.report import moments
from lib.report.html import ABSENT, SCRIPTS, TEMPLATE, write_html
from lib.report.moments import Moment, draw_moments, find_moments, window_around
from lib.report.palette import COLOURS, DARK_COLOURS, DASHES, MARKERS, MAX_TRACKERS
from lib.report.tables import headline
from lib.structures import Frame
from lib.utils.draw import TRUTH
from tests.helpers import MemoryStore, encode

EVIL = '</script><b>a$b&"{{data}}\u2028'


def make_report(names=("first", "second"), sequences=("car", "dog")) -> Report:
    trackers = {}
    for place, name in enumerate(names):
        score = 60.0 - 10 * place
        success = Curve([0.0, 0.5, 1.0], [90.0 - place, score, 0.0])
        trackers[name] = TrackerScores(
            scores={"PR": score + 5, "OP50": score, "SR": score},
            per_sequence={s: {"PR": 50.0, "OP50": score, "SR": score - 30 * i} for i, s in enumerate(sequences)},
            curves={
                "PR": Curve([0.0, 20.0, 50.0], [0.0, score + 5, 99.0], 20.0),
                "OP50": success._replace(score_at=0.5),
                "SR": success,
            },
            fps=30.0 if place else None,
            intervals={"PR": (1.0, 2.0), "OP50": (3.0, 4.0), "SR": (score - 2.04, score + 3)},
            attributes={"NO": {"PR": 1.0, "OP50": 2.0, "SR": 10.0 + place}},
            attribute_intervals={"NO": {"PR": (0.5, 1.5), "OP50": (1.0, 3.0), "SR": (8.0, 12.0 + place)}},
        )
    comparisons = tuple(Comparison(a, b, 10.0, 5.0, 15.0, 0.01) for a, b in zip(names, names[1:], strict=False))
    return Report(
        benchmark="LasHeR",
        source="",
        metrics=("PR", "OP50", "SR"),
        sequences=len(sequences),
        all_sequences=245,
        verified=True,
        notes=("First frame: …",),
        missing=("second/cat: no file",),
        trackers=trackers,
        attributes={"NO": 1},
        comparisons=comparisons,
    )


def make_traces(report: Report, frames: int = 40) -> dict:
    line = np.linspace(1, 0, frames, dtype=np.float32)
    line[5:8] = np.nan
    names = report.trackers[next(iter(report.trackers))].per_sequence
    return {tracker: {name: line / (1 + place) for name in names} for place, tracker in enumerate(report.trackers)}


def read_data(text: str) -> dict:
    """What the page's script will read: the text up to the first end tag, as a browser takes it."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script', text, re.S)[1])


def page(tmp_path, report, traces=None, pictures=()) -> str:
    write_html(report, traces or {}, list(pictures), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


# --- the page ---------------------------------------------------------------------------------------------------------


def test_numbers_are_kept_and_traces_rounded_to_per_cent(tmp_path):
    report = make_report()
    data = read_data(page(tmp_path, report, make_traces(report)))
    assert data["title"] == "LasHeR, 2 of 245 sequences"
    assert [sequence["name"] for sequence in data["sequences"]] == ["dog", "car"]  # the worst sequence first
    first, second = data["trackers"]
    assert (first["name"], first["scores"], first["intervals"][2]) == ("first", [65.0, 60.0, 60.0], [57.96, 63.0])
    assert first["sequences"][2] == [30.0, 60.0] and second["attributes"][2] == [11.0]
    assert (first["fps"], second["fps"]) == (None, 30.0)
    values = np.frombuffer(base64.b64decode(second["traces"][0]), np.uint8)
    assert values[5:8].tolist() == [ABSENT] * 3 and data["sequences"][0]["frames"] == 40
    np.testing.assert_allclose(values[8:] / 100, make_traces(report)["second"]["dog"][8:], atol=0.00501)


def test_trackers_are_sorted_by_rank_with_the_styles_of_the_figures(tmp_path):
    names = [f"tracker{place}" for place in range(12)]
    report = make_report(names)
    shuffled = replace(report, trackers=dict(reversed(report.trackers.items())))
    found = read_data(page(tmp_path, shuffled))["trackers"]
    assert [tracker["name"] for tracker in found] == names
    assert [tracker["colour"] for tracker in found] == [*COLOURS, COLOURS[0]]
    assert found[0]["dash"] == [] and len(found[1]["dash"]) == len(DASHES[1][1])
    assert [tracker["dark"] for tracker in found] == [*DARK_COLOURS, DARK_COLOURS[0]]


def test_no_two_trackers_of_a_plot_have_the_same_dot(tmp_path):
    found = read_data(page(tmp_path, make_report([f"tracker{place:02d}" for place in range(MAX_TRACKERS)])))["trackers"]
    for colour in ("colour", "dark"):
        assert len({(tracker[colour], tracker["marker"]) for tracker in found}) == MAX_TRACKERS
    assert {tracker["marker"] for tracker in found} == set(MARKERS)
    for marker in MARKERS[1:]:  # a circle is what the script draws for any other name
        assert f'marker === "{marker}"' in SCRIPTS[-1].read_text(encoding="utf-8")


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_line_can_be_seen_on_the_dark_page():
    dark = re.search(r'data-theme="dark"\] \{.*?--page: (#\w+)', TEMPLATE.read_text(encoding="utf-8"), re.S)[1]
    assert luminance(dark) < 0.02
    for colour in DARK_COLOURS:
        assert (luminance(colour) + 0.05) / (luminance(dark) + 0.05) > 4.5, colour


def test_intervals_of_attributes_are_in_the_page(tmp_path):
    first, second = read_data(page(tmp_path, make_report()))["trackers"]
    assert first["attributeIntervals"] == [[[0.5, 1.5]], [[1.0, 3.0]], [[8.0, 12.0]]]
    assert second["attributeIntervals"][2] == [[8.0, 13.0]]


def test_metrics_of_the_same_curve_share_a_plot(tmp_path):
    plots = read_data(page(tmp_path, make_report()))["plots"]
    assert [plot["title"] for plot in plots] == ["Precision (PR)", "Success (OP50, SR)"]
    assert plots[1]["marks"] == [{"metric": "OP50", "at": 0.5}]


def test_precision_and_recall_mark_the_point_of_the_table(tmp_path):
    scores = {"Pr": 50.0, "Re": 40.0, "F": 44.4}
    tracker = TrackerScores(scores, {"a": scores}, {"F": Curve([90.0, 40.0], [20.0, 50.0])})
    report = Report("DepthTrack", "", ("Pr", "Re", "F"), 1, 50, False, (), (), {"t": tracker, "u": tracker})
    data = read_data(page(tmp_path, report))
    assert [plot["points"] for plot in data["plots"]] == [[[40.0, 50.0]] * 2]
    assert "not verified against published figures" in data["badges"]


def test_dropped_images_are_named_in_short_labels_and_in_curves(tmp_path):
    names = ("t/x", "t/x_drop_aux-0.3-random-blackout", "t/x_drop_both-0.5-switched-freeze")
    report = make_report(names)
    drops = (None, Drop.parse("aux:0.3"), Drop.parse("both:0.5:switched:freeze"))
    trackers = {name: replace(report.trackers[name], drop=drop) for name, drop in zip(names, drops, strict=True)}
    data = read_data(page(tmp_path, replace(report, trackers=trackers)))
    assert [t["label"] for t in data["trackers"]] == ["t/x", "t/x − aux:0.3", "t/x − both:0.5:switched:freeze"]
    first, second = data["robustness"]
    assert (first["name"], first["x"], first["runs"]) == ("t/x: aux, random, blackout", [0, 30], [0, 1])
    assert (second["name"], second["runs"]) == ("t/x: both, switched, freeze", [0, 2])
    assert read_data(page(tmp_path, report))["robustness"] == []


def test_the_page_contains_the_same_numbers_as_the_tables(tmp_path):
    """Rounded once: 8.2251 is 8.23 in both, and not 8.225 first and 8.22 then."""
    report = make_report()
    first = replace(report.trackers["first"], scores={"PR": 65.0, "OP50": 8.2251, "SR": 60.0})
    report = replace(report, trackers={**report.trackers, "first": first})
    assert read_data(page(tmp_path, report))["trackers"][0]["scores"][1] == float(headline(report)[1][2]) == 8.23


def test_badges_name_results_that_cannot_be_compared(tmp_path):
    report = make_report()
    assert read_data(page(tmp_path, report))["badges"] == ["incomplete: 2 of 245 sequences", "1 left out, see below"]
    synthetic = replace(report, source="synthetic data", missing=())
    assert read_data(page(tmp_path, synthetic))["badges"] == ["synthetic data"]


def test_names_that_look_like_markup_are_escaped(tmp_path):
    report = make_report((EVIL, "second"), ("car", EVIL))
    report = replace(report, source=EVIL, notes=(EVIL,), attributes={})
    text = page(tmp_path, report, make_traces(report), [Moment(EVIL, EVIL, 3, 0.0, b"jpeg")])
    data = read_data(text)
    assert data["trackers"][0]["name"] == data["sequences"][0]["name"] == data["notes"][0] == EVIL
    assert data["moments"][0] | {"jpeg": ""} == {"sequence": 0, "tracker": 0, "frame": 3, "overlap": 0.0, "jpeg": ""}
    assert text.count("</script>") == TEMPLATE.read_text(encoding="utf-8").count("</script>") == 2
    assert "<b>" not in text and "{{title}}" not in text and text.count("&lt;/script&gt;&lt;b&gt;") == 1


def test_the_script_builds_no_markup_and_loads_nothing():
    text = "".join(file.read_text(encoding="utf-8") for file in (TEMPLATE, *SCRIPTS))
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "://", "@import", "url("):
        assert word not in text, word
    assert "default-src 'none'" in text and not re.search(r"<(script|img|iframe)[^>]* src=|<link[^>]*stylesheet", text)


def test_a_page_can_be_made_from_scores_only(tmp_path):
    scores = {"A": 70.0, "R": 80.0, "EAO": float("nan")}
    report = Report("VOT", "", ("A", "R", "EAO"), 1, 1, True, (), (), {"t": TrackerScores(scores, {"a": scores}, {})})
    data = read_data(page(tmp_path, report))
    assert data["trackers"][0]["scores"] == [70.0, 80.0, None]
    assert data["trackers"][0]["traces"] == [""] and not data["plots"] and not data["moments"]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    report = make_report()
    assert page(tmp_path, report, make_traces(report)) == page(tmp_path, report, make_traces(report))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# --- moments ----------------------------------------------------------------------------------------------------------


def trace(frames: int = 200, **lost) -> np.ndarray:
    """Returns an overlap of 0.8, except in runs (first, last) of lost frames, and NaN in absent frames."""
    overlap = np.full(frames, 0.8, np.float32)
    for name, (first, last) in lost.items():
        overlap[first : last + 1] = np.nan if name == "absent" else 0
    return overlap


def test_a_single_tracker_is_shown_where_it_lost_the_target():
    traces = {"t": {"a": trace(lost=(50, 90)), "b": trace(lost=(10, 19)), "c": trace()}}
    assert find_moments(traces, 5) == [("a", "t", 50), ("b", "t", 10)]


def test_absent_frames_neither_count_nor_interrupt():
    traces = {"t": {"a": trace(lost=(50, 90), absent=(60, 80)), "b": trace(lost=(0, 30)), "c": trace(absent=(0, 99))}}
    assert find_moments(traces, 5) == [("b", "t", 0), ("a", "t", 50)]  # 31 lost frames, and 20 around the absence


def test_moments_that_others_track_come_before_those_that_all_lose():
    hard, alone = trace(lost=(0, 29)), trace(lost=(100, 119))
    traces = {"t": {"a": hard, "b": alone}, "u": {"a": hard, "b": trace()}}
    traces["u"]["b"][110] = 0.9  # the shown frame: the other tracker is best there
    assert find_moments(traces, 1) == [("b", "t", 110)]


def test_moments_alternate_between_trackers_and_are_far_from_each_other():
    lost = {"a": trace(400, one=(0, 99), two=(120, 220), three=(240, 260)), "b": trace(400, one=(0, 9))}
    found = find_moments({"bad": lost, "good": {"a": trace(400, one=(130, 131)), "b": trace(400)}}, 9)
    assert found[:2] == [("a", "bad", 120), ("b", "bad", 0)]  # the good tracker's only loss is near the bad one's
    assert [frame for name, _, frame in found if name == "a"] == [120, 0, 240]
    both = {"t": {"a": trace(lost=(0, 99)), "b": trace(lost=(0, 50))}, "u": {"a": trace(), "b": trace(lost=(60, 70))}}
    assert [tracker for _, tracker, _ in find_moments(both, 2)] == ["t", "u"]


def test_without_a_failure_there_is_no_moment():
    assert find_moments({}, 5) == [] == find_moments({"t": {"a": trace()}}, 5)
    assert find_moments({"t": {"a": np.full(4, np.nan, np.float32)}}, 5) == []


def make_sequence(**changes) -> Sequence:
    files = {f"{kind}{t}.png": encode(np.full((90, 160, 3), value, np.uint8), ".png") for t in range(4)
             for kind, value in (("rgb", 200), ("aux", 40))}  # fmt: skip
    files |= changes.pop("files", {})
    boxes = np.tile([60.0, 40, 20, 10], (4, 1))
    keys = [[f"{kind}{t}.png" for t in range(4)] for kind in ("rgb", "aux")]
    return Sequence("a", "rgbt", MemoryStore(files), *keys, boxes, np.ones(4, bool), **changes)


def decode(picture: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def is_near(picture: np.ndarray, colour) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=-1) < 60


def test_moments_show_both_modalities_with_every_box_in_its_colour():
    results = {
        "first": {"a": np.tile([61.0, 41, 20, 10], (4, 1))},
        "second": {"a": np.tile([90.0, 50, 20, 10], (4, 1))},
    }
    (moment,) = draw_moments([("a", "second", 2)], {"a": make_sequence()}, results)
    assert (moment.sequence, moment.tracker, moment.frame, moment.overlap) == ("a", "second", 2, 0.0)
    picture = decode(moment.jpeg)
    assert picture.shape == (180, 480, 3)
    assert abs(np.median(picture[:, :240]) - 200) < 9 and abs(np.median(picture[:, 240:]) - 40) < 9
    for colour in (TRUTH, bytes.fromhex(COLOURS[1][1:])):
        for half in (picture[:, :240], picture[:, 240:]):
            assert is_near(half, [*colour]).sum() > 50, colour


def test_annotations_of_each_modality_are_drawn_in_its_own_image(monkeypatch):
    drawn = []
    monkeypatch.setattr(moments, "draw_moment", lambda frame, truths, *_: drawn.append(truths) or frame.rgb.copy())
    apart = np.tile([90.0, 50, 20, 10], (4, 1))
    (moment,) = draw_moments([("a", "t", 0)], {"a": make_sequence(aux_boxes_xywh=apart)}, {"t": {"a": apart}})
    assert [truth.tolist() for truth in drawn[0]] == [[60, 40, 20, 10], [90, 50, 20, 10]] and moment.overlap == 1.0


def test_unreadable_images_are_skipped_with_a_warning(caplog):
    results = {"t": {"a": np.tile([0.0, 0, 5, 5], (4, 1))}}
    picked = [("a", "t", 1), ("a", "t", 3)]
    found = draw_moments(picked, {"a": make_sequence(files={"aux1.png": b"broken"})}, results)
    assert [moment.frame for moment in found] == [3] and "no picture of a, frame 1" in caplog.text


@pytest.mark.parametrize(
    "boxes",
    [
        [[60, 40, 20, 10], [90, 50, 20, 10]],
        [[0, 0, 5, 5], [1900, 1070, 20, 10]],  # from corner to corner: the complete image
        [[60, 40, 20, 10], [-5000, 9000, 20, 10]],  # a box far outside
        [[60, 40, 20, 10], [np.nan] * 4],
        [[0, 0, 0, 0], [np.nan] * 4],
    ],
)
def test_windows_contain_the_parts_of_the_boxes_in_the_image(boxes):
    x, y, width, height = window_around([np.array(box, float) for box in boxes], 1920, 1080)
    assert width / height == pytest.approx(240 / 180) and 480 <= width <= 1920
    assert x >= 0 and x + width <= 1920 + 1e-6
    for left, top, w, h in boxes:
        if w > 0 and 0 <= left < 1920 and 0 <= top < 1080:
            assert x <= left and y <= top and left + w <= x + width + 1e-6 and top + h <= y + height + 1e-6


def test_images_of_any_size_and_boxes_outside_them_can_be_drawn():
    image = np.zeros((8, 2000, 3), np.uint8)
    far = np.array([1e9, -1e9, 1e9, 3.0])
    picture = moments.draw_moment(Frame(image, image), [far], {"t": far}, "t", {"t": (255, 0, 0)})
    assert picture.shape == (180, 480, 3)
