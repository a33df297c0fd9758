"""Tests that the VOT toolkit can run our trackers on this machine, and that its scores equal ours."""

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
TOLERANCE = 1e-7  # per cent; the order of summation differs


def self_test(request: Request, name: str, folder: Path) -> dict[str, float]:
    """Makes two synthetic sequences and a workspace, runs `vot test`, `evaluate` and `analysis`, scores the results.

    Args:
        request: the tracker.
        name: name of the tracker in the toolkit.
        folder: folder of all written files.

    Returns:
        Pr, Re and F in per cent.

    Raises:
        ValueError: a step failed, or the scores differ.
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
    """Returns a request for an untrained network on the CPU. Its weights are written to `folder`.

    Raises:
        ValueError: the experiment is invalid.
        OSError: the file cannot be written.
    """
    import torch  # here, because other trackers do not need torch

    from lib.models.build import build_model
    from lib.models.weights.read import write_net

    torch.manual_seed(SEED)
    cfg, path = load_experiment(config, ()), folder / f"{config}.safetensors"
    write_net(path, build_model(cfg).state_dict(), to_plain(cfg), torch.float32)
    return Request("transcmd", config, checkpoint=path, device="cpu")


def check_scores(workspace: Path, experiment: str, tracker: str, sequences: SequenceOf[Sequence]) -> dict[str, float]:
    """Compares the scores of `vot analysis --name scores` with ours; returns Pr, Re and F in per cent.

    Raises:
        ValueError: the scores differ.
    """
    analysed = Path(workspace) / "analysis" / "scores.json"
    theirs = dict(zip(("Pr", "Re", "F"), read_analysis(analysed, experiment)[0][0], strict=True))
    annotations = annotations_from_sequences(sequences, with_size=True)
    folder = Path(workspace) / "results" / tracker / experiment
    ours = evaluate(DEPTHTRACK, annotations, {tracker: folder}).trackers[tracker].scores
    for metric, value in theirs.items():
        if not abs(100 * value - ours[metric]) <= TOLERANCE:
            raise ValueError(f"{metric}: the toolkit has {100 * value!r} in {analysed}, we have {ours[metric]!r}")
    return ours
