"""The demo: the videos that it shows first, and the table of its trackers on its three benchmarks."""

from __future__ import annotations

from pathlib import Path

from lib.data.datasets import load_dataset
from lib.data.storage import open_store
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import LASHER
from lib.evaluation.evaluate import evaluate
from lib.evaluation.report import Report
from lib.utils.paths import results_folder

BENCHMARKS = ("LasHeR", "DepthTrack", "VisEvent")
ROWS = {  # title of the row → tracker and name of its result folder
    "a box that never moves": ("static", "demo"),
    "student, RGB alone": ("transcmd", "demo_drop_aux"),
    "student, auxiliary alone": ("transcmd", "demo_drop_rgb"),
    "student without distillation": ("transcmd", "demo_supervised"),
    "student, distilled": ("transcmd", "demo"),
    "teacher": ("transcmd", "teacher_nano"),
}


def video_words(dataset: str, data_root: Path) -> list[str]:
    """Returns the arguments of tracking/demo.py that track the first test sequence of a data set in a folder.

    Raises:
        FileNotFoundError: the data set is missing.
        ValueError: an annotation is invalid.
    """
    sequence = load_dataset(dataset, open_store(data_root / dataset, dataset))[0]
    rgb, aux = (str((data_root / dataset / keys[0]).parent) for keys in (sequence.rgb_keys, sequence.aux_keys))
    box = [f"{value:g}" for value in sequence.boxes_xywh[0]]
    return ["--rgb", rgb, "--aux", aux, "--modality", sequence.modality, "--box", *box]


def demo_table(save_dir: Path, data_root: Path) -> str:
    """Returns a Markdown table of the official scores and of LasHeR's success rate on all three sets, per cent.

    Raises:
        FileNotFoundError: a report or a data set is missing.
        ValueError: a result is missing or invalid.
    """
    columns: dict[str, list[float]] = {}
    for name in BENCHMARKS:
        report = Report.from_json(save_dir / "test" / "reports" / name / "report.json")
        sequences = load_dataset(name, open_store(data_root / name, name))
        folders = {"/".join(row): results_folder(save_dir, *row, name) for row in ROWS.values()}
        success = evaluate(LASHER, annotations_from_sequences(sequences), folders)
        official = "F" if "F" in report.metrics else "PR"
        columns[f"{name} {official}"] = [report.trackers[tracker].scores[official] for tracker in folders]
        columns[f"{name} SR"] = [success.trackers[tracker].scores["SR"] for tracker in folders]
    lines = [
        f"| {'per cent':30} | {' | '.join(columns)} |",
        f"| {'-' * 30} | {' | '.join('-' * (len(column) - 1) + ':' for column in columns)} |",
    ]
    for row, title in enumerate(ROWS):
        cells = (f"{values[row]:{len(column)}.1f}" for column, values in columns.items())
        lines.append(f"| {title:30} | {' | '.join(cells)} |")
    return "\n".join(lines)
