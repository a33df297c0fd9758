"""Irregularities of the published data sets that are known by name, so that nobody searches for them twice."""

from __future__ import annotations

BLANK_EVENTS = "published with white event images only: the timestamps of its recording are damaged"
NARROW = "published with 640x320 pixels, the others with 640x360"

# Folder of the data set → name of a sequence → what is known. docs/benchmarks.md names the sources.
KNOWN: dict[str, dict[str, str]] = {
    "RGBT234": {
        "orangeman1": "921 boxes, some published results have 920 rows",
        "man4": "589 boxes, some published results have 590 rows",
        "afterrain": "has a second annotation, visible-o.txt, which is not used",
        "elecbike": "the names of the images start at 00046",
    },
    "DepthTrack": {
        **dict.fromkeys(("painting_indoor_320", "pine02_wild_320", "hat02_indoor_320"), NARROW),
        "toy07_indoor_320": f"{NARROW}; fewer rows than images, the other frames count as absent",
    },
    "COESOT": {
        **{
            f"dvSave-2022_08_18_{time}": BLANK_EVENTS
            for time in ("16_47_33", "16_47_51", "16_56_01", "16_56_23", "16_57_16")
        },
        "dvSave-2021_12_21_12_42_16": "starts without the target; trackers start at the first visible frame",
        "dvSave-2022_09_16_00_12_02": "starts without the target; trackers start at the first visible frame",
        "dvSave-2021_10_19_22_47_56": "in one frame there is a box, but absent.txt says that the target is absent",
        "dvSave-2022_09_17_23_07_07": "in one frame there is no box, but absent.txt says that the target is present",
    },
    "VTUAV": {
        "pedestrian_224": "its annotation starts at frame 3710 of the recording",
        "car_070": "its annotation starts at frame 1481 of the recording",
    },
}
# Folder of the data set → part of a sequence's name → what is known of all sequences with it.
KNOWN_PARTS = {"LasHeR": {"quezhen": "published without some of its frames"}}
# Folder of the data set → hint for sequences whose numbers of images and boxes differ.
COUNT_HINTS = {
    "LaSOT": "some downloads of LaSOT have one image more than rows: delete the last image",
    "VTUAV": "the parts train_LT_part1, train_ST_part3 and train_ST_part4 were published again: fetch them anew",
    "RGBT210": "RGBT210 and RGBT234 share names but not annotations: do not mix them",
    "RGBT234": "RGBT210 and RGBT234 share names but not annotations: do not mix them",
}


def known_of(root: str, name: str) -> str:
    """Returns what is known about a sequence of the data set in folder `root`, or ""."""
    parts = KNOWN_PARTS.get(root, {})
    return KNOWN.get(root, {}).get(name) or next((text for part, text in parts.items() if part in name), "")


def count_hint(root: str, error: str) -> str:
    """Returns the hint of a data set for an error about the number of boxes or images, or ""."""
    return COUNT_HINTS.get(root, "") if "boxes for" in error or "RGB images but" in error else ""
