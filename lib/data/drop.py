"""Missing modalities: which pictures a tracker does not get, and what it gets instead. Defined on any data set.

    MODALITY[:RATE[:PATTERN[:FILL[:SEED]]]]      aux      aux:0.3      rgb:0.5:block      both:0.3:switched:freeze:7

Without a rate every picture is black, the first one too. With one, the first tracked frame is whole, as the tracker is
told the target there, and of the n others exactly round(rate * n) lack pictures. Which ones depends on the seed and on
the sequence's name alone: on any machine, in any order, whatever the modality and the fill.

At a larger rate of the same seed the same frames are dropped, and more of them, under every pattern: curves over rates
are smooth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from lib.structures import Frame

CODES = {"rgb": 1, "aux": 2, "both": 3}  # → the code of a frame that lacks it; 0: the frame is whole
PATTERNS = {
    "random": "single frames",
    "block": "stretches of frames",
    "switched": "stretches, RGB and auxiliary missing in turn",
}
FILLS = {"blackout": "zeros", "freeze": "the last picture that was delivered", "noise": "uniform noise"}
SPEC = "MODALITY[:RATE[:PATTERN[:FILL[:SEED]]]]"
SHORTEST, LONGEST = 10, 50  # frames of a stretch, about half a second to two; neighbours may join, the last be cut


@dataclass(frozen=True)
class Drop:
    """What is taken away. Its text is its specification, with all that has a default."""

    modality: str  # a key of CODES
    rate: float | None = None  # part of the frames in (0, 1]; None: all, the first too
    pattern: str = "random"  # a key of PATTERNS
    fill: str = "blackout"  # a key of FILLS
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Drop:
        """Reads a specification.

        Args:
            seed: unless the text has one.

        Raises:
            ValueError: what was got, what was expected, the words that are known.
        """
        words = text.split(":")
        if len(words) > 5:
            raise ValueError(f"'{text}': {len(words)} parts, expected {SPEC}")
        modality = _known(words[0], CODES, "modality", text)
        if len(words) == 1:
            return cls(modality)
        rate = _number(words[1], text)
        pattern, fill = (*words[2:4], *("random", "blackout")[len(words[2:4]) :])
        if len(words) == 5:
            if not (words[4].isascii() and words[4].isdecimal()):
                raise ValueError(f"'{text}': seed '{words[4]}', expected a whole number from 0 on")
            seed = int(words[4])
        drop = cls(modality, rate, _known(pattern, PATTERNS, "pattern", text), _known(fill, FILLS, "fill", text), seed)
        if drop.pattern == "switched" and modality != "both":
            raise ValueError(f"'{text}': pattern 'switched' takes both modalities in turn, expected both:{words[1]}:…")
        return drop

    def __str__(self) -> str:
        if self.rate is None:
            return self.modality
        return f"{self.modality}:{self.rate_text}:{self.pattern}:{self.fill}:{self.seed}"

    @property
    def rate_text(self) -> str:
        """The rate, as short as it can be read back."""
        return repr(self.rate).removesuffix(".0")

    @property
    def label(self) -> str:
        """A word for names of folders."""
        if self.rate is None:
            return self.modality
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"{self.modality}-{self.rate_text}-{self.pattern}-{self.fill}{seed}"

    @property
    def brief(self) -> str:
        """The specification without what has its default value, for headings."""
        words, defaults = str(self).split(":"), ["", "", "random", "blackout", "0"]
        while len(words) > 2 and words[-1] == defaults[len(words) - 1]:
            words.pop()
        return ":".join(words)

    @property
    def condition(self) -> str:
        """All but the rate, in words: what the runs of one robustness curve share."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.modality}, {self.pattern}, {self.fill}{seed}"

    def schedule(self, name: str, frames: int, start: int = 0) -> np.ndarray:
        """What each frame of a sequence lacks, (N,) uint8 of the codes in CODES.

        Args:
            start: the frame that initialises the tracker. Those before it are not read and count as whole.
        """
        codes = np.zeros(frames, np.uint8)
        if self.rate is None:
            codes[start:] = CODES[self.modality]
            return codes
        others = frames - start - 1
        stretches = _stretches(self, name, others, round(self.rate * others))
        if self.pattern == "switched":
            stretches = [part for stretch in stretches for part in _halves(*stretch)]
        first = int(_bits(1, self.seed, name, "first")[0] % 2)
        for place, (begin, end) in enumerate(stretches):
            code = 1 + (place + first) % 2 if self.pattern == "switched" else CODES[self.modality]
            codes[start + 1 + begin : start + 1 + end] = code
        return codes


class Dropper:
    """Takes one sequence's frames, in order, and returns what the tracker gets of them. Without a drop, all."""

    def __init__(self, drop: Drop | None, name: str, frames: int, start: int = 0):
        self.drop, self.name = drop, name
        self.codes = drop.schedule(name, frames, start) if drop else np.zeros(frames, np.uint8)
        self._delivered: list[np.ndarray | None] = [None, None]

    def apply(self, index: int, frame: Frame) -> Frame:
        """The frame with this index, without the pictures that it lacks."""
        pictures = []
        for place, picture in enumerate(frame):
            if self.codes[index] >> place & 1:
                picture = self._fill(picture, index, place)
            else:
                self._delivered[place] = picture
            pictures.append(picture)
        return Frame(*pictures)

    def _fill(self, picture: np.ndarray, index: int, place: int) -> np.ndarray:
        if self.drop.fill == "freeze":  # comes with a rate, so that a first picture has been delivered
            return self._delivered[place]
        if self.drop.fill == "noise":
            words = _bits(-(-picture.size // 8), self.drop.seed, self.name, f"noise {index} {place}")
            return words.astype("<u8").view(np.uint8)[: picture.size].reshape(picture.shape)
        return np.zeros_like(picture)


def _stretches(drop: Drop, name: str, others: int, count: int) -> list[tuple[int, int]]:
    """Where pictures are missing, begins and ends in order, `count` frames in all.

    The sequence is cut into stretches, these are put into an order, and as many are taken from its beginning as it
    takes; of the last one only its first frames.
    """
    if drop.pattern == "random":
        begins = np.arange(others)
    else:
        bits = _bits(others // SHORTEST + 2, drop.seed, name, "lengths")
        lengths = SHORTEST + (bits % (LONGEST - SHORTEST + 1)).astype(np.int64)
        offset = int(_bits(1, drop.seed, name, "offset")[0]) % int(lengths[0])
        lengths[0] -= offset  # of the first one only the end is there, so that cuts lie anywhere
        begins = np.concatenate([[0], np.cumsum(lengths)])
        begins = begins[begins < others]
    ends = np.append(begins[1:], others)
    taken = []
    for place in np.argsort(_bits(len(begins), drop.seed, name, "order"), kind="stable"):
        begin, end = int(begins[place]), int(min(ends[place], begins[place] + count))
        if begin < end:
            taken.append((begin, end))
            count -= end - begin
    return sorted(taken)


def _halves(begin: int, end: int) -> list[tuple[int, int]]:
    middle = (begin + end + 1) // 2
    return [(begin, middle), (middle, end)] if middle < end else [(begin, end)]


def _bits(count: int, seed: int, name: str, purpose: str) -> np.ndarray:
    """(count,) uint64 random bits. The raw stream, as numpy keeps it the same in all versions."""
    digest = hashlib.sha256("\0".join((str(seed), name, purpose)).encode()).digest()
    return np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw(count)


def _known(word: str, known: dict, what: str, text: str) -> str:
    if word not in known:
        raise ValueError(f"'{text}': {what} '{word}', expected one of {', '.join(known)} ({SPEC})")
    return word


def _number(word: str, text: str) -> float:
    try:
        rate = float(word)
    except ValueError:
        rate = float("nan")
    if not 0 < rate <= 1:
        raise ValueError(f"'{text}': rate '{word}', expected a number above 0 and at most 1 ({SPEC})")
    return rate
