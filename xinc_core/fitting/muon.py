"""Muon: momentum whose every step is made orthogonal (Jordan et al. 2024).

For INRs: McGinnis et al., arXiv 2512.14366. Used by the ``fast`` recipes (METHOD 5) for the weights
of all traced layers but the last; a kernel (c_out, c_in, k, k) is the matrix (c_out, c_in·k·k).

Trap: torch has a Muon of its own, which takes matrices alone and computes in bfloat16. On a CPU
without instructions for that type it takes twenty times longer than this one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Of the quintic a·x + b·x³ + c·x⁵ that is applied to all singular values x of a matrix, and how
# often: from (0, 1] it takes them to about 0.7 … 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.9
TINY = 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, times the rate.

    Every step changes a weight of shape (rows, columns) by ``lr · √max(1, rows/columns) · O``,
    where O has the singular vectors of the momentum and singular values of about one: the rate says
    how far a step goes, whatever the size of the gradient.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        With two dimensions or more each; (c_out, …) is read as a matrix with c_out rows.
    lr : float
        The rate, above 0.
    momentum : float
        Share of the last momentum that is kept, 0 to 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = MOMENTUM):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change every weight by one step, from its gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                self._change(weight, group["lr"], group["momentum"])

    def _change(self, weight: Tensor, lr: float, kept: float) -> None:
        gradient = weight.grad.flatten(1)  # (rows, columns)
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - kept)
        ahead = gradient.lerp(momentum, kept)  # Nesterov: where the momentum will be
        rows, columns = ahead.shape
        length = lr * max(1.0, rows / columns) ** 0.5
        weight.sub_(orthogonal(ahead).view(weight.shape), alpha=length)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with orthonormal rows or columns, by Newton–Schulz iteration.

    Parameters
    ----------
    matrix : Tensor, (rows, columns)

    Returns
    -------
    Tensor, (rows, columns)
        In the matrix's dtype: the same singular vectors, singular values of 0.7 to 1.2; those far
        below the largest one (by more than about 1e-3) stay smaller.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix  # (m, n), m ≤ n
    if x.is_cuda:
        x = x.bfloat16()
    x = x / (x.norm() + TINY)
    for _ in range(ITERATIONS):
        square = x @ x.T  # (m, m)
        polynomial = torch.addmm(square, square, square, beta=b, alpha=c)
        x = torch.addmm(x, polynomial, x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)
