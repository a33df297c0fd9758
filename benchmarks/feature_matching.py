"""How well the tokens of each block of a pretrained encoder find a target, without any training.

For each held-out pair, the token of the search crop that is nearest to the mean of the template's central tokens is
taken; printed is the share of pairs in which its cell lies on the target, for RGB and for the auxiliary image.

python benchmarks/feature_matching.py --config features_nano
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn.functional import normalize

from lib.config.loader import load_config
from lib.data.loader import build_proxy_loaders
from lib.models.build import BACKBONES
from lib.models.features import FeatureEncoder
from lib.models.vit import Normalize
from lib.structures import Sample
from lib.train.tasks import is_inside
from lib.utils.cli import Parser, integer, run_command
from lib.utils.paths import find_weights


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--config", default="features_nano", help="an experiment of stage features")
    parser.add_argument("--layers", type=integer(1), nargs="+", default=[3, 6, 9, 12], help="blocks, counted from 1")
    parser.add_argument("--samples", type=integer(1), default=192, help="pairs per data set")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATA.ROOT=/data; repeatable"
    )
    args = parser.parse_args()
    cfg = load_config("transcmd", args.config, args.set)
    names = [*cfg.DATA.VAL.DATASETS_NAME, *cfg.DATA.PROXY.DATASETS_NAME]
    cfg.DATA.PROXY.DATASETS_NAME, cfg.DATA.PROXY.SAMPLE_PER_EPOCH = names, args.samples
    loaders = build_proxy_loaders(cfg)
    own = cfg.TRAIN.FEATURES
    for layer in args.layers:
        stride = cfg.MODEL.BACKBONE.STRIDE
        sizes = cfg.DATA.TEMPLATE.SIZE, cfg.DATA.SEARCH.SIZE
        backbone = BACKBONES[own.BACKBONE](
            template_size=sizes[0], search_size=sizes[1], stride=stride, prefix_tokens=own.PREFIX_TOKENS
        )
        encoder = FeatureEncoder(backbone, layer, Normalize(cfg.DATA.MEAN, cfg.DATA.STD))
        encoder.load(find_weights(own.FILE))
        found = []
        for name, loader in loaders.items():
            hits = torch.cat([find_targets(encoder, sample) for sample in loader])
            found.append(f"{name} " + " / ".join(f"{hits[:, m].nanmean():.2f}" for m in (0, 1)))
        print(f"block {layer:2d}: {', '.join(found)}", flush=True)


def find_targets(encoder: FeatureEncoder, sample: Sample) -> torch.Tensor:
    """Returns (B, 2), RGB first: 1 where the target is found, 0 where not, NaN where an image is black."""
    hits = []
    for template, search in zip(sample.template, sample.search, strict=True):
        tokens = normalize(encoder(template, search), dim=-1)
        side, grid = encoder.backbone.template_grid, encoder.backbone.grid
        first, last = side // 4, side - side // 4
        own = tokens[:, : side * side].unflatten(1, (side, side))[:, first:last, first:last].flatten(1, 2)
        cell = (tokens[:, side * side :] @ own.mean(dim=1)[..., None])[..., 0].argmax(dim=1)
        centre = (torch.stack([cell % grid, cell // grid], dim=1) + 0.5) / grid
        hit = is_inside(centre, sample.search_box).float()
        black = ~(template.flatten(1).bool().any(dim=1) & search.flatten(1).bool().any(dim=1))
        hits.append(hit.masked_fill(black, torch.nan))
    return torch.stack(hits, dim=1)


if __name__ == "__main__":
    run_command(main)
