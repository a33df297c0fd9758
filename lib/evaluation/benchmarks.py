"""The table BENCHMARKS: data set, rule and metrics of each benchmark. To add a benchmark, add a row.

A benchmark of a new kind also needs a rule, see `rules/base.py`. docs/extending.md has an example of each.
"""

from __future__ import annotations

from dataclasses import replace

from lib.evaluation.rules.base import Benchmark
from lib.evaluation.rules.curves import BEST_OF_BOTH, EVENT, GTOT_METRICS, ONE_PASS, PRECISION, SUCCESS, SUCCESS_ALONE
from lib.evaluation.rules.long_term import LONG_TERM, LongTermRule
from lib.evaluation.rules.multi_start import MULTI_START, MultiStartRule
from lib.evaluation.rules.one_pass import PLAIN, OnePassRule
from lib.results.pack import BLANK, CORNERS, RUNS, TAB, UNSUPERVISED

NOT_VERIFIED = "Not verified against published figures: no raw result with its annotation was available."
SLOW_REFERENCE = f"{NOT_VERIFIED} Equal to a slow reference implementation."

LASHER_ATTRIBUTES = tuple("NO PO TO HO MB LI HI AIV LR DEF BC SA CM TC FL OV FM SV ARV".split())
LASHER = Benchmark(
    name="LasHeR",  # its protocol 2: the test set
    dataset="LasHeR",
    sequences=245,
    rule=OnePassRule(),
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
    evidence=f"{NOT_VERIFIED} The rules are those of LasHeR, which are.",
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
    form=CORNERS,
)
RGBT210 = Benchmark(
    name="RGBT210",
    dataset="RGBT210",
    sequences=210,
    rule=PLAIN,
    metrics={"PR": PRECISION, "SR": SUCCESS},
    verified=False,
    evidence="Not verified against published figures: no raw result of a published row was available.",
    form=CORNERS,
)
GTOT = Benchmark(
    name="GTOT",
    dataset="GTOT",
    sequences=50,
    rule=replace(PLAIN, better_of_two=True, round_corners=True, pool_frames=True),
    metrics=GTOT_METRICS,
    verified=True,
    evidence="Verified: reproduces the published figures of ADRNet and APFNet from their raw results.",
    form=CORNERS,
)
VTUAV_ST = Benchmark(
    name="VTUAV_ST",
    dataset="VTUAV_ST",
    sequences=176,
    rule=replace(PLAIN, better_of_two=True, round_corners=True, every=10),
    metrics=BEST_OF_BOTH,
    verified=False,
    evidence=SLOW_REFERENCE,
    form=BLANK,
)
VTUAV_LT = VTUAV_ST._replace(name="VTUAV_LT", dataset="VTUAV_LT", sequences=74)

DEPTHTRACK = Benchmark(
    name="DepthTrack",
    dataset="DepthTrack",
    sequences=50,
    rule=LongTermRule(),
    metrics=LONG_TERM,
    verified=False,
    evidence=f"{NOT_VERIFIED} Equal to the VOT toolkit on synthetic sequences.",
    form=UNSUPERVISED,
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
    form=TAB,
)
VOT_RGBD2022 = Benchmark(
    name="VOT-RGBD2022",
    dataset="VOT-RGBD2022",
    sequences=127,
    rule=MultiStartRule(),
    metrics=MULTI_START,
    verified=False,
    evidence=f"{NOT_VERIFIED} Equal to the VOT toolkit on synthetic sequences.",
    form=RUNS,
)

VISEVENT = Benchmark(
    name="VisEvent",
    dataset="VisEvent",
    sequences=320,
    rule=OnePassRule(absent_is_miss=True, drop_zero_curves=True),
    metrics=EVENT,
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

# Own videos (DATA.CUSTOM): one pass; frames without a valid box do not count, and boxes at the border do.
OWN_DATA = Benchmark(
    name="",
    dataset="",
    sequences=0,
    rule=replace(OnePassRule(), leave_out_invalid=True, positive_position=False),
    metrics=ONE_PASS,
    verified=False,
    evidence="Own data: there are no published figures. Frames without a valid box do not count.",
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        *(LASHER, LASHER_ALL, RGBT234, RGBT210, GTOT, VTUAV_ST, VTUAV_LT),
        *(DEPTHTRACK, CDTB, RGBD1K, STC, VOT_RGBD2022),
        *(VISEVENT, COESOT),
    )
}


def own_benchmark(name: str) -> Benchmark:
    """Returns the benchmark of own data, an entry of DATA.CUSTOM: precision, normalised precision and success."""
    return OWN_DATA._replace(name=name, dataset=name)
