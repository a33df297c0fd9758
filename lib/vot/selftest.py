"""A test of the VOT toolkit with our trackers on this machine: it runs them, and both sides find the same scores."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from pathlib import Path

from lib.data.datasets import load_dataset
from lib.data.sequence import Sequence
from lib.data.storage import DiskStore
from lib.data.synthetic import write_datasets
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import DEPTHTRACK
from lib.evaluation.evaluate import evaluate
from lib.tracker.build import Request, load_experiment
from lib.utils.trees import to_plain
from lib.vot.workspace import LONG_TERM, read_analysis, run_toolkit, tracker_command, write_workspace

SEED = 5  # of the data and of random weights
TOLERANCE = 1e-7  # per cent; sums are formed in another order


def self_test(request: Request, name: str, folder: Path) -> dict[str, float]:
    """Makes two synthetic sequences and a workspace, runs `vot test`, `evaluate` and `analysis`, scores the results.

    Args:
        request: the tracker. name: what the toolkit calls it. folder: everything is written there.

    Returns:
        Pr, Re and F in per cent.

    Raises:
        ValueError: one of the steps failed, or the scores are not the same.
    """
    frames = {"train_sequences": 1, "test_sequences": 2, "train_frames": 12, "test_frames": 30}
    write_datasets(folder / "data", seed=SEED, datasets=("DepthTrack",), workers=1, **frames)
    sequences = load_dataset("DepthTrack", DiskStore(folder / "data" / "DepthTrack"))
    workspace = folder / "workspace"
    write_workspace(workspace, LONG_TERM, sequences, {name: tracker_command(request)})
    first = f"sequences/{sequences[0].name}"
    run_toolkit(workspace, "test", "--sequence", first, name, done="Test concluded")
    run_toolkit(workspace, "evaluate", name, done="Evaluation concluded")
    run_toolkit(workspace, "analysis", "--name", "scores", name, done="Analysis successful")
    return check_scores(workspace, LONG_TERM.experiment, name, sequences)


def random_network(config: str, folder: Path) -> Request:
    """A network that was never trained, on the CPU; its weights are written into `folder`."""
    import torch  # here: other trackers do without

    from lib.models.build import build_model
    from lib.models.weights.read import write_net

    torch.manual_seed(SEED)
    cfg, path = load_experiment(config, ()), folder / f"{config}.safetensors"
    write_net(path, build_model(cfg).state_dict(), to_plain(cfg), torch.float32)
    return Request("transcmd", config, checkpoint=path, device="cpu")


def check_scores(workspace: Path, experiment: str, tracker: str, sequences: SequenceOf[Sequence]) -> dict[str, float]:
    """Pr, Re and F in per cent, as `vot analysis --name scores` wrote them and as we find them from its files.

    Raises:
        ValueError: they are not the same.
    """
    analysed = Path(workspace) / "analysis" / "scores.json"
    theirs = dict(zip(("Pr", "Re", "F"), read_analysis(analysed, experiment)[0][0], strict=True))
    annotations = annotations_from_sequences(sequences, with_size=True)
    folder = Path(workspace) / "results" / tracker / experiment
    ours = evaluate(DEPTHTRACK, annotations, {tracker: folder}).trackers[tracker].scores
    for metric, value in theirs.items():
        if not abs(100 * value - ours[metric]) <= TOLERANCE:
            raise ValueError(f"{metric}: the toolkit's {analysed} says {100 * value!r}, we find {ours[metric]!r}")
    return ours
