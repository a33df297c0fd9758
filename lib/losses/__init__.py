"""DISTILL_LOSSES: the losses that compare a student with a teacher. TRAIN.DISTILL has a weight for each row."""

from functools import partial

from lib.losses.controls import ContentStyle, PlainCosine
from lib.losses.mpsd import MPSD
from lib.losses.response import Response
from lib.losses.scfd import SCFD

# Name → (student: FeatureSpec, teacher: FeatureSpec) → module. Its forward takes (student: TrackOutput, teacher:
# TrackOutput, sample: Sample, progress: float in [0, 1]) and returns a scalar and values to log.
DISTILL_LOSSES = {
    "SCFD": SCFD,
    "MPSD": MPSD,
    "RESPONSE": Response,
    "COSINE": PlainCosine,
    "CONTENT_STYLE": ContentStyle,
    "MPSD_UNIFORM": partial(MPSD, selection="uniform"),
    "FUSED": partial(MPSD, selection="fused"),
}
