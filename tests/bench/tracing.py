"""Every layer, rule and statistic beside the literal implementation, two floors and Captum; on a
GPU beside the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import literal
import torch
from torch import Tensor, nn

from .measuring import STATISTICS, Job, forward, measured, network, partitions, seconds

RULES = ("paper", "first_order")
Say = Callable[[dict], None]


def layer_rows(
    name: str, options: dict, rate: float, say: Say, few: int = 16, **limits
) -> list[dict]:
    """A row per layer, rule and statistic of a network.

    rate : bytes per second; few : neurons for which the literal version runs; limits : ``most`` and
    ``budget`` of a time.
    """
    model, rows = network(name, options), []
    once = forward(model)
    for index, layer in enumerate(model.layers()):
        for rule in RULES:
            slow = literal_seconds(model, index, rule, few)
            for statistic in STATISTICS:
                if statistic == "fluctuation" and not model.for_video:
                    continue
                row = dict(family=name, layer=layer.name, rule=rule, statistic=statistic)
                row |= measured(Job(name, options, layer.name, rule, statistic), **limits)
                maps = layer.n_neurons
                if statistic == "one neuron":
                    maps = 1
                elif statistic == "fluctuation":
                    maps *= 2  # of a frame pair
                write = maps * row["pixels"] * 4 / rate  # float32
                row |= dict(
                    literal_s=slow[statistic],
                    literal_of=min(few, layer.n_neurons),
                    times_faster=slow[statistic] / row["seconds"],
                    forward_s=once,
                    times_forward=row["seconds"] / once,
                    write_s=write,
                    times_write=row["seconds"] / write,
                )
                rows.append(row)
                say(row)
    return rows


@torch.no_grad()
def literal_seconds(model: nn.Module, index: int, rule: str, few: int) -> dict[str, float]:
    """Seconds of each statistic the literal way: timed for a seeded few of the neurons, scaled
    to all.
    """
    n, size = model.layers()[index].n_neurons, model.config.size
    neurons = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:few].tolist()
    maps, seen = torch.empty(len(neurons), *size), literal.inputs_of(model)

    def draw(neuron: int) -> Tensor:
        if rule == "paper":
            return literal.paper_map(model, index, neuron, seen=seen)
        return literal.first_order_map(model, index, neuron, seen=seen).abs().sum(0)

    draw(neurons[0])  # what torch prepares at a first call is not counted
    start = time.perf_counter()
    for place, neuron in enumerate(neurons):
        maps[place] = draw(neuron)
    drawn, scale = time.perf_counter() - start, n / len(neurons)
    sums = seconds(lambda _: (maps.abs().sum((1, 2)), maps.abs().sum(0)), most=1)
    masks = [labels == r for labels in partitions(size) for r in range(int(labels.max()) + 1)]
    regions = seconds(lambda _: [(maps.abs() * mask).sum((1, 2)) for mask in masks], most=1)
    change = seconds(lambda _: (maps.abs() - maps.abs()).abs().sum(0), most=1)
    return {
        "totals and heatmap": (drawn + sums) * scale,
        "four partitions": (drawn + regions) * scale,
        "one neuron": drawn / len(neurons),
        "fluctuation": (2 * drawn + change) * scale,
    }


def captum_rows(options: dict, say: Say, few: int = 4) -> list[dict]:
    """Captum on the FFN: totals and heatmap of every layer by gradient × activation; a backward
    pass per neuron for a few.
    """
    from captum.attr import NeuronGradient

    model, rows = network("ffn", options).requires_grad_(True), []
    code = model.encode(torch.zeros(1)).requires_grad_()

    def picture(code):
        return model.decode(code).sum((2, 3))

    for layer, linear in zip(model.layers(), model.linears):
        single = NeuronGradient(picture, linear)

        def some(_, method=single, n=layer.n_neurons):
            for neuron in torch.linspace(0, n - 1, few).long().tolist():
                method.attribute(
                    code,
                    lambda x, neuron=neuron: x[..., neuron].sum(1),
                    attribute_to_neuron_input=True,
                )

        def whole(_, linear=linear):
            captum_sums(model, linear, code)

        job = Job("ffn", options, layer.name, "first_order")
        ours = seconds(job.run, job.ready, budget=1.0)
        theirs = {
            "LayerGradientXActivation": seconds(whole, budget=1.0),
            f"NeuronGradient, {few} neurons scaled to all": (
                seconds(some, most=2) / few * layer.n_neurons
            ),
        }
        for method, s in theirs.items():
            row = dict(layer=layer.name, method=method, seconds=s)
            row |= dict(first_order_s=ours, times=s / ours)
            rows.append(row)
            say(row)
    return rows


def captum_sums(model: nn.Module, linear: nn.Module, code: Tensor) -> tuple[Tensor, Tensor]:
    """Totals (n,) and heatmap (HW,) of a linear layer of an FFN by Captum's gradient ×
    activation, one pass per colour.
    """
    from captum.attr import LayerGradientXActivation

    method, maps = LayerGradientXActivation(lambda code: model.decode(code).sum((2, 3)), linear), 0
    for channel in range(3):
        got = method.attribute(code, target=channel, attribute_to_layer_input=True)
        maps = maps + (got[0] if isinstance(got, tuple) else got)[0].detach().abs()  # (HW, n)
    return maps.sum(0), maps.sum(1)


def gpu_rows(networks: dict[str, dict], say: Say) -> list[dict]:
    """Totals and heatmap of every layer on the GPU, and how far they are from the CPU's; nothing
    where there is none.
    """
    if not torch.cuda.is_available():
        return []
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    for name, options in networks.items():
        for layer, rule in product(network(name, options).layers(), RULES):
            on_cpu = Job(name, options, layer.name, rule, device="cpu")
            on_gpu = Job(name, options, layer.name, rule, device="cuda")
            wanted, got = on_cpu.run(on_cpu.ready()), on_gpu.run(on_gpu.ready())
            away = max(distance(g.cpu(), w) for g, w in zip(got, wanted))
            row = dict(card=torch.cuda.get_device_name(), family=name, layer=layer.name, rule=rule)
            row |= dict(seconds=seconds(on_gpu.run, on_gpu.ready), away_from_cpu=away)
            rows.append(row)
            say(row)
    return rows


def distance(got: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest value wanted."""
    return float((got - wanted).abs().max() / wanted.abs().max())
