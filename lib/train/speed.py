"""Switches that save time or memory and leave the results as they are: compilation, half precision, batch norms."""

from __future__ import annotations

import torch
import torch._functorch.config
from torch import Tensor, nn

from lib.models.network import PairNetwork
from lib.utils import distributed

RECOMPILATIONS = 128  # blocks differ in their rate of dropped paths, and are compiled for training and validation


def compile_networks(task: nn.Module, backend: str = "inductor") -> None:
    """Compiles the blocks, the fusion and the head of every network of a task in place: TRAIN.COMPILE.

    Names in checkpoints do not change. Compiling blocks instead of networks takes seconds, not minutes, and also serves
    the stages that only encode.

    Args:
        task: with a student or a teacher to train, and maybe a frozen teacher or CMAE's averaged network.
        backend: of `torch.compile`.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILATIONS)
    torch._functorch.config.donated_buffer = False  # `Balance` takes gradients of a graph more than once
    for network in task.modules():
        if isinstance(network, PairNetwork):
            blocks = {id(block): block for stream in network.streams for block in stream.blocks}
            for part in (*blocks.values(), network.fusion, network.head):
                part.compile(backend=backend, dynamic=False)


def store_in_bfloat16(network: nn.Module) -> None:
    """Rounds the weights of linear layers and convolutions of a frozen network, which autocast would round every time.

    Under autocast in bfloat16, the output is bit-identical and these weights need half of the memory. Norms, positions
    and gates, which autocast uses in float32, stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)


def share_batch_norms(network: nn.Module) -> None:
    """Replaces every batch norm by one with the statistics of the micro batches of all processes: TRAIN.SYNC_BN."""
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if type(module) is nn.BatchNorm2d:
                setattr(parent, name, SharedBatchNorm(module))


class SharedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the samples of all processes, which must have equally many. Its state has the same names.

    torch.nn.SyncBatchNorm does not run on a CPU, where it could not be tested.

    Args:
        norm: the batch norm to replace; its parameters are taken over.
    """

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        for own, other in zip(self.parameters(), norm.parameters(), strict=True):
            own.requires_grad_(other.requires_grad)
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, C, h, w) to the same shape."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(input)
        values = input.float()
        moments = torch.stack([values.mean(dim=(0, 2, 3)), values.square().mean(dim=(0, 2, 3))])
        mean, square = (_Sum.apply(moments) / distributed.world_size()).unbind()
        variance = (square - mean.square()).clamp(min=0)
        count = distributed.world_size() * values.numel() / values.shape[1]
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        scale = self.weight / (variance + self.eps).sqrt()
        output = values * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return output.to(input.dtype)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; the gradient is that of the sum of their losses."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        return distributed.sum_over_processes(tensor.clone())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return distributed.sum_over_processes(gradient.clone())
