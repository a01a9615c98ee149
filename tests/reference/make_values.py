"""Reference values: the contribution maps of two small networks, computed step by step in NumPy.

``python tests/reference/make_values.py`` writes ``values.npz`` beside this file. Nothing here comes
from ``xinc_core``: the networks, their pictures and their maps are written out from METHOD 1 and
METHOD 2, one neuron at a time, so that the package can be compared with something that it did not
compute. The test ``tests/laws/test_reference_values.py`` sends the authors' checkpoint through the
same functions and compares with the values of the authors' own code.

The weights are made from raw 64-bit words of the generator PCG64, which are the same on every
machine and with every version of NumPy, and are rounded to float32, so that single and double
precision start from the same numbers.

Conventions: arrays are (channel, row, column); kernel (i, o') of a layer with ``c_out`` output
channels is neuron ``i * c_out + o'``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import erf

FILE = Path(__file__).with_name("values.npz")

SEED = 4  # with which no neuron of the FFN is off at every pixel
FFN_SIZE = (8, 12)  # (H, W)
FFN_WIDTH = 6
NERV_SIZE = (24, 36)  # (H, W) = grid (2, 3) times the product of the strides
NERV_STRIDES = (3, 2, 2)
NERV_CHANNELS = (3, 4, 3, 2)
NERV_LEVELS = 6
NERV_FRAMES = 3
NERV_FRAME = 1
MAPS_OF_A_LAYER = 4  # so many of a NeRV layer's maps are stored; of the FFN all


# The networks' weights --------------------------------------------------------------------------


class Weights:
    """Seeded numbers, uniform in ±``spread``, representable in float32."""

    def __init__(self, seed: int):
        self.generator = np.random.PCG64(seed)

    def __call__(self, *shape: int, spread: float) -> np.ndarray:
        """The next ``shape`` numbers, float64."""
        raw = self.generator.random_raw(int(np.prod(shape)))
        unit = (raw >> np.uint64(11)) * 2.0**-53  # in [0, 1)
        return ((2 * unit - 1) * spread).astype(np.float32).astype(np.float64).reshape(shape)


def ffn_weights() -> dict[str, np.ndarray]:
    """A small FFN's tensors under the names of the package's ``FFN``."""
    draw, d = Weights(SEED), FFN_WIDTH
    tensors = {"B": draw(d, 2, spread=2.0)}
    for number, (n_in, n_out) in enumerate([(2 * d, d), (d, d), (d, 3)]):
        tensors[f"linears.{number}.weight"] = draw(n_out, n_in, spread=1.0)
        tensors[f"linears.{number}.bias"] = draw(n_out, spread=0.5)
    return tensors


def nerv_weights() -> dict[str, np.ndarray]:
    """A small NeRV's tensors under the names of the package's ``NeRV``."""
    draw, c = Weights(SEED), NERV_CHANNELS
    cells = (NERV_SIZE[0] * NERV_SIZE[1]) // int(np.prod(NERV_STRIDES)) ** 2
    tensors = {
        "expand.weight": draw(c[0] * cells, 2 * NERV_LEVELS, 1, 1, spread=1.0),
        "expand.bias": draw(c[0] * cells, spread=0.5),
    }
    for number, stride in enumerate(NERV_STRIDES):
        n_out = c[number + 1] * stride**2
        tensors[f"blocks.{number}.weight"] = draw(n_out, c[number], 3, 3, spread=0.8)
        tensors[f"blocks.{number}.bias"] = draw(n_out, spread=0.5)
    tensors["head.weight"] = draw(3, c[-1], 3, 3, spread=0.8)
    tensors["head.bias"] = draw(3, spread=0.5)
    return tensors


# The steps that both networks are made of -------------------------------------------------------


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def gelu(x: np.ndarray) -> np.ndarray:
    """The exact GELU, x·Φ(x), in the precision of x."""
    half, root = x.dtype.type(0.5), x.dtype.type(np.sqrt(2))
    return half * x * (1 + erf(x / root))


def shifted(x: np.ndarray, kernel: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """The kernel's rows and columns (u, v), each with x (h, w) moved so that (u, v) lies on every
    pixel; zero padding.
    """
    pad = kernel // 2
    height, width = x.shape
    padded = np.pad(x, pad)
    for u in range(kernel):
        for v in range(kernel):
            yield u, v, padded[u : u + height, v : v + width]


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One channel x (h, w) with one kernel (k, k), as deep learning has it: not flipped."""
    out = np.zeros_like(x)
    for u, v, moved in shifted(x, len(kernel)):
        out += kernel[u, v] * moved
    return out


def box_filter(x: np.ndarray, kernel: int) -> np.ndarray:
    """Mean over windows of ``kernel`` × ``kernel`` pixels, zero padding counted."""
    out = np.zeros_like(x)
    for _, _, moved in shifted(x, kernel):
        out += moved
    return out / x.dtype.type(kernel**2)


def upsample(x: np.ndarray, stride: int) -> np.ndarray:
    """Every pixel becomes stride × stride equal ones."""
    return x.repeat(stride, 0).repeat(stride, 1)


def pixel_shuffle(z: np.ndarray, stride: int) -> np.ndarray:
    """(c·s², h, w) → (c, h·s, w·s): channel o·s² + q is sub-pixel (q div s, q mod s) of o."""
    channels, height, width = len(z) // stride**2, *z.shape[1:]
    out = np.zeros((channels, height * stride, width * stride), z.dtype)
    for number, plane in enumerate(z):
        o, q = divmod(number, stride**2)
        out[o, q // stride :: stride, q % stride :: stride] = plane
    return out


def every_convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolutional layer's pre-activation output: (c_in, h, w) → (c_out, h, w)."""
    out = np.zeros((len(weight), *x.shape[1:]), x.dtype)
    for o in range(len(weight)):
        for i in range(len(x)):
            out[o] += convolve(x[i], weight[o, i])
        out[o] += bias[o]
    return out


# FFN: one map for every column of every layer, METHOD 2 -----------------------------------------


def fourier_features(B: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[sin 2πBx, cos 2πBx] of every pixel, (2d, H, W); coordinates row first, the longer side
    from −1 to 1.
    """
    height, width = size
    longer = B.dtype.type(max(height, width) - 1)
    row = 2 * (np.arange(height, dtype=B.dtype) / longer - B.dtype.type(0.5))
    col = 2 * (np.arange(width, dtype=B.dtype) / longer - B.dtype.type(0.5))
    turn = B.dtype.type(2 * np.pi)
    by_row = B[:, 0, None, None] * (turn * row)[None, :, None]
    by_col = B[:, 1, None, None] * (turn * col)[None, None, :]
    phase = by_row + by_col  # (d, H, W)
    return np.concatenate([np.sin(phase), np.cos(phase)])


def ffn_maps(
    tensors: dict[str, np.ndarray],
    size: tuple[int, int],
    wanted: tuple[str, ...] = ("layer1", "layer2", "layer3"),
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(layer, neuron, map) for every column of the layers in ``wanted``, in the precision of the
    tensors.
    """
    x = fourier_features(tensors["B"], size)
    for number in range(3):
        weight = tensors[f"linears.{number}.weight"]  # (n_out, n_in)
        bias = tensors[f"linears.{number}.bias"]
        n_out, n_in = weight.shape
        for j in range(n_in if f"layer{number + 1}" in wanted else 0):
            total = np.zeros(size, x.dtype)
            for k in range(n_out):
                total += weight[k, j] * x[j] + bias[k] / x.dtype.type(n_in)
            yield f"layer{number + 1}", j, relu(total) if number < 2 else total
        z = np.einsum("kj,jhw->khw", weight, x) + bias[:, None, None]
        x = relu(z)


# NeRV: one map for every kernel (i, o') of every layer, METHOD 2 --------------------------------


@dataclass
class Convolution:
    """One traced layer of a NeRV: a block, or the head (stride 1, no activation)."""

    name: str
    weight: np.ndarray  # (c_out·s², c_in, k, k)
    bias: np.ndarray  # (c_out·s²,)
    stride: int

    @property
    def is_head(self) -> bool:
        return self.name == "head"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        z = pixel_shuffle(every_convolution(x, self.weight, self.bias), self.stride)
        return z if self.is_head else gelu(z)


def nerv_layers(tensors: dict[str, np.ndarray], strides: tuple[int, ...]) -> list[Convolution]:
    """The blocks and the head, from the picture's frame to the picture."""
    layers = []
    for number, stride in enumerate(strides):
        weight, bias = tensors[f"blocks.{number}.weight"], tensors[f"blocks.{number}.bias"]
        layers.append(Convolution(f"block{number + 1}", weight, bias, stride))
    layers.append(Convolution("head", tensors["head.weight"], tensors["head.bias"], 1))
    return layers


def initial_grid(
    tensors: dict[str, np.ndarray], t: float, base: float, grid: tuple[int, int]
) -> np.ndarray:
    """The first block's input, (c, h, w), of the frame at position t = f/T.

    The encoding is computed in float32 whatever the precision of the weights: its upper levels are
    beyond that precision, and a network is trained with the values that float32 gives.
    """
    weight, bias = tensors["expand.weight"][:, :, 0, 0], tensors["expand.bias"]
    levels = np.arange(weight.shape[1] // 2, dtype=np.float32)
    phase = np.float32(t) * (np.float32(np.pi) * np.float32(base) ** levels)
    code = np.concatenate([np.sin(phase), np.cos(phase)]).astype(weight.dtype)
    return gelu(weight @ code + bias).reshape(-1, *grid)


def carried(own: np.ndarray, later: list[Convolution]) -> np.ndarray:
    """A kernel's activated term on its own output grid, carried to the picture: (H, W)."""
    out = own
    for layer in later:
        out = box_filter(out, layer.weight.shape[-1])
        if not layer.is_head:
            out = gelu(upsample(out, layer.stride))
    return out


def nerv_maps(
    layers: list[Convolution], x: np.ndarray, wanted: tuple[str, ...] | None = None
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(layer, neuron, map) for every kernel of the layers (of those in ``wanted``), whose first
    receives x.
    """
    for number, layer in enumerate(layers):
        c_out, c_in, s = len(layer.weight), len(x), layer.stride
        for i in range(c_in if wanted is None or layer.name in wanted else 0):
            for o in range(c_out):
                z = convolve(x[i], layer.weight[o, i]) + layer.bias[o] / x.dtype.type(c_in)
                own = np.zeros((z.shape[0] * s, z.shape[1] * s), z.dtype)
                q = o % s**2
                own[q // s :: s, q % s :: s] = z
                if not layer.is_head:
                    own = gelu(own)
                yield layer.name, i * c_out + o, carried(own, layers[number + 1 :])
        x = layer(x)


# What is stored of the maps ---------------------------------------------------------------------


def summed(
    maps: Iterator[tuple[str, int, np.ndarray]], keep: dict[str, list[int]] | None = None
) -> dict[str, dict]:
    """Per layer: ``maps`` {neuron: map}, of all neurons or of those in ``keep``; ``total``
    [Σ_p|C|, one a neuron]; ``heatmap`` Σ_n|C|.
    """
    layers: dict[str, dict] = {}
    for name, neuron, values in maps:
        layer = layers.setdefault(name, {"maps": {}, "total": [], "heatmap": 0.0})
        magnitude = np.abs(values.astype(np.float64))
        if keep is None or neuron in keep[name]:
            layer["maps"][neuron] = values
        layer["total"].append(magnitude.sum())
        layer["heatmap"] = layer["heatmap"] + magnitude
    return layers


def small_maps(dtype: type) -> dict[str, dict]:
    """All maps of the two small networks in one precision: {"ffn.layer1": …, "nerv.block1": …}."""
    ffn = {name: values.astype(dtype) for name, values in ffn_weights().items()}
    nerv = {name: values.astype(dtype) for name, values in nerv_weights().items()}
    step = int(np.prod(NERV_STRIDES))
    grid = (NERV_SIZE[0] // step, NERV_SIZE[1] // step)
    x = initial_grid(nerv, NERV_FRAME / NERV_FRAMES, 1.25, grid)
    layers = nerv_layers(nerv, NERV_STRIDES)
    out = {f"ffn.{name}": layer for name, layer in summed(ffn_maps(ffn, FFN_SIZE)).items()}
    out |= {f"nerv.{name}": layer for name, layer in summed(nerv_maps(layers, x)).items()}
    return out


def chosen(name: str, n_neurons: int) -> np.ndarray:
    """Whose maps are stored: of the FFN's layers all, of the NeRV's a few spread over the layer."""
    if name.startswith("ffn."):
        return np.arange(n_neurons)
    return np.linspace(0, n_neurons - 1, MAPS_OF_A_LAYER).round().astype(int)


def values() -> dict[str, np.ndarray]:
    """What ``values.npz`` holds.

    Per layer: ``neurons`` (k,), ``maps`` (k, H, W), ``total`` (N,) and ``heatmap`` (H, W), all from
    double precision; and ``float32``, by how much the same steps in single precision differ, as a
    share of the layer's largest value.
    """
    exact, single = small_maps(np.float64), small_maps(np.float32)
    out: dict[str, np.ndarray] = {}
    for name, layer in exact.items():
        neurons = chosen(name, len(layer["total"]))
        largest, difference = 0.0, 0.0
        for neuron, plane in layer["maps"].items():
            largest = max(largest, np.abs(plane).max())
            difference = max(difference, np.abs(single[name]["maps"][neuron] - plane).max())
        out[f"{name}.neurons"] = neurons
        out[f"{name}.maps"] = np.stack([layer["maps"][n] for n in neurons])
        out[f"{name}.total"] = np.array(layer["total"])
        out[f"{name}.heatmap"] = layer["heatmap"]
        out[f"{name}.float32"] = np.array(difference / largest)
    return out


if __name__ == "__main__":
    np.savez_compressed(FILE, **values())
    print(f"{FILE.name}: {FILE.stat().st_size / 1e3:.0f} kB")
