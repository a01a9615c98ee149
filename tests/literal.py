"""The slow literal version: METHOD's definitions, one neuron at a time, every map dense. The
fast one must agree with it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def inputs_of(model, frame=0):
    """What each layer receives, through the chain that the family describes: list of (1, c, h,
    w).
    """
    from xinc_core.models import position

    x, seen = model.stem(model.encode(position(model, frame))), []
    for layer in model.layers():
        seen.append(x)
        x = layer(x)
    return seen


def paper_map(model, index, neuron, frame=0, seen=None):
    """METHOD 2, word for word."""
    layers, x = model.layers(), (seen or inputs_of(model, frame))[index][0]
    layer = layers[index]
    if layer.neurons == "columns":
        total = 0
        for k in range(layer.c_out):
            total = total + layer.weight[k, neuron, 0, 0] * x[neuron]
            total = total if layer.bias is None else total + layer.bias[k] / layer.c_in
        return layer.activation(total)
    i, o = divmod(neuron, layer.c_out)
    s = layer.stride
    z = F.conv2d(x[i][None, None], layer.weight[o, i][None, None], padding=layer.pad)[0, 0]
    if layer.bias is not None:
        z = z + layer.bias[o] / layer.c_in
    q = o % s**2
    t = z.new_zeros(z.shape[0] * s, z.shape[1] * s)
    t[q // s :: s, q % s :: s] = z
    if index == len(layers) - 1:
        return layer.activation(t)
    t = layer.activation(t)
    for later in layers[index + 1 :]:
        t = F.avg_pool2d(t[None, None], later.kernel, 1, later.pad)[0, 0]
        if later is not layers[-1]:
            t = later.activation(
                t.repeat_interleave(later.stride, 0).repeat_interleave(later.stride, 1)
            )
    return t


def share(model, index, neuron, x):
    """d_n: the neuron's share of its layer's pre-activation output, before the shuffle: (1,
    c_out, h, w).
    """
    layer = model.layers()[index]
    if layer.neurons == "columns":
        return layer.weight[:, neuron] * x[:, neuron : neuron + 1]
    i, o = divmod(neuron, layer.c_out)
    d = torch.zeros(1, layer.c_out, *x.shape[-2:], dtype=x.dtype)
    d[:, o] = F.conv2d(x[:, i : i + 1], layer.weight[o, i][None, None], padding=layer.pad)[:, 0]
    return d


def tail(model, index):
    """The function from a layer's pre-activation output, before the shuffle, to the picture."""
    first, *later = model.layers()[index:]

    def picture(z):
        x = first.activation(first.shuffle(z))
        for layer in later:
            x = layer(x)
        return x[0]

    return picture


def removed_input(x, baseline):
    """x − x₀: (1, c_in, h, w)."""
    return x if baseline == "zero" else x - x.mean((-2, -1), keepdim=True)


def weight_part(model, index, x):
    """D: what all neurons of a layer share out, (1, c_out, h, w); no bias."""
    layer = model.layers()[index]
    return F.conv2d(x, layer.weight, padding=layer.pad)


def first_order_map(model, index, neuron, frame=0, seen=None, baseline="zero", horizon=0.0):
    """J_s·d_n by forward-mode differentiation, at z − s/2·D with s the horizon: (3, H, W)."""
    x = (seen or inputs_of(model, frame))[index]
    removed = removed_input(x, baseline)
    z = model.layers()[index].linear(x) - horizon / 2 * weight_part(model, index, removed)
    return torch.func.jvp(tail(model, index), (z,), (share(model, index, neuron, removed),))[1]


def ablation_map(model, index, neuron, frame=0, baseline="zero"):
    """I − I_{−n}: (3, H, W)."""
    x = inputs_of(model, frame)[index]
    removed = removed_input(x, baseline)
    z, picture = model.layers()[index].linear(x), tail(model, index)
    return picture(z) - picture(z - share(model, index, neuron, removed))
