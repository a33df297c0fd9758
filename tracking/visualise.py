"""Shows what a trained stage does with held-out pairs: CMAE's scores, masks and reconstructions, or a teacher's paths.

python tracking/visualise.py --config pretrain_tiny
python tracking/visualise.py --config teacher_nano --checkpoint pretrained_models/teacher_nano.safetensors --samples 12
"""

import argparse
from pathlib import Path

import _init_paths  # noqa: F401
import cv2
import torch

from lib.config.loader import config_name, load_config
from lib.data.loader import build_loaders
from lib.models.build import check_settings
from lib.models.weights.read import find_weights, network_of, read_checkpoint
from lib.models.weights.report import load_exact
from lib.structures import Pair, Sample, to_device
from lib.study.views import draw_paths, draw_reconstruction, pick_telling
from lib.train.build import RunInfo, build_task
from lib.train.checkpoint import read_training_state
from lib.train.prerequisites import finished_checkpoint
from lib.utils.cli import run_command
from lib.utils.files import atomic_path
from lib.utils.misc import pick_device, seed_step


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="an experiment of stage pretrain, or a teacher's")
    parser.add_argument("--checkpoint", help="default: what training the experiment left in save_dir")
    parser.add_argument("--save_dir", default="output")
    parser.add_argument("--output", help="the picture; default: <save_dir>/visualised/<config>.png")
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--device", default="")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    args = parse_args()
    cfg, device = load_config("transcmd", args.config, args.set), pick_device(args.device)
    name = config_name(args.config)
    if cfg.TRAIN.STAGE != "pretrain" and cfg.MODEL.TYPE != "teacher":
        raise ValueError(f"--config {name}: nothing to show; expected an experiment of stage pretrain, or a teacher")
    if args.checkpoint:
        path = find_weights(args.checkpoint)
    else:
        path = finished_checkpoint("transcmd", name, args.save_dir, "--config")
    task = build_task(cfg, RunInfo("transcmd", Path(args.save_dir), total_steps=1))
    if cfg.TRAIN.STAGE == "pretrain":
        state = read_training_state(Path(path))
        check_settings(state, cfg, path)
        task.restore(state["net"], state["task"])
    else:  # a network alone will do
        content = read_checkpoint(path)
        load_exact(task.model, network_of(content, path).tensors, str(path))
        check_settings(content, cfg, path)
    task.to(device).eval()
    loader = build_loaders(cfg)[1]
    if loader is None:
        raise ValueError(f"--config {name}: DATA.VAL names no data set to take pairs from")
    pool = concatenate([batch for _, batch in zip(range(8), loader, strict=False)])
    picked, labels = pick_telling(pool.search, args.samples)
    sample = to_device(pick(pool, picked), device)
    seed_step(cfg.TRAIN.SEED)
    if cfg.TRAIN.STAGE == "pretrain":
        result = task.mae(task.model, sample, exponent=1.0)
        picture = draw_reconstruction(sample, result, cfg.MODEL.BACKBONE.STRIDE)
    else:
        inputs = (sample.template, sample.search, sample.modality)
        rgb, aux, _ = task.model.encode(*inputs)
        picture = draw_paths(sample, task.model(*inputs), task.model.fusion.path_weights(rgb, aux), labels)
    output = Path(args.output or Path(args.save_dir) / "visualised" / f"{name}.png")
    with atomic_path(output) as temporary:
        if not cv2.imwrite(str(temporary), picture[..., ::-1]):
            raise OSError(f"{output}: cannot write the picture")
    print(output)


def concatenate(batches: list[Sample]) -> Sample:
    """Several batches as one."""
    fields = zip(*batches, strict=True)
    return Sample(
        *(Pair(*map(torch.cat, zip(*f, strict=True))) if isinstance(f[0], Pair) else torch.cat(f) for f in fields)
    )


def pick(sample: Sample, rows: list[int]) -> Sample:
    """The given samples of a batch."""
    return Sample(*(Pair(*(image[rows] for image in f)) if isinstance(f, Pair) else f[rows] for f in sample))


if __name__ == "__main__":
    run_command(main)
