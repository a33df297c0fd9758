"""Pictures of a batch: masks and reconstructions of CMAE, and weights of the fusion paths."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.losses.reconstruction import is_flat
from lib.losses.tracking import box_iou
from lib.models.fusion import PATHS
from lib.models.mae import Reconstruction, from_patches
from lib.structures import Pair, Sample, TrackOutput
from lib.utils.draw import draw_box, overlay_score, write_label

CELL = 192  # side of one picture, pixels
LINE = 18  # height of a line of text, pixels
LABEL = (5, CELL - 7)  # left end of the base line of a picture's text, pixels
HIDDEN = 0.5  # grey level of masked patches, in [0, 1]


def draw_reconstruction(sample: Sample, result: Reconstruction, stride: int) -> np.ndarray:
    """Draws one row per sample: search crops, scores of the mask, masked pair, reconstructed pair.

    Only masked patches are reconstructed. They get their true mean and deviation, which the loss removes. Flat patches,
    which the loss ignores, are shown unchanged.

    Args:
        sample: a batch of B samples.
        stride: side of a patch, pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cells = (sample.search.rgb.shape[-1] // stride) ** 2
    patches, prediction = result.patches[:, :, -cells:].float(), result.prediction[:, :, -cells:].float()
    mask = result.masks.mask[:, :, -cells:, None]
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True, correction=0)
    shown = torch.where(mask & ~is_flat(patches)[..., None], prediction * variance.sqrt() + mean, patches)
    hidden = torch.where(mask, torch.full_like(patches, HIDDEN), patches)
    grid = round(cells**0.5)
    rows = []
    for index in range(len(sample.modality)):
        scores = result.scores[index].float().view(grid, grid)
        pictures = [_image(sample.search.rgb[index]), _image(sample.search.aux[index])]
        pictures.append(overlay_score(pictures[0] // 2 + pictures[1] // 2, _stretch(scores)))
        pictures += [_unit_image(from_patches(part[index], stride)[m]) for part in (hidden, shown) for m in (0, 1)]
        rows.append(np.concatenate(pictures, axis=1))
    titles = ["RGB", "auxiliary", "mask score", "masked RGB", "masked aux", "RGB rebuilt", "aux rebuilt"]
    return _with_titles(rows, titles)


def draw_paths(sample: Sample, output: TrackOutput, weights: Tensor, labels: list[str]) -> np.ndarray:
    """Draws one row per sample: search crops with true (green) and fused box (red), and the weights of each path.

    The picture of a path also shows its box and IoU.

    Args:
        sample: a batch of B samples.
        output: the teacher's output for the batch.
        weights: (B, hw, 3), see `MultiPathFusion.path_weights`.
        labels: a short text for each sample.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    path_iou = {name: box_iou(output.paths[name].boxes, sample.search_box) for name in PATHS}
    fused = box_iou(output.boxes, sample.search_box)
    grid = round(weights.shape[1] ** 0.5)
    rows = []
    for index, label in enumerate(labels):
        pictures = [_image(sample.search.rgb[index]), _image(sample.search.aux[index])]
        texts, boxes, dim = [label, f"fused IoU {fused[index]:.2f}"], [output.boxes[index]] * 2, pictures[0] // 2
        for number, name in enumerate(PATHS):
            share = weights[index, :, number].float()
            pictures.append(overlay_score(dim, share.view(grid, grid).cpu().numpy()))
            texts.append(f"{share.mean():.2f}  IoU {path_iou[name][index]:.2f}")
            boxes.append(output.paths[name].boxes[index])
        for picture, text, box in zip(pictures, texts, boxes, strict=True):
            draw_box(picture, sample.search_box[index].tolist(), (60, 230, 60), cv2.LINE_AA)
            draw_box(picture, box.tolist(), (255, 60, 60), cv2.LINE_AA)
            write_label(picture, text, LABEL)
        rows.append(np.concatenate(pictures, axis=1))
    return _with_titles(rows, ["RGB", "auxiliary", *(f"path {name}" for name in PATHS)])


def pick_samples(search: Pair, count: int) -> tuple[list[int], list[str]]:
    """Selects `count` samples, of which about two thirds have little contrast in one modality.

    Args:
        search: search crops of a batch, (B, 3, S, S).

    Returns:
        The indices of the samples, and a short text for each.
    """
    spread = [image.float().std(dim=(1, 2, 3)) for image in search]
    picked: dict[int, str] = {}
    for values, label in zip(spread, ("dark or flat RGB", "faint auxiliary"), strict=True):
        for index in values.argsort().tolist():
            if index not in picked and sum(word == label for word in picked.values()) < count // 3:
                picked[index] = label
    for index in range(len(spread[0])):
        if len(picked) < count:
            picked.setdefault(index, "")
    return list(picked), list(picked.values())


def _image(crop: Tensor) -> np.ndarray:
    return cv2.resize(crop.permute(1, 2, 0).contiguous().cpu().numpy(), (CELL, CELL), interpolation=cv2.INTER_CUBIC)


def _unit_image(crop: Tensor) -> np.ndarray:
    return _image((crop.clamp(0, 1) * 255).byte())


def _stretch(scores: Tensor) -> np.ndarray:
    low, high = scores.min(), scores.max()
    return ((scores - low) / (high - low).clamp(min=1e-12)).cpu().numpy()


def _with_titles(rows: list[np.ndarray], titles: list[str]) -> np.ndarray:
    header = np.full((LINE + 4, rows[0].shape[1], 3), 255, np.uint8)
    for number, title in enumerate(titles):
        cv2.putText(header, title, (number * CELL + 5, LINE - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return np.concatenate([header, *rows])
