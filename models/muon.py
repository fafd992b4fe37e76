"""The optimiser: Muon for the matrices (Jordan et al., 2024), AdamW for embeddings and norms, in one step."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonal(update: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices to `[n, rows, columns]`, by five quintic Newton-Schulz steps."""
    tall = update.shape[1] > update.shape[2]
    x = update.transpose(1, 2) if tall else update
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315) @ x
    return x.transpose(1, 2) if tall else x


class Muon:
    """Steps every parameter of `module`; matrices of one shape are orthogonalised together."""

    def __init__(self, module: nn.Module, matrix_rate: float, other_rate: float) -> None:
        named = list(module.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embedding" not in name]
        shapes = {tuple(p.shape) for p in matrices}
        self.groups = [[p for p in matrices if tuple(p.shape) == shape] for shape in sorted(shapes)]
        self.momenta = [torch.zeros(len(group), *group[0].shape) for group in self.groups]
        others = [p for name, p in named if p.ndim < 2 or "embedding" in name]
        self.matrix_rate, self.other_rate = matrix_rate, other_rate
        self.adam = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.0)

    @torch.no_grad()
    def step(self, rate: float, *, momentum: float = 0.95, decay: float = 0.05) -> None:
        """Apply the gradients at `rate` (0 to 1) of the peak learning rates, then clear them."""
        for group, velocity in zip(self.groups, self.momenta, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            velocity.lerp_(gradient, 1 - momentum)
            update = orthogonal(gradient.lerp_(velocity, momentum))
            rows, columns = group[0].shape
            scale = self.matrix_rate * rate * max(1.0, rows / columns) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - self.matrix_rate * rate * decay).sub_(change, alpha=scale)
                parameter.grad = None
        for settings in self.adam.param_groups:
            settings["lr"] = self.other_rate * rate
        self.adam.step()
        self.adam.zero_grad()
