"""How much memory a pass over a layer's maps may use, and from when on another method is faster.

Maps do not depend on these numbers, up to rounding: they decide how the work is cut into pieces.
A *float* here is one number of the model's dtype: 4 bytes in float32, 8 in float64.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Sizes of the pieces into which tracing cuts its work.

    Attributes
    ----------
    stream_bytes : float
        Bytes of maps per step of a reduction (totals, heatmap, region sums): small enough to stay
        in the processor's cache.
    work_bytes : float
        Bytes of working memory of a rule, which decides into how many tiles a large picture is cut.
    jacobian_batch_floats : float
        Floats of Jacobian rows that ``first_order`` computes at once for a batch of output channels
        of a convolution.
    stored_jacobian_floats : float
        Floats of Jacobians that ``first_order`` stores for the tiles of a pointwise network.
    assembly_floats : float
        Floats of the maps that ``first_order`` assembles at once: small enough to stay in the
        processor's cache together with all that they are made of.
    ablation_batch_floats : float
        Floats of the widest layer's output for a batch of removed kernels.
    ablation_pointwise_floats : float
        Floats of the widest layer's output for a batch of removed columns, ``ablation_pixels``
        pixels at a time: small enough to stay in the processor's cache.
    ablation_pixels : int
        Pixels at which columns are removed together.
    impulses_up_to_cells : int
        Cells of a layer's input grid up to which ``first_order`` sends impulses forwards instead of
        gradients backwards. 0 switches impulses off.
    impulse_channels : int
        Output channels whose impulses travel together.
    """

    stream_bytes: float = 2**22
    work_bytes: float = 256e6
    jacobian_batch_floats: float = 1.25e7
    stored_jacobian_floats: float = 6e7
    assembly_floats: float = 5e5
    ablation_batch_floats: float = 4e6
    ablation_pointwise_floats: float = 4e5
    ablation_pixels: int = 1024
    impulses_up_to_cells: int = 16
    impulse_channels: int = 4


DEFAULT_BUDGET = Budget()
