"""Missing modalities: which images are withheld from a tracker, and what replaces them. Works with any data set.

    MODALITY[:RATE[:PATTERN[:FILL[:SEED]]]]      aux      aux:0.3      rgb:0.5:block      both:0.3:switched:freeze:7

Without a rate, every image of the modality is black, including the first. With a rate, the first tracked frame is
complete, because the tracker is initialised there, and exactly round(rate * n) of the n following frames lack images.
The selection depends on rate, pattern and seed and on the name and length of the sequence. It does not depend on the
machine, the order of the sequences, the modality or the fill.

With the same seed and pattern, the frames dropped at a smaller rate are a subset of those dropped at a larger rate.
Curves over rates are therefore smooth.

    FILE[:FILL]                                  missing_results_lasher245.json      patterns/:freeze

The file, or the folder of files, lists what each frame of each sequence lacks, see `drop_list.py`. The frame that
initialises the tracker is complete.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from lib.data.drop_list import read_drop_list
from lib.structures import Frame
from lib.utils.texts import plain_spelling, shorten

CODES = {"rgb": 1, "aux": 2, "both": 3}  # missing modality → code of the frame; 0: nothing is missing
PATTERNS = {
    "random": "single frames",
    "block": "blocks of consecutive frames",
    "switched": "blocks in which RGB and the auxiliary modality are missing alternately",
}
FILLS = {"blackout": "zeros", "freeze": "the last image that was delivered", "noise": "uniform noise"}
SPEC = "MODALITY[:RATE[:PATTERN[:FILL[:SEED]]]] or FILE[:FILL]"
LISTED = "file"  # first word of the complete text of a ListedDrop
# Frames per block, about 0.5 to 2 seconds. Adjacent blocks may merge, and the last selected block may be shorter.
MIN_BLOCK, MAX_BLOCK = 10, 50


@dataclass(frozen=True)
class Drop:
    """A specification of missing images. `str` returns its complete text, including the default values."""

    modality: str  # a key of CODES
    rate: float | None = None  # share of the frames, in (0, 1]; None: all frames, including the first
    pattern: str = "random"  # a key of PATTERNS
    fill: str = "blackout"  # a key of FILLS
    seed: int = 0
    note: ClassVar[str] = ""  # for reports: nothing that the text does not say

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Drop:
        """Parses a specification.

        Args:
            seed: used if the text contains no seed; an integer of at least 0.

        Raises:
            ValueError: the text is not a valid specification.
        """
        words = text.split(":")
        if len(words) > 5:
            raise ValueError(f"'{text}': {len(words)} parts, expected {SPEC}")
        modality = _check_choice(words[0], CODES, "modality", text)
        if len(words) == 1:
            return cls(modality)
        rate = _parse_rate(words[1], text)
        pattern, fill = (*words[2:4], *("random", "blackout")[len(words[2:4]) :])
        if len(words) == 5:
            if not (words[4].isascii() and words[4].isdecimal()):
                raise ValueError(f"'{text}': seed '{words[4]}', expected an integer of at least 0")
            seed = int(words[4])
        _check_choice(pattern, PATTERNS, "pattern", text)
        _check_choice(fill, FILLS, "fill", text)
        drop = cls(modality, rate, pattern, fill, seed)
        if drop.pattern == "switched" and modality != "both":
            raise ValueError(f"'{text}': pattern 'switched' alternates the modalities, expected both:{words[1]}:…")
        return drop

    def __str__(self) -> str:
        if self.rate is None:
            return self.modality
        return f"{self.modality}:{self.rate_text}:{self.pattern}:{self.fill}:{self.seed}"

    @property
    def rate_text(self) -> str:
        """The shortest text that parses back to the rate."""
        return repr(self.rate).removesuffix(".0")

    @property
    def label(self) -> str:
        """A form of the specification for folder names; a seed of 0 is omitted."""
        if self.rate is None:
            return self.modality
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"{self.modality}-{self.rate_text}-{self.pattern}-{self.fill}{seed}"

    @property
    def brief(self) -> str:
        """The specification without trailing default values, for headings."""
        words, defaults = str(self).split(":"), ["", "", "random", "blackout", "0"]
        while len(words) > 2 and words[-1] == defaults[len(words) - 1]:
            words.pop()
        return ":".join(words)

    @property
    def condition(self) -> str:
        """The specification without the rate, in words. The runs of one robustness curve have it in common."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.modality}, {self.pattern}, {self.fill}{seed}"

    def schedule(self, name: str, frames: int, start: int = 0) -> np.ndarray:
        """Returns which modality each frame lacks, (frames,) uint8 of the codes in CODES.

        Args:
            name: name of the sequence; it determines the selection together with the seed.
            start: the frame that initialises the tracker. Earlier frames are not read and count as complete.
        """
        codes = np.zeros(frames, np.uint8)
        if self.rate is None:
            codes[start:] = CODES[self.modality]
            return codes
        others = frames - start - 1
        blocks = _select_blocks(self, name, others, round(self.rate * others))
        if self.pattern == "switched":
            blocks = [half for block in blocks for half in _split_in_halves(*block)]
        first = int(_random_bits(1, self.seed, name, "first")[0] % 2)
        for number, (begin, end) in enumerate(blocks):
            code = 1 + (number + first) % 2 if self.pattern == "switched" else CODES[self.modality]
            codes[start + 1 + begin : start + 1 + end] = code
        return codes


@dataclass(frozen=True)
class ListedDrop:
    """Missing images as a file lists them, e.g. the published sets LasHeR_missing, RGBT234_missing and VTUAV_missing.

    `str` returns a text that identifies the lists by name and content. Like a `Drop` without a rate, it is not part of
    a robustness curve.
    """

    name: str  # of the file, without its suffix
    digest: str  # of the content
    fill: str = "blackout"  # a key of FILLS
    # Sequence → (frames,) uint8 of the codes in CODES. Empty if the drop was read from the text in a record or report.
    codes: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    rate: ClassVar[None] = None
    seed: ClassVar[int] = 0

    @classmethod
    def parse(cls, text: str) -> ListedDrop:
        """Parses the complete text, file:NAME:DIGEST:FILL. Raises ValueError if it is invalid."""
        words = text.split(":")
        if len(words) != 4 or not all(words) or words[0] != LISTED or words[3] not in FILLS:
            raise ValueError(f"'{text}': expected {LISTED}:NAME:DIGEST:FILL, with a fill of {', '.join(FILLS)}")
        return cls(*words[1:])

    @classmethod
    def read(cls, text: str) -> ListedDrop:
        """Reads the lists of a specification, FILE[:FILL].

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: it is not a list of missing images.
        """
        path, fill = _split_fill(text)
        codes, digest = read_drop_list(path)
        path = Path(os.path.abspath(path))  # so that "." and ".." have a name
        return cls((path.name if path.is_dir() else path.stem).replace(":", "-"), digest, fill, codes)

    def __str__(self) -> str:
        return f"{LISTED}:{self.name}:{self.digest}:{self.fill}"

    @property
    def label(self) -> str:
        """A form for folder names; a fill of blackout is omitted."""
        return self.name if self.fill == "blackout" else f"{self.name}-{self.fill}"

    @property
    def brief(self) -> str:
        """A form for headings."""
        return self.name if self.fill == "blackout" else f"{self.name}:{self.fill}"

    @property
    def note(self) -> str:
        """What a report must say about it: which images were missing, and by which protocol the result is scored."""
        return (
            f"images were missing as {self.name} lists them (digest {self.digest}), replaced by {FILLS[self.fill]}; "
            "the initial frame was complete. The protocol is that of the complete data: every frame counts as usual, "
            "also where both images were missing."
        )

    def check(self, frames: Mapping[str, int]) -> None:
        """Raises ValueError if the lists do not fit sequences, given by name → number of frames."""
        found = {name: self._find(name) for name in frames}
        if unknown := [name for name, codes in found.items() if codes is None]:
            raise ValueError(
                f"--drop {self.name}: lists {len(self.codes)} sequences, without {len(unknown)} of {len(frames)} to "
                f"track: {shorten(unknown)}; expected the list of this data set"
            )
        differ = [
            f"{name} ({len(found[name])} for {count})" for name, count in frames.items() if len(found[name]) != count
        ]
        if differ:
            raise ValueError(
                f"--drop {self.name}: {len(differ)} of {len(frames)} sequences are listed with another number of "
                f"frames: {shorten(differ)}; expected the list of this data set, and all its images"
            )

    def _find(self, name: str) -> np.ndarray | None:
        """Returns the codes of a sequence, also if one name in the list is another spelling of its name."""
        if name in self.codes:
            return self.codes[name]
        spelled = [codes for listed, codes in self.codes.items() if plain_spelling(listed) == plain_spelling(name)]
        return spelled[0] if len(spelled) == 1 else None

    def schedule(self, name: str, frames: int, start: int = 0) -> np.ndarray:
        """Returns which modality each frame lacks, see `Drop.schedule`.

        Raises:
            ValueError: the sequence is not listed, or has another number of frames.
        """
        self.check({name: frames})
        codes = self._find(name).copy()
        codes[: start + 1] = 0
        return codes


AnyDrop = Drop | ListedDrop


def parse_drop(text: str) -> AnyDrop:
    """Parses the complete text of a drop, as records and reports contain it. Raises ValueError if it is invalid."""
    return ListedDrop.parse(text) if text.startswith(f"{LISTED}:") else Drop.parse(text)


def load_drop(text: str, seed: int = 0) -> AnyDrop:
    """Reads a specification as a user writes it, MODALITY[:…] or FILE[:FILL].

    Args:
        seed: see `Drop.parse`.

    Raises:
        FileNotFoundError: a name that looks like a file is not one.
        ValueError: the specification or the file is invalid.
    """
    if not text or text.split(":")[0] in CODES:
        return Drop.parse(text, seed)
    path, _ = _split_fill(text)
    is_list = path.suffix in (".json", ".txt") or len(path.parts) > 1 or path.exists()
    return ListedDrop.read(text) if is_list else Drop.parse(text, seed)


def _split_fill(text: str) -> tuple[Path, str]:
    path, _, fill = text.rpartition(":")
    if not path or Path(text).exists():
        return Path(text), "blackout"
    if Path(path).is_file() or fill in FILLS:
        return Path(path), _check_choice(fill, FILLS, "fill", text)
    return Path(text), "blackout"


class Dropper:
    """Replaces the missing images of one sequence. Frames must be passed in order. Without a drop, nothing changes.

    Args:
        name: name of the sequence.
        frames: number of frames.
        start: index of the frame that initialises the tracker.
    """

    def __init__(self, drop: AnyDrop | None, name: str, frames: int, start: int = 0):
        self.drop, self.name = drop, name
        self.codes = drop.schedule(name, frames, start) if drop else np.zeros(frames, np.uint8)
        self._delivered: list[np.ndarray | None] = [None, None]

    def apply(self, index: int, frame: Frame) -> Frame:
        """Returns frame `index` with its missing images replaced. The input is not modified."""
        images = []
        for stream, image in enumerate(frame):  # 0: RGB, 1: auxiliary
            if self.codes[index] >> stream & 1:
                image = self._fill(image, index, stream)
            else:
                self._delivered[stream] = image
            images.append(image)
        return Frame(*images)

    def _fill(self, image: np.ndarray, index: int, stream: int) -> np.ndarray:
        if self.drop.fill == "freeze":  # requires a rate or a list, so the first image was delivered
            return self._delivered[stream]
        if self.drop.fill == "noise":
            words = _random_bits(-(-image.size // 8), self.drop.seed, self.name, f"noise {index} {stream}")
            return words.astype("<u8").view(np.uint8)[: image.size].reshape(image.shape)
        return np.zeros_like(image)


def _select_blocks(drop: Drop, name: str, others: int, count: int) -> list[tuple[int, int]]:
    """Selects blocks that cover `count` of `others` frames. Returns (begin, end) of each, sorted; `end` is exclusive.

    The frames are divided into blocks (of one frame for "random") and the blocks are put in a random order. Blocks are
    taken from the start of this order until `count` frames are covered; the last one is shortened to fit.
    """
    if drop.pattern == "random":
        begins = np.arange(others)
    else:
        bits = _random_bits(others // MIN_BLOCK + 2, drop.seed, name, "lengths")
        lengths = MIN_BLOCK + (bits % (MAX_BLOCK - MIN_BLOCK + 1)).astype(np.int64)
        offset = int(_random_bits(1, drop.seed, name, "offset")[0]) % int(lengths[0])
        lengths[0] -= offset  # shortens the first block, so that block boundaries can be at any frame
        begins = np.concatenate([[0], np.cumsum(lengths)])
        begins = begins[begins < others]
    ends = np.append(begins[1:], others)
    selected = []
    for block in np.argsort(_random_bits(len(begins), drop.seed, name, "order"), kind="stable"):
        begin, end = int(begins[block]), int(min(ends[block], begins[block] + count))
        if begin < end:
            selected.append((begin, end))
            count -= end - begin
    return sorted(selected)


def _split_in_halves(begin: int, end: int) -> list[tuple[int, int]]:
    middle = (begin + end + 1) // 2
    return [(begin, middle), (middle, end)] if middle < end else [(begin, end)]


def _random_bits(count: int, seed: int, name: str, purpose: str) -> np.ndarray:
    """Returns (count,) uint64 random bits of the raw stream, which is the same in all versions of numpy."""
    digest = hashlib.sha256("\0".join((str(seed), name, purpose)).encode()).digest()
    return np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw(count)


def _check_choice(word: str, choices: dict, what: str, text: str) -> str:
    if word not in choices:
        raise ValueError(f"'{text}': {what} '{word}', expected one of {', '.join(choices)} ({SPEC})")
    return word


def _parse_rate(word: str, text: str) -> float:
    try:
        rate = float(word)
    except ValueError:
        rate = float("nan")
    if not 0 < rate <= 1:
        raise ValueError(f"'{text}': rate '{word}', expected a number above 0 and at most 1 ({SPEC})")
    return rate
