"""What the doctor finds: a table of kinds, each with its consequence and what to do, and the text of a report."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from lib.utils.texts import MOST, shorten

UNUSABLE, PROBLEM, NOTE = "UNUSABLE", "PROBLEM", "note"
LEVELS = (UNUSABLE, PROBLEM, NOTE)  # the sequence must be left out; something is wrong; nothing needs to be done


class Kind(NamedTuple):
    """A kind of finding."""

    level: str  # one of LEVELS
    words: str  # what is wrong
    advice: str  # which file or key to edit


KINDS = {
    "environment": Kind(PROBLEM, "the environment", "see there"),
    "dataset": Kind(PROBLEM, "the data set cannot be read", "complete the download, or set its folder in DATA.ROOTS"),
    "sequence": Kind(UNUSABLE, "sequences that cannot be read", "correct the file, or leave them out with DATA.SKIP"),
    "image": Kind(UNUSABLE, "images that are missing or damaged", "fetch the files again"),
    "mixed": Kind(UNUSABLE, "8- and 16-bit images in one sequence", "convert the images to one depth"),
    "empty": Kind(UNUSABLE, "no content in any image of a sequence", "leave the sequence out with DATA.SKIP"),
    "absent": Kind(UNUSABLE, "no frame has a valid box", "correct the annotation"),
    "negative": Kind(PROBLEM, "boxes with a negative side; they count as absent", "correct the annotation"),
    "outside": Kind(PROBLEM, "boxes outside the image", "correct the annotation"),
    "sizes": Kind(PROBLEM, "the size of the RGB images changes", "check that the images belong together"),
    "aspect": Kind(PROBLEM, "the modalities differ in aspect", "check that the images belong together"),
    "copy": Kind(PROBLEM, "auxiliary images that are copies of the RGB images", "fetch the auxiliary images again"),
    "depth8": Kind(PROBLEM, "depth images with 8 bits", "expected 16 bits, in millimetres; fetch the raw depth"),
    "list": Kind(PROBLEM, "list files", "edit the list"),
    "events": Kind(PROBLEM, "damaged event files", "record or fetch the file again"),
    "few": Kind(NOTE, "fewer than 2 visible frames", "training does not draw from these sequences"),
    "unannotated": Kind(NOTE, "frames without a box", "they count as absent"),
    "resized": Kind(NOTE, "the modalities differ in size", "auxiliary images are resized to the RGB images"),
    "bits": Kind(NOTE, "16-bit images", "one range of grey levels per sequence is scaled to 8 bits"),
    "palette": Kind(NOTE, "images with a palette", "their colours are used; check that these are no labels"),
    "duplicate": Kind(NOTE, "images that repeat the one before", "nothing, if the camera stood still"),
    "known": Kind(NOTE, "known irregularities of the published data", "nothing, unless the sequence is named above"),
    "skipped": Kind(NOTE, "left out by DATA.SKIP", "nothing"),
    "reader": Kind(NOTE, "warnings of the reader", "see there"),
}


class Finding(NamedTuple):
    """One finding. `sequence` is "" if it concerns the data set or the environment."""

    kind: str  # a key of KINDS
    where: str  # file or sequence, with the value, for the report
    sequence: str = ""

    @property
    def level(self) -> str:
        return KINDS[self.kind].level


def describe(findings: Iterable[Finding], most: int = MOST) -> list[str]:
    """Returns one line per kind, the worst first, with the first `most` places.

    A line of the environment or of a whole data set says itself what to do.
    """
    found: dict[str, list[str]] = {}
    for finding in findings:
        found.setdefault(finding.kind, []).append(finding.where)
    kinds = sorted(found, key=lambda kind: (LEVELS.index(KINDS[kind].level), list(KINDS).index(kind)))
    lines = []
    for kind, places in ((kind, found[kind]) for kind in kinds):
        level, words, advice = KINDS[kind]
        hint = "" if advice == "see there" else f" → {advice}"
        lines.append(f"{level:8} {words}: {shorten(places, '; ', most)}{hint}")
    return lines


def unusable(findings: Iterable[Finding]) -> dict[str, str]:
    """Returns the sequences that must be left out, with the first reason of each."""
    reasons: dict[str, str] = {}
    for finding in findings:
        if finding.sequence and finding.level == UNUSABLE:
            reasons.setdefault(finding.sequence, f"{KINDS[finding.kind].words}: {finding.where}")
    return reasons


def conclude(findings: Collection[Finding], bad: int, sequences: int, skip_file: str = "") -> list[str]:
    """Returns the last lines of a report: what is wrong, and what to do.

    Args:
        findings: of the environment and of all data sets.
        bad: number of unusable sequences.
        sequences: number of sequences that were checked, with those that cannot be read.
        skip_file: the file that lists the unusable sequences, if it was written.
    """
    lines = []
    if bad:
        how = f"--set DATA.SKIP={skip_file}" if skip_file else "--write-skip FILE, then --set DATA.SKIP=FILE"
        lines.append(f"{bad} of {sequences} sequences cannot be used; leave them out: {how}")
    problems = [finding for finding in findings if finding.level == PROBLEM]
    if problems:
        kinds = dict.fromkeys(KINDS[finding.kind].words for finding in problems)
        lines.append(f"{len(problems)} problems: {', '.join(kinds)}; each PROBLEM line above says what to edit")
    return lines or ["nothing is wrong"]


def is_wrong(findings: Iterable[Finding]) -> bool:
    """Returns whether a finding is more than a note."""
    return any(finding.level != NOTE for finding in findings)
