"""How two tensors are compared: the largest difference, as a share of the largest value wanted."""

from torch import Tensor


def close(got: Tensor, wanted: Tensor, rtol: float) -> None:
    """Fail where they differ by more than ``rtol`` of the largest ``|wanted|``."""
    assert got.shape == wanted.shape
    scale = wanted.abs().max()
    difference = (got - wanted).abs().max()
    assert difference <= rtol * max(scale, 1e-30), f"{difference / scale:.2e} of the largest value"


def without_bars(text):
    """What a command said, without its progress bars."""
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(line for line in lines if "%|" not in line)
