"""Time of one training step on this machine, forward, backward and optimizer apart; medians.

python benchmarks/training_step.py --config demo --device cpu
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lib.config.loader import load_config
from lib.structures import MAX_DISTRACTORS, MODALITIES, Pair, Sample, to_device
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer
from lib.utils.cli import Parser, integer, run_command
from lib.utils.misc import pick_device


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--config", default="demo", help="experiment that is trained")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument("--steps", type=integer(1), default=20, help="measured steps")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. TRAIN.BATCH_SIZE=8; repeatable"
    )
    args = parser.parse_args()
    cfg, device = load_config("transcmd", args.config, args.set), pick_device(args.device)
    task = build_task(cfg, RunInfo("transcmd", Path("output"), args.steps)).to(device)
    optimizer = build_optimizer(cfg, task)
    sample = to_device(random_sample(cfg.TRAIN.BATCH_SIZE, cfg.DATA.TEMPLATE.SIZE, cfg.DATA.SEARCH.SIZE), device)
    times = {"forward": [], "backward": [], "optimizer": []}
    for step in range(args.steps + 3):  # the first ones warm up
        marks = [clock(device)]
        with torch.autocast(device.type, getattr(torch, cfg.TRAIN.AMP_DTYPE), enabled=cfg.TRAIN.AMP):
            loss = sum(task(sample, 0.0)[0].values())
        marks.append(clock(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(clock(device))
        optimizer.step()
        task.after_step()  # else every step would be one in which the balance of losses measures gradients
        marks.append(clock(device))
        if step >= 3:
            for part, begin, end in zip(times, marks, marks[1:], strict=False):
                times[part].append(1000 * (end - begin))
    print(f"{args.config}, batch {cfg.TRAIN.BATCH_SIZE}, {device}, {torch.get_num_threads()} threads, ms per step:")
    for part, values in times.items():
        print(f"  {part:10} {statistics.median(values):8.1f}")
    whole = statistics.median(map(sum, zip(*times.values(), strict=True)))
    print(f"  {'whole':10} {whole:8.1f}   {1000 * cfg.TRAIN.BATCH_SIZE / whole:.1f} samples/s")


def random_sample(batch: int, template_size: int, search_size: int) -> Sample:
    """A batch of noise with boxes in the middle, of all modalities."""

    def pair(size: int) -> Pair:
        return Pair(*(torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8) for _ in range(2)))

    box = torch.tensor([[0.5, 0.5, 0.25, 0.25]]).repeat(batch, 1)
    modality = torch.arange(batch) % len(MODALITIES)
    present, unknown = torch.ones(batch, dtype=torch.bool), torch.zeros(batch, MAX_DISTRACTORS, 4)
    return Sample(pair(template_size), pair(search_size), box, box, modality, present, unknown)


def clock(device: torch.device) -> float:
    """Now, after the device has caught up."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    run_command(main)
