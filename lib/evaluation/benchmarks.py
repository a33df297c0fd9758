"""BENCHMARKS: what is scored, and by which rules. To add one, add its row; if it counts in a new way, see `rules.py`.

PROTOCOLS: the rules of the benchmark's own tool, and two that are the same for all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from lib.evaluation.rules import (
    BEST_OF_BOTH,
    GTOT_METRICS,
    LONG_TERM,
    MULTI_START,
    ONE_PASS,
    PRECISION,
    SUCCESS,
    SUCCESS_ALONE,
    LongTermRule,
    Metric,
    MultiStartRule,
    Rule,
    ScoringRule,
)

OFFICIAL, STRICT, PYTRACKING = "official", "strict", "pytracking"
PROTOCOLS = {
    OFFICIAL: "bug for bug what the benchmark's own tool does",
    STRICT: "absent and invalid frames do not count anywhere, wrong lengths are refused",
    PYTRACKING: "what pytracking's analysis does, and OSTrack's after it",
}


class Benchmark(NamedTuple):
    """What is scored and how."""

    name: str
    dataset: str  # a row of DATASETS
    sequences: int  # in the whole benchmark
    rule: Rule
    metrics: dict[str, Metric | None]  # columns of the table, the one that ranks trackers last; None: the rule's own
    verified: bool  # whether published figures have been reproduced
    evidence: str  # by what, in words
    protocol: str = OFFICIAL
    attributes: tuple[str, ...] = ()  # in the order of the published flags; none published: none


# The toolkits that follow LaSOT's count invalid frames as hits of PR; the others count every frame as it is annotated.
PLAIN = ScoringRule(
    replace_first_row=False, repair_rows=False, positive_position=False, invalid_centre_error=float("inf")
)
PYTRACKING_RULE = replace(PLAIN, replace_first_row=True, pad_short_results=True)
SEEN_BY_NONE = "Not verified against published figures: no raw result with its annotation was at hand."
SLOW_REFERENCE = f"{SEEN_BY_NONE} Equal to a slow reference that was written apart."

LASHER_ATTRIBUTES = tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARV".split())
LASHER = Benchmark(
    name="LasHeR",  # its protocol 2: the test set
    dataset="LasHeR",
    sequences=245,
    rule=ScoringRule(),
    metrics=ONE_PASS,
    verified=True,
    evidence="Verified: reproduces the published figures of APFNet, MTNet, SGT and mfDiMP from their raw results.",
    attributes=LASHER_ATTRIBUTES,
)
LASHER_ALL = LASHER._replace(
    name="LasHeR_all",  # its protocol 1: training and test set
    dataset="LasHeR_all",
    sequences=1224,
    verified=False,
    evidence=f"{SEEN_BY_NONE} The rules are those of LasHeR, which are.",
)
RGBT234 = Benchmark(
    name="RGBT234",
    dataset="RGBT234",
    sequences=234,
    rule=replace(PLAIN, better_of_two=True, allow_short_results=True),
    metrics=BEST_OF_BOTH,
    verified=True,
    evidence="Verified: reproduces the published figures of MTNet, and ADRNet's as APFNet's authors plot them.",
    attributes=tuple("NO PO HO LI LR TC DEF FM SC MB CM BC".split()),
)
RGBT210 = Benchmark(
    name="RGBT210",
    dataset="RGBT210",
    sequences=210,
    rule=PLAIN,
    metrics={"PR": PRECISION, "SR": SUCCESS},
    verified=False,
    evidence="Not verified against published figures: no raw result of a published row was at hand.",
)
GTOT = Benchmark(
    name="GTOT",
    dataset="GTOT",
    sequences=50,
    rule=replace(PLAIN, better_of_two=True, round_corners=True, pool_frames=True),
    metrics=GTOT_METRICS,
    verified=True,
    evidence="Verified: reproduces the published figures of ADRNet and APFNet from their raw results.",
)
VTUAV_ST = Benchmark(
    name="VTUAV_ST",
    dataset="VTUAV_ST",
    sequences=176,
    rule=replace(PLAIN, better_of_two=True, round_corners=True, every=10),
    metrics=BEST_OF_BOTH,
    verified=False,
    evidence=SLOW_REFERENCE,
)
VTUAV_LT = VTUAV_ST._replace(name="VTUAV_LT", dataset="VTUAV_LT", sequences=74)

DEPTHTRACK = Benchmark(
    name="DepthTrack",
    dataset="DepthTrack",
    sequences=50,
    rule=LongTermRule(),
    metrics=LONG_TERM,
    verified=False,
    evidence=f"{SEEN_BY_NONE} Equal to the VOT toolkit on synthetic sequences.",
)
CDTB = DEPTHTRACK._replace(name="CDTB", dataset="CDTB", sequences=80)
RGBD1K = DEPTHTRACK._replace(name="RGBD1K", dataset="RGBD1K")
STC = Benchmark(
    name="STC",
    dataset="STC",
    sequences=36,
    rule=PLAIN,
    metrics=SUCCESS_ALONE,
    verified=False,
    evidence="Not verified against published figures: agrees with an independent computation of DiMP and OTR.",
)
VOT_RGBD2022 = Benchmark(
    name="VOT-RGBD2022",
    dataset="VOT-RGBD2022",
    sequences=127,
    rule=MultiStartRule(),
    metrics=MULTI_START,
    verified=False,
    evidence=f"{SEEN_BY_NONE} Equal to the VOT toolkit on synthetic sequences.",
)

VISEVENT = Benchmark(
    name="VisEvent",
    dataset="VisEvent",
    sequences=320,
    rule=ScoringRule(absent_is_miss=True, drop_zero_curves=True),
    metrics=ONE_PASS,
    verified=False,
    evidence="Not verified against published figures: agrees with an independent computation of CEUTrack's 172 videos.",
    attributes=tuple("CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM".split()),
)
COESOT = VISEVENT._replace(
    name="COESOT",
    dataset="COESOT",
    sequences=528,
    evidence=f"{SLOW_REFERENCE} The rules are VisEvent's.",
    attributes=(),
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        *(LASHER, LASHER_ALL, RGBT234, RGBT210, GTOT, VTUAV_ST, VTUAV_LT),
        *(DEPTHTRACK, CDTB, RGBD1K, STC, VOT_RGBD2022),
        *(VISEVENT, COESOT),
    )
}


def under_protocol(benchmark: Benchmark, protocol: str) -> Benchmark:
    """The benchmark with the rules of another protocol. What has been verified is the official one alone.

    Raises:
        ValueError: no such protocol, or none for this kind of benchmark.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol '{protocol}'; known: {', '.join(PROTOCOLS)}")
    if protocol == OFFICIAL:
        return benchmark
    if isinstance(benchmark.rule, MultiStartRule):
        raise ValueError(f"{benchmark.name}: runs from anchors have the protocol {OFFICIAL} alone, got {protocol}")
    changed = benchmark._replace(
        protocol=protocol, verified=False, evidence=f"Protocol {protocol}: {PROTOCOLS[protocol]}."
    )
    if protocol == PYTRACKING:
        return changed._replace(rule=replace(PYTRACKING_RULE, every=benchmark.rule.every), metrics=ONE_PASS)
    if isinstance(benchmark.rule, LongTermRule):
        return changed._replace(rule=replace(benchmark.rule, pixel_masks=False, skip_first_frame=True))
    rule = replace(
        benchmark.rule,
        leave_out_invalid=True,
        positive_position=False,  # a target at the image's edge is there: only boxes without a size are none
        cut_long_results=False,
        allow_short_results=False,
        drop_zero_curves=False,
    )
    return changed._replace(rule=rule)
