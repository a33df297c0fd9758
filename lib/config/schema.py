"""Every key of an experiment with its default value. A YAML file contains only the keys that differ.

Key names follow OSTrack and ViPT if these have the key. Lengths are in pixels; rates are per epoch or per sample, as
stated. Choices of fusions, backbones, heads and losses are the keys of their tables.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

from easydict import EasyDict
from torch.optim import AdamW

from lib.losses import DISTILL_LOSSES
from lib.losses.reconstruction import RECONSTRUCTION_LOSSES
from lib.models.build import BACKBONES, MODELS
from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.masking import STRATEGIES
from lib.models.student import ATTENTION
from lib.structures import MODALITIES
from lib.utils.boxes import TO_XYWH

STAGES = ("track", "pretrain", "features", "distill")
OPTIMIZERS = {"ADAMW": AdamW}

DEFAULTS = EasyDict(
    DATA=dict(
        MEAN=[0.485, 0.456, 0.406],  # RGB, of images scaled to [0, 1]; both modalities use it
        STD=[0.229, 0.224, 0.225],
        ROOT="data",  # folder that contains the data sets; $TRANSCMD_DATA or --set DATA.ROOT=... replaces it
        ROOTS=dict(),  # data set → folder or .lmdb file, if it is not ROOT/<data set>, e.g. {LasHeR: /ssd/LasHeR}
        # Own data, without a reader: name → where the files of each sequence are, see OWN_DATA and data/README.md
        CUSTOM=dict(),
        SKIP="",  # file of tracking/doctor.py --write-skip: sequences that training and validation leave out; "": none
        CACHE="",  # folder of training samples drawn in advance (tracking/ablation.py); "": no cache
        # JPEG files are decoded only down to the lower edge of a crop: the same samples in less time, but damage inside
        # a file is noticed less often; check the data with tracking/doctor.py first
        PARTIAL_DECODE=False,
        SYNTHETIC=False,  # True: meant for the data of tracking/make_demo_data.py; otherwise, they cause a warning
        INPUT=dict(  # how auxiliary files become 8-bit images, in training and in testing alike
            # colormap: ViPT's, by the content of each image; metric: grey, around the depth of the target in the first
            # frame, the same range in the whole sequence; raw: grey, 0 to 10 m
            DEPTH="colormap",
            DEPTH_RANGE=2000.0,  # metric: millimetres before and behind the target that are shown
            # auto: 16-bit images by percentiles of the first ones, 8-bit images as they are; percentile: both by
            # percentiles; fixed: both by THERMAL_RANGE
            THERMAL="auto",
            THERMAL_RANGE=[0.0, 65535.0],  # fixed: the grey levels that become black and white
            EVENTS="frames",  # of .aedat4, .npy and .h5 files: frames, voxel or time_surface
        ),
        MAX_SAMPLE_INTERVAL=200,  # largest distance between template and search frame, frames
        SAMPLER_MODE="causal",  # causal: the search frame follows the template; any: either order
        NEGATIVES=0.0,  # share of training samples with the template of another sequence: the target is absent
        TRAIN=dict(
            DATASETS_NAME=["LasHeR_train"],
            DATASETS_RATIO=[1.0],  # relative number of samples per data set
            SAMPLE_PER_EPOCH=60000,  # pairs, over all processes
            REPEAT=False,  # the same samples in every epoch
        ),
        VAL=dict(
            DATASETS_NAME=["LasHeR_val"],  # held-out training sequences; a test set is an error
            DATASETS_RATIO=[1.0],
            SAMPLE_PER_EPOCH=10000,
        ),
        PROXY=dict(  # held-out real pairs that every validation also measures, each data set apart
            DATASETS_NAME=[],
            SAMPLE_PER_EPOCH=512,  # pairs per data set
        ),
        TEMPLATE=dict(SIZE=128, FACTOR=2.0, CENTER_JITTER=0.0, SCALE_JITTER=0.0),  # side = FACTOR * sqrt(w * h)
        SEARCH=dict(SIZE=256, FACTOR=4.0, CENTER_JITTER=3.0, SCALE_JITTER=0.25),
        AUGMENT=dict(  # probabilities per sample, training only
            FLIP=0.5,  # both modalities, both crops
            BRIGHTNESS=0.2,  # factor from [1 - value, 1 + value], per modality
            GRAYSCALE=0.05,  # RGB only
            DROP_RGB=0.0,  # black RGB image
            DROP_AUX=0.0,  # black auxiliary image
            DEGRADE=0.0,  # one image dark, blurred, noisy, black, …; drawn for template and search apart
        ),
    ),
    MODEL=dict(
        TYPE="student",
        PRETRAIN_FILE="",  # weights to start from, in pretrained_models/ or a path: ours, OSTrack's, ViPT's or timm's
        PRETRAIN_CONFIG="",  # or: experiment with the initial network; both "": from scratch
        PRETRAIN_MISSING=[],  # prefixes of parameters that may be missing in these weights
        BACKBONE=dict(
            TYPE="vit_tiny",
            STRIDE=16,  # patch size
            INTERACTION_LAYERS=[4, 7, 10],  # from 1; student: joint blocks; teacher: exchange after them
            # student; joint: template and search tokens attend to each other. asymmetric: template tokens attend to the
            # template alone, so that a tracker computes them once; search tokens attend to both
            ATTENTION="joint",
            # student; between attention and MLP of these blocks, from 1, the search tokens to which the template
            # attends least are left out of all that follows; KEEP: share of the tokens that stay each time
            ELIMINATION=dict(LAYERS=[], KEEP=0.7),
            PREFIX_TOKENS=0,  # class and register tokens of pretrained weights
            LAYER_SCALE=0.0,  # initial LayerScale of every block, for weights that have it; 0: no LayerScale
        ),
        TARGET_EMBED=False,  # mark the target's box in the template tokens, so that its shape is known
        FUSION=dict(TYPE="simple", RANK=64),  # a row of FUSIONS, which lists the models that may use it
        HEAD=dict(TYPE="center", NUM_CHANNELS=128),
    ),
    TRAIN=dict(
        # track: supervised; pretrain: masked autoencoder; features: tokens of a pretrained encoder; distill: supervised
        # and distillation from a teacher
        STAGE="track",
        SEED=42,
        EPOCH=60,
        BATCH_SIZE=32,  # samples of one optimizer step, over all processes; LR is meant for it
        MICRO_BATCH=0,  # samples that one process holds at once, gradients are added; 0: its share of BATCH_SIZE
        NUM_WORKER=8,  # data loading processes per training process; 0 loads in the training process
        OPTIMIZER="ADAMW",
        LR=4e-4,
        BACKBONE_MULTIPLIER=0.25,  # learning rate of the backbone, relative to LR
        GATE_MULTIPLIER=10.0,  # learning rate of the teacher's gates, relative to LR; they have no weight decay
        WEIGHT_DECAY=1e-4,
        LR_DROP_EPOCH=48,  # step: LR is multiplied by DECAY_RATE after this epoch
        SCHEDULER=dict(
            TYPE="step",
            DECAY_RATE=0.1,  # step: factor at the drop; cosine: last LR as a fraction of the first
            WARMUP_STEPS=0,  # linear, from zero
        ),
        PROCESS_TIMEOUT=30.0,  # minutes that a process waits for the others before it ends with an error
        FREEZE=[],  # prefixes of parameters that are not trained, e.g. [encoder.blocks.]
        DROP_PATH_RATE=0.1,
        ONE_STREAM=False,  # student: encode one image where both are the same, i.e. in data of modality rgb
        # These save time or memory and leave the results as they are, to rounding.
        COMPILE=False,  # torch.compile for the blocks, fusions and heads of all networks
        CHECKPOINTING=False,  # keep only the inputs of blocks for the backward pass: less memory, a third more time
        SYNC_BN=False,  # batch norms take the statistics of all processes, so that small micro batches suffice
        EMA=0.0,  # decay of a moving average of the weights, which is validated and exported, e.g. 0.9998; 0: none
        AMP=False,
        AMP_DTYPE="bfloat16",
        GRAD_CLIP_NORM=0.1,  # 0: no clipping
        SKIP_NONFINITE=0,  # steps with a loss or gradient that is not finite that a run leaves out before it stops
        GIOU_WEIGHT=2.0,
        L1_WEIGHT=5.0,
        FOCAL_WEIGHT=1.0,
        PATH_WEIGHT=0.3,  # weight of these losses on each fusion path of a teacher
        PRETRAIN=dict(  # STAGE pretrain
            STRATEGY="complementarity",  # which locations are masked; random and redundancy are controls
            MASK_RATIO=0.5,  # share of the search tokens of one modality
            OTHER_RATIO=0.1,  # share of its visible locations that is masked in the other modality
            TARGET="pixels",  # what is reconstructed; features: the tokens of the averaged network, by cosine
            TEMPLATE_RATIO=0.25,  # share of the template tokens of the first modality
            DECODER=dict(WIDTH=128, DEPTH=2, HEADS=4),
        ),
        FEATURES=dict(  # STAGE features
            FILE="",  # weights of a pretrained ViT with timm's names, in pretrained_models/ or a path
            BACKBONE="vit_small",  # its geometry
            PREFIX_TOKENS=1,  # its class and register tokens
            LAYER=0,  # number of the block whose tokens are learnt, from 1; 0: the last
            CACHE="",  # folder for its tokens, so that it runs once per crop (needs DATA.TRAIN.REPEAT); "": no cache
        ),
        TEACHER=dict(  # STAGE distill
            CONFIG="",  # experiment of the teacher
            CHECKPOINT="",  # in pretrained_models/, or a path; "": the last checkpoint of that experiment
            CACHE="",  # folder for its outputs, for several runs with the same batches; "": no cache
            DTYPE="float32",  # of its stored weights; bfloat16 needs AMP in bfloat16, which has the same results
            MIN_IOU=0.0,  # least mean IoU on DATA.VAL; a worse teacher stops the command. 0: not measured
        ),
        DISTILL=dict(  # weight of each row of DISTILL_LOSSES; 0: off, the default of other rows
            SCFD=1.0,  # specific-common features
            MPSD=1.0,  # multi-path selection
            RESPONSE=0.5,  # score map and box
            BALANCE=True,  # scale the losses once, early in training, by their gradient norms
        ),
        PRINT_INTERVAL=50,  # steps
        PICTURE_INTERVAL=1000,  # steps between pictures of samples with boxes and score maps; 0: none
        VAL_EPOCH_INTERVAL=10,
        SAVE_EPOCH_INTERVAL=10,  # the last epoch is always saved
    ),
    TEST=dict(
        TEMPLATE_FACTOR=2.0,
        TEMPLATE_SIZE=128,
        SEARCH_FACTOR=4.0,
        SEARCH_SIZE=256,
        SIZE_RATE=1.0,  # share of the predicted change of size taken over per frame, times the score; 1: all of it
        EPOCH=0,  # epoch of the checkpoint to test; 0: the last epoch
        WEIGHTS="",  # weights in pretrained_models/, without suffix, if it was not trained; "": those of its own name
    ),
)

# Key → allowed values. Tables are read when a configuration is checked, so that added rows are allowed as well.
CHOICES: dict[str, Collection[str]] = {
    "DATA.SAMPLER_MODE": ("causal", "any"),
    "DATA.INPUT.DEPTH": ("colormap", "metric", "raw"),
    "DATA.INPUT.EVENTS": ("frames", "voxel", "time_surface"),
    "DATA.INPUT.THERMAL": ("auto", "percentile", "fixed"),
    "MODEL.TYPE": MODELS,
    "MODEL.BACKBONE.TYPE": BACKBONES,
    "MODEL.BACKBONE.ATTENTION": ATTENTION,
    "TRAIN.FEATURES.BACKBONE": BACKBONES,
    "MODEL.FUSION.TYPE": FUSIONS,
    "MODEL.HEAD.TYPE": HEADS,
    "TRAIN.STAGE": STAGES,
    "TRAIN.PRETRAIN.STRATEGY": STRATEGIES,
    "TRAIN.OPTIMIZER": OPTIMIZERS,
    "TRAIN.SCHEDULER.TYPE": ("step", "cosine"),
    "TRAIN.PRETRAIN.TARGET": RECONSTRUCTION_LOSSES,
    "TRAIN.AMP_DTYPE": ("bfloat16", "float16"),
    "TRAIN.TEACHER.DTYPE": ("float32", "bfloat16"),
}
OWN_DATA_CHOICES: dict[str, Collection[str]] = {"MODALITY": MODALITIES, "FORMAT": TO_XYWH}
POSITIVE = (
    "DATA.INPUT.DEPTH_RANGE "
    "DATA.MAX_SAMPLE_INTERVAL DATA.TRAIN.SAMPLE_PER_EPOCH DATA.VAL.SAMPLE_PER_EPOCH DATA.PROXY.SAMPLE_PER_EPOCH "
    "DATA.TEMPLATE.SIZE DATA.TEMPLATE.FACTOR DATA.SEARCH.SIZE DATA.SEARCH.FACTOR MODEL.BACKBONE.STRIDE "
    "MODEL.FUSION.RANK MODEL.HEAD.NUM_CHANNELS "
    "TRAIN.EPOCH TRAIN.BATCH_SIZE TRAIN.LR TRAIN.PROCESS_TIMEOUT "
    "TRAIN.PRINT_INTERVAL "
    "TRAIN.VAL_EPOCH_INTERVAL TRAIN.SAVE_EPOCH_INTERVAL TRAIN.PRETRAIN.DECODER.WIDTH TRAIN.PRETRAIN.DECODER.HEADS"
).split()
NOT_NEGATIVE = (
    "DATA.TEMPLATE.CENTER_JITTER DATA.TEMPLATE.SCALE_JITTER DATA.SEARCH.CENTER_JITTER DATA.SEARCH.SCALE_JITTER "
    "TRAIN.SEED TRAIN.NUM_WORKER TRAIN.MICRO_BATCH TRAIN.SKIP_NONFINITE TRAIN.BACKBONE_MULTIPLIER TRAIN.WEIGHT_DECAY "
    "TRAIN.PICTURE_INTERVAL TRAIN.EMA "
    "TRAIN.LR_DROP_EPOCH TRAIN.SCHEDULER.WARMUP_STEPS TRAIN.GRAD_CLIP_NORM TRAIN.GIOU_WEIGHT TRAIN.L1_WEIGHT "
    "TRAIN.FOCAL_WEIGHT TRAIN.PATH_WEIGHT TRAIN.GATE_MULTIPLIER TRAIN.PRETRAIN.DECODER.DEPTH "
    "MODEL.BACKBONE.PREFIX_TOKENS MODEL.BACKBONE.LAYER_SCALE TEST.EPOCH "
    "TRAIN.FEATURES.PREFIX_TOKENS TRAIN.FEATURES.LAYER"
).split()
FRACTIONS = (
    "DATA.NEGATIVES DATA.AUGMENT.FLIP DATA.AUGMENT.BRIGHTNESS DATA.AUGMENT.GRAYSCALE DATA.AUGMENT.DROP_RGB "
    "DATA.AUGMENT.DROP_AUX DATA.AUGMENT.DEGRADE TEST.SIZE_RATE TRAIN.SCHEDULER.DECAY_RATE TRAIN.DROP_PATH_RATE "
    "TRAIN.PRETRAIN.MASK_RATIO "
    "MODEL.BACKBONE.ELIMINATION.KEEP TRAIN.PRETRAIN.OTHER_RATIO TRAIN.PRETRAIN.TEMPLATE_RATIO TRAIN.TEACHER.MIN_IOU"
).split()
TEXT_LISTS = (
    "TRAIN.FREEZE",
    "MODEL.PRETRAIN_MISSING",
    "DATA.PROXY.DATASETS_NAME",
)  # lists of text with an empty default
NUMBER_LISTS = ("MODEL.BACKBONE.ELIMINATION.LAYERS",)  # lists of integers with an empty default
# The keys of an entry of DATA.CUSTOM. Patterns are relative to the folder of a sequence.
OWN_DATA = EasyDict(
    ROOT="",  # folder or .lmdb file of the sequences; "": DATA.ROOT/<name>
    MODALITY="rgbt",  # rgb, rgbt, rgbd or rgbe
    RGB="rgb/*.jpg",  # the RGB images, in the order of the numbers in their names
    AUX="",  # the auxiliary images, e.g. "ir/*.png", or a file of events, e.g. "events.h5"; "" only for MODALITY rgb
    TIMES="",  # if AUX is a file of events: the time of each RGB image, microseconds; "": the time is divided equally
    BOXES="boxes.csv",  # a row per image, or with its number first; a line with names of columns may precede
    FORMAT="xywh",  # numbers of a row, pixels: xywh and xyxy from the top-left corner, cxcywh from the centre
)
# Tables with keys that the user chooses → the default of an entry.
FREE_FORM = {"DATA.ROOTS": "", "DATA.CUSTOM": OWN_DATA}
# Folders. In a YAML file they are relative to the project, on the command line to the current folder.
PATHS = (
    "DATA.ROOT",
    "DATA.ROOTS",
    "DATA.CUSTOM",
    "DATA.SKIP",
    "DATA.CACHE",
    "TRAIN.TEACHER.CACHE",
    "TRAIN.FEATURES.CACHE",
)


def build_defaults() -> EasyDict:
    """Returns a new tree of defaults, with a weight for each row of DISTILL_LOSSES."""
    cfg = copy.deepcopy(DEFAULTS)
    given = cfg.TRAIN.DISTILL
    weights = {name: given.get(name, 0.0) for name in DISTILL_LOSSES}
    cfg.TRAIN.DISTILL = EasyDict({**weights, "BALANCE": given.BALANCE})
    return cfg


def keys_not_negative() -> list[str]:
    """Returns the keys whose value must be at least 0."""
    return [*NOT_NEGATIVE, *(f"TRAIN.DISTILL.{name}" for name in DISTILL_LOSSES)]
