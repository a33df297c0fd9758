"""The table DISTILL_LOSSES of distillation losses. TRAIN.DISTILL has a weight for each row."""

from functools import partial

from lib.losses.controls import ContentStyle, PlainCosine
from lib.losses.mpsd import MPSD
from lib.losses.response import Response
from lib.losses.scfd import SCFD

# Name → function (student: FeatureSpec, teacher: FeatureSpec) that returns a module. The forward of this module takes
# (student: TrackOutput, teacher: TrackOutput, sample: Sample, progress: float in [0, 1]) and returns the loss, a
# scalar or its parts (P,), and values to log by name. `places` names where each part acts, as in `Balance`: "block03"
# or "fused"; a loss without `places` acts on the last block. `layers` lists the blocks whose features it needs, pairs
# of student and teacher; for a loss without `layers`, the features of all blocks are kept.
DISTILL_LOSSES = {
    "SCFD": SCFD,
    "MPSD": MPSD,
    "RESPONSE": Response,
    "COSINE": PlainCosine,
    "CONTENT_STYLE": ContentStyle,
    "MPSD_UNIFORM": partial(MPSD, selection="uniform"),
    "FUSED": partial(MPSD, selection="fused"),
}
