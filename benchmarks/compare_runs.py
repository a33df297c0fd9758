"""Compares two output folders of the same commands, run before and after a change that should not alter results.

python benchmarks/compare_runs.py BEFORE AFTER

Checkpoints are compared tensor by tensor and bit by bit (the network, and the projections and decoders of its task),
result files byte by byte, reports, tables and validation.json by their numbers and texts. Not compared: times, logs,
pictures and pages; run.json, unless --strict; optimizer states.
Exit status 1: something differs, or only one of the folders has it.
"""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch

from lib.models.weights.read import current_name, network_of, read_checkpoint
from lib.utils.cli import Parser, run_command


class Difference(NamedTuple):
    """What differs in one file."""

    where: str
    size: float = 0.0  # of a number; 0 for texts and for what only one side has


def compare_nets(before: Path, after: Path) -> Iterator[Difference]:
    """Yields the tensors of two networks that are not the same bit by bit."""
    first, second = (read_tensors(path) for path in (before, after))
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second:
            yield Difference(f"{name}: only {'after' if name in second else 'before'}")
        elif first[name].dtype != second[name].dtype or first[name].shape != second[name].shape:
            yield Difference(f"{name}: another type or shape")
        elif not torch.equal(as_bytes(first[name]), as_bytes(second[name])):
            yield Difference(name, largest_difference(first[name].double(), second[name].double()))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The network, and what else its task has trained, under "task/"; names of older versions are mapped."""
    content = read_checkpoint(path)
    task = content.get("task", content.get("helpers", {}))
    tensors = network_of(content, path, finite=False).tensors
    return {**tensors, **{f"task/{current_name(name)}": t for name, t in task.items()}}


def largest_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of two tensors of the same shape; infinite where only one of them is NaN."""
    same = (first == second) | (first.isnan() & second.isnan())
    return float(torch.where(same, 0.0, first - second).abs().nan_to_num(float("inf")).max())


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's memory, so that NaN equals itself and 0 does not equal -0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def compare_bytes(before: Path, after: Path) -> Iterator[Difference]:
    """Yields one difference where two files are not the same; its size is that of numbers, where both have as many."""
    texts = before.read_bytes(), after.read_bytes()
    if texts[0] == texts[1]:
        return
    try:
        words = [[float(word) for word in text.replace(b",", b" ").split()] for text in texts]
        yield Difference("content", max((abs(a - b) for a, b in zip(*words, strict=True)), default=0.0))
    except ValueError:
        yield Difference("content")


def compare_reports(before: Path, after: Path) -> Iterator[Difference]:
    """Yields numbers and texts of two report.json that differ, but for speed and notes."""
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    for record in (first, second):
        record.pop("notes", None)
        for tracker in record["trackers"].values():
            tracker.pop("fps", None)
    yield from compare_values(first, second, "")


def compare_tables(before: Path, after: Path) -> Iterator[Difference]:
    """Yields cells of two .csv files that differ, without the column FPS."""
    first, second = ([row_without_speed(row, rows[0]) for row in rows] for rows in map(read_csv, (before, after)))
    yield from compare_values(first, second, "")


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def row_without_speed(row: list[str], header: list[str]) -> list[float | str]:
    return [number_or_text(cell) for cell, name in zip(row, header, strict=True) if name != "FPS"]


def number_or_text(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def compare_values(first, second, where: str) -> Iterator[Difference]:
    """Yields the places at which two values, as JSON has them, differ."""
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        for key in first:
            yield from compare_values(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for place, pair in enumerate(zip(first, second, strict=True)):
            yield from compare_values(*pair, f"{where}/{place}")
    elif isinstance(first, int | float) and isinstance(second, int | float):
        if first != second and not (first != first and second != second):
            yield Difference(where, abs(first - second))
    elif first != second:
        yield Difference(where)


def compare_json(before: Path, after: Path) -> Iterator[Difference]:
    """Yields the values of two JSON files that differ."""
    yield from compare_values(*(json.loads(path.read_text(encoding="utf-8")) for path in (before, after)), "")


def notes_that_differ(before: Path, after: Path) -> list[str]:
    """Notes of two report.json that only one of them has."""
    first, second = (json.loads(path.read_text(encoding="utf-8")).get("notes", []) for path in (before, after))
    return [f"- {note}" for note in first if note not in second] + [f"+ {note}" for note in second if note not in first]


COMPARE: dict[str, Callable[[Path, Path], Iterator[Difference]]] = {
    "networks": compare_nets,
    "results": compare_bytes,
    "reports": compare_reports,
    "tables": compare_tables,
    "validation": compare_json,
    "run.json": compare_bytes,
}


def kind_of(path: Path, strict: bool) -> str | None:
    """How a file is compared, a key of COMPARE; None: not at all."""
    if path.name.endswith((".pth.tar", ".pth", ".safetensors")):
        return "networks"
    if path.suffix == ".txt":
        return None if path.stem.endswith("_time") else "results"
    if path.name == "run.json":
        return "run.json" if strict else None
    return {"report.json": "reports", "validation.json": "validation"}.get(path.name) or {".csv": "tables"}.get(
        path.suffix
    )


def compare_folders(before: Path, after: Path, strict: bool = False) -> tuple[list[list[str]], list[str]]:
    """Rows of the table (what, files, equal, largest difference), and lines about what differs.

    Raises:
        ValueError: a folder does not exist, or there is nothing to compare.
    """
    for folder in (before, after):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
    files = {path.relative_to(folder) for folder in (before, after) for path in folder.rglob("*") if path.is_file()}
    kinds = {path: kind for path in sorted(files) if (kind := kind_of(path, strict))}
    if not kinds:
        raise ValueError(f"{before}, {after}: no checkpoint, result, report or table in either of them")
    equal, largest, lines = Counter(), Counter(), []
    for path, kind in kinds.items():
        pair = before / path, after / path
        if not all(place.is_file() for place in pair):
            lines.append(f"{path}: only in {before if pair[0].is_file() else after}")
            continue
        found = list(COMPARE[kind](*pair))
        equal[kind] += not found
        largest[kind] = max([largest[kind], *(difference.size for difference in found)])
        if found:
            lines.append(f"{path}: {len(found)} differences, the first: {found[0].where} ({found[0].size:g})")
        if kind == "reports":
            lines += [f"{path}, note: {note}" for note in notes_that_differ(*pair)]
    counts = Counter(kinds.values())
    return [
        [kind, str(counts[kind]), str(equal[kind]), f"{largest[kind]:g}"] for kind in COMPARE if counts[kind]
    ], lines


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("before", type=Path, help="output folder of the code before the change")
    parser.add_argument("after", type=Path, help="output folder of the code after it")
    parser.add_argument("--strict", action="store_true", help="compare run.json too: weights, settings and data")
    args = parser.parse_args()
    rows, lines = compare_folders(args.before, args.after, args.strict)
    for row in [["", "files", "equal", "largest difference"], *rows]:
        print(f"{row[0]:10}{row[1]:>8}{row[2]:>8}{row[3]:>22}")
    for line in lines:
        print(line)
    return int(any(row[1] != row[2] for row in rows))


if __name__ == "__main__":
    run_command(main)
