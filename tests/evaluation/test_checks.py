"""Results that can be read but are probably not what they should be are reported, and never corrected in silence."""

import zipfile

import numpy as np
import pytest

from lib.evaluation.annotations import annotations_from_folder
from lib.evaluation.benchmarks import LASHER, RGBT210, STC, VISEVENT
from lib.evaluation.evaluate import evaluate
from lib.evaluation.rules.base import PROTOCOLS
from lib.report.tables import page
from tests.evaluation.test_evaluation import annotate, save, score

RNG = np.random.default_rng(0)
FRAMES = 30


def moving(name="a", frames=FRAMES):
    """A target that moves by 3 px a frame, so that shifted rows fit worse."""
    start = RNG.uniform(50, 200, 2)
    boxes = [[*(start + 3 * t), 24, 16] for t in range(frames)]
    return annotate(boxes, name=name)


def sequences(count):
    return [moving(f"s{number:02d}") for number in range(count)]


# --- formats ----------------------------------------------------------------------------------------------------------

FORMATS = {
    "x1 y1 x2 y2": lambda b: np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1),
    "the centre and w h": lambda b: np.concatenate([b[:, :2] + b[:, 2:] / 2, b[:, 2:]], axis=1),
    "y x h w": lambda b: b[:, [1, 0, 3, 2]],
    "fractions of the image": lambda b: b / [640, 480, 640, 480],
}


@pytest.mark.parametrize("words", FORMATS)
def test_another_box_format_is_named_in_the_report(tmp_path, words):
    annotations = sequences(12)
    for annotation in annotations:
        save(tmp_path, annotation, FORMATS[words](annotation.boxes_xywh))
    report = score(LASHER, tmp_path, annotations)
    (warning,) = report.warnings
    # A centre can hit a large box by half: at least the other formats never do.
    assert "results do not start at the annotated box (IoU below 0.5)" in warning and words in warning
    assert f"- Warning: {warning}" in page(report)


def test_a_tenth_of_the_results_may_start_elsewhere(tmp_path):
    annotations = sequences(20)
    for number, annotation in enumerate(annotations):
        shift = [100, 0, 0, 0] if number < 2 else 0
        save(tmp_path, annotation, annotation.boxes_xywh + shift)
    assert not score(LASHER, tmp_path, annotations).warnings
    save(tmp_path, annotations[2], annotations[2].boxes_xywh + [100, 0, 0, 0])
    assert score(LASHER, tmp_path, annotations).warnings[0].startswith("t: 3 of 20 results do not start")


def test_published_results_give_no_false_alarm(shared):
    gt = annotations_from_folder(shared / "reference/gt/LasHeR_test")
    folders = {path.name: path for path in sorted((shared / "reference/results/LasHeR").iterdir()) if path.is_dir()}
    assert len(folders) >= 4
    report = evaluate(LASHER, gt, folders, allow_missing=True)
    assert not [warning for warning in report.warnings if "do not start" in warning]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_an_extra_first_row_is_found_and_scored_unchanged(tmp_path):
    annotations = sequences(8)
    for number, annotation in enumerate(annotations):
        boxes = annotation.boxes_xywh
        rows = [boxes[0], *boxes] if number < 3 else [*boxes, boxes[-1]] if number == 3 else boxes
        save(tmp_path, annotation, rows)
    report = score(LASHER, tmp_path, annotations)
    first, last = report.warnings
    assert first.startswith("t: 3 of 8 results have rows that fit the annotation better without the first one")
    assert first.endswith("s00 (31 of 30), s01 (31 of 30), s02 (31 of 30).")
    assert last == "t: 1 of 8 results have rows after the last annotated frame: s03 (31 of 30)."
    assert report.trackers["t"].per_sequence["s00"]["SR"] < report.trackers["t"].per_sequence["s04"]["SR"]


def test_an_extra_row_in_every_result_is_not_taken_for_another_benchmark(tmp_path):
    annotations = sequences(8)
    for annotation in annotations:
        save(tmp_path, annotation, [annotation.boxes_xywh[0], *annotation.boxes_xywh])
    assert score(LASHER, tmp_path, annotations).warnings[0].startswith("t: 8 of 8 results have rows that fit")
    for annotation in annotations:
        save(tmp_path, annotation, np.tile(annotation.boxes_xywh, (2, 1)))
    with pytest.raises(ValueError, match="8 of 8 results differ in length"):
        score(LASHER, tmp_path, annotations)


@pytest.mark.parametrize("stray", [False, True])
def test_a_missing_first_row_in_every_result_is_not_taken_for_another_benchmark(tmp_path, stray):
    annotations = sequences(12)
    for number, annotation in enumerate(annotations):
        save(tmp_path, annotation, annotation.boxes_xywh[1 if number or not stray else 7 :])
    with pytest.raises(ValueError, match=r"s01: 29 rows for 30 frames .* is the first box missing\?"):
        score(LASHER, tmp_path, annotations)


def test_a_missing_first_row_is_found(tmp_path):
    annotation = moving()
    save(tmp_path, annotation, annotation.boxes_xywh[1:])
    report = score(LASHER.under("pytracking"), tmp_path, [annotation])
    assert "is the first box missing?: a (29 of 30)" in report.warnings[0]


@pytest.mark.parametrize("extra", [200, -200])
@pytest.mark.parametrize("everywhere", [False, True])
def test_results_that_are_200_rows_longer_or_shorter(tmp_path, extra, everywhere):
    annotations = [moving(f"s{number}", 300) for number in range(8)]
    for number, annotation in enumerate(annotations):
        boxes = annotation.boxes_xywh
        changed = boxes[:extra] if extra < 0 else np.concatenate([boxes, boxes[:extra]])
        save(tmp_path, annotation, changed if everywhere or not number else boxes)
    if everywhere:
        with pytest.raises(ValueError, match="8 of 8 results differ in length from LasHeR's annotations"):
            score(LASHER, tmp_path, annotations)
    elif extra < 0:
        with pytest.raises(ValueError, match="s0: 100 rows for 300 frames"):
            score(LASHER, tmp_path, annotations)
    else:
        assert (
            "rows after the last annotated frame: s0 (500 of 300)" in score(LASHER, tmp_path, annotations).warnings[0]
        )


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ("0.1\n0.1\n", r"a_time.txt (2 times for 30 rows)"),
        ("30\n" * FRAMES, "a_time.txt (the median is 30: frames per second instead of seconds?)"),
        ("0.1\n" + "-1\n" * (FRAMES - 1), "a_time.txt (a time is -1 s)"),
        ("0.1\ninf\n" + "0.1\n" * (FRAMES - 2), "a_time.txt (a time is inf s)"),
        ("0.1 0.2\n" * FRAMES, "a_time.txt (2 numbers per row)"),
        ("", "a_time.txt (0 times for 30 rows)"),
        ("fast\n" * FRAMES, "line 1: 'fast' is not a number"),
    ],
)
def test_times_that_cannot_be_right_leave_fps_out(tmp_path, times, reason):
    annotation = moving()
    save(tmp_path, annotation)
    (tmp_path / "a_time.txt").write_text(times)
    report = score(LASHER, tmp_path, [annotation])
    assert report.trackers["t"].fps is None and report.trackers["t"].scores["PR"] == 100
    (warning,) = report.warnings
    assert "have no usable times and are left out of FPS" in warning and reason in warning


def test_times_may_leave_the_first_frame_out(tmp_path):
    annotation = moving()
    save(tmp_path, annotation)
    (tmp_path / "a_time.txt").write_text("0.05\n" * (FRAMES - 1))
    report = score(LASHER, tmp_path, [annotation])
    assert report.trackers["t"].fps == pytest.approx(20) and not report.warnings


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    ["CAT-{0}.txt", "{0}_CAT.txt", "{1}.txt", "{0}.TXT", "{0}.csv", "{0}/{0}.txt", "CAT_{0}.txt", "{2}.txt"],
)
def test_names_that_almost_fit_are_matched_and_said(tmp_path, pattern):
    annotations = [moving(name) for name in ("old-man", "man", "boy`shead")]
    for annotation in annotations:
        save(tmp_path / "plain", annotation)
        name = annotation.name
        target = tmp_path / "t" / pattern.format(name, name.upper(), name.replace("-", "_").replace("`", "'"))
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / f"{name}.txt").rename(target)
    report = score(LASHER, tmp_path / "t", annotations)
    assert report.trackers["t"].scores["PR"] == 100
    assert "results are read from files with other names: " in report.warnings[0]


def test_a_backup_never_stands_in_for_a_result(tmp_path):
    annotations = sequences(4)
    for annotation in annotations:
        save(tmp_path, annotation)
    (tmp_path / "s01.txt").rename(tmp_path / "backup_of_s01.txt")
    with pytest.raises(ValueError, match=r"for 1 of 4: s01; did you mean backup_of_s01\.txt for s01\?"):
        score(LASHER, tmp_path, annotations)


def test_of_two_files_the_report_says_which_is_read(tmp_path):
    annotation = moving()
    save(tmp_path, annotation)
    save(tmp_path, moving("CAT_a"))
    report = score(LASHER, tmp_path, [annotation])
    assert report.warnings == ("t: 1 of 1 results have another file that is not read: CAT_a.txt beside a.txt.",)


def test_misspelt_names_are_asked_for(tmp_path):
    annotations = [moving("blackcar"), moving("whitecar")]
    save(tmp_path, annotations[0])
    save(tmp_path, moving("whitecarr"))
    with pytest.raises(ValueError, match=r"did you mean whitecarr\.txt for whitecar\?"):
        score(LASHER, tmp_path, annotations)


def test_a_zip_is_read_as_a_folder(tmp_path):
    annotations = sequences(3)
    for annotation in annotations:
        save(tmp_path / "t", annotation)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for path in sorted((tmp_path / "t").iterdir()):
            archive.write(path, f"t/{path.name}")
        archive.writestr("__MACOSX/t/._s00.txt", b"\x00\x05")
    folder, archived = (score(LASHER, tmp_path / name, annotations) for name in ("t", "t.zip"))
    assert archived.trackers == folder.trackers


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["._s00.txt", ".DS_Store", "Thumbs.db", "._CAT_s00.txt"])
def test_files_of_file_managers_are_skipped(tmp_path, name):
    annotations = sequences(3)
    for annotation in annotations:
        save(tmp_path / "t", annotation)
        text = "\n".join(",".join(map(str, row)) for row in annotation.boxes_xywh.tolist())
        (tmp_path / "gt").mkdir(exist_ok=True)
        (tmp_path / "gt" / f"{annotation.name}.txt").write_text(text)
    for folder in ("t", "gt"):
        (tmp_path / folder / name).write_bytes(b"\x00\x05\x16\x07")
    report = score(LASHER, tmp_path / "t", annotations_from_folder(tmp_path / "gt"))
    assert report.sequences == 3 and report.trackers["t"].scores["PR"] == 100 and not report.warnings


def test_utf_16_with_a_byte_order_mark_is_read(tmp_path):
    annotation = moving()
    save(tmp_path, annotation)
    for suffix in ("", "_time"):
        path = tmp_path / f"a{suffix}.txt"
        path.write_text(path.read_text(), encoding="utf-16")
    report = score(LASHER, tmp_path, [annotation])
    assert report.trackers["t"].scores["PR"] == 100 and report.trackers["t"].fps and not report.warnings


@pytest.mark.parametrize("content", [b"\xff\xfe\x31", b"\x89PNG\r\n\x1a\n\x00", b"1,2,3,4\n\xe9"])
@pytest.mark.parametrize("kind", ["result", "annotation"])
def test_files_that_are_not_text_are_named(tmp_path, content, kind):
    annotation = moving()
    save(tmp_path / "t", annotation)
    (tmp_path / "gt").mkdir()
    if kind == "result":
        (tmp_path / "t/a.txt").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.txt: expected UTF-8 text, got other bytes"):
            score(LASHER, tmp_path / "t", [annotation])
    else:
        (tmp_path / "gt/a.txt").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.txt: expected UTF-8 text, got other bytes"):
            annotations_from_folder(tmp_path / "gt")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("7_0_0,2,3,4", "'7_0_0' is not a number"),
        ("700,,381,49", "a field is empty"),
        (",700,381,49", "a field is empty"),
    ],
)
def test_fields_are_counted_and_numbers_have_no_underscores(tmp_path, row, reason):
    annotation = annotate([[1, 2, 3, 4]] * 2)
    save(tmp_path, annotation)
    (tmp_path / "a.txt").write_text(f"1,2,3,4\n{row}\n")
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: {reason}"):
        score(LASHER, tmp_path, [annotation])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("benchmark", [LASHER, RGBT210, STC, VISEVENT], ids=lambda row: row.name)
@pytest.mark.parametrize("corners", [False, True])
def test_a_result_that_starts_with_the_code_of_the_toolkit_is_read(tmp_path, benchmark, protocol, corners):
    annotation = moving()
    save(tmp_path, annotation)
    if corners:
        x, y, w, h = annotation.boxes_xywh.T
        rows = np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1)
        (tmp_path / "a.txt").write_text("\n".join(",".join(map(str, row)) for row in rows.tolist()))
    text = (tmp_path / "a.txt").read_text().split("\n", 1)[1]
    (tmp_path / "a.txt").write_text(f"1\n{text}")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "a.txt", "a.txt")
    for results in (tmp_path, tmp_path / "t.zip"):
        scores = score(benchmark.under(protocol), results, [annotation]).trackers["t"].scores
        assert scores.get("OP50", scores.get("PR")) == 100


def test_many_broken_files_give_a_short_message(tmp_path):
    annotations = sequences(40)
    for annotation in annotations:
        save(tmp_path, annotation)
        (tmp_path / f"{annotation.name}.txt").write_text("x y w h\n1 2 3 4\n")
    with pytest.raises(ValueError, match="and 35 more") as error:
        score(LASHER, tmp_path, annotations)
    assert len(str(error.value)) < 1500
