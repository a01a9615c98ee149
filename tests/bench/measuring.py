"""A job, its seconds and its memory, in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

import xinc_core as xc
from xinc_core.models import family, position
from xinc_core.study.findings.motion import fluctuation
from xinc_core.tracing import LayerMaps

STATISTICS = {
    "totals and heatmap": lambda maps: (maps.totals(), maps.heatmap()),
    "four partitions": lambda maps, labels: maps.region_sums(labels),
    "one neuron": lambda maps: maps[len(maps) // 2],
    "fluctuation": lambda maps, before: fluctuation(before, maps),
}


@dataclass(frozen=True)
class Job:
    """One statistic of one layer under one rule. options : of the family's configuration; share
    : of the layer's channels.
    """

    family: str
    options: dict = field(hash=False)
    layer: str
    rule: str
    statistic: str = "totals and heatmap"
    share: float = 1.0
    device: str = "cpu"

    def maps(self, frame: int = 1) -> LayerMaps:
        """The traced layer, with nothing computed yet."""
        layer = xc.trace(network(self.family, self.options).to(self.device), frame, self.rule)[
            self.layer
        ]
        channels = max(1, round(self.share * layer.traced.layer.c_out))
        return layer.sample(channels, seed=0) if self.share < 1 else layer

    def ready(self) -> list:
        """What the statistic takes: the layer at a frame, and the partitions or the layer at the
        frame before it.
        """
        maps = self.maps()
        more = {
            "four partitions": lambda: partitions(maps.shape[1:]),
            "fluctuation": lambda: self.maps(0),
        }
        return [maps, more[self.statistic]()] if self.statistic in more else [maps]

    def run(self, ready: list):
        """The statistic, waited for."""
        found = STATISTICS[self.statistic](*ready)
        if self.device != "cpu":
            torch.cuda.synchronize()
        return found


def network(name: str, options: dict) -> nn.Module:
    """A network with seeded weights, without gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return family(name)(family(name).Config(**options)).requires_grad_(False)


def partitions(size: tuple[int, int]) -> list[Tensor]:
    """Four partitions of a picture, (H, W) each: 4×8 cells, and three of 32 seeded regions whose
    pixels lie anywhere.
    """
    (H, W), random = size, torch.Generator().manual_seed(0)
    cells = (torch.arange(H) * 4 // H)[:, None] * 8 + torch.arange(W) * 8 // W
    return [cells, *torch.randint(32, (3, H, W), generator=random)]


def seconds(
    job: Callable, setup: Callable = lambda: None, most: int = 5, budget: float = 3.0
) -> float:
    """The least of at most so many runs of ``job(setup())``, fewer once the budget is spent; the
    setup is not counted.
    """
    times: list[float] = []
    while len(times) < most and sum(times) < budget:
        ready = setup()
        start = time.perf_counter()
        job(ready)
        times.append(time.perf_counter() - start)
    return min(times)


def write_rate(floats: int = 64_000_000) -> float:
    """Bytes per second into memory that was touched before."""
    block = torch.zeros(floats)
    return block.numel() * 4 / seconds(lambda _: block.fill_(1.0))


def forward(model: nn.Module) -> float:
    """Seconds for one picture of a network."""
    with torch.no_grad():
        return seconds(lambda _: model(position(model, 0)), budget=1.0)


def measured(job: Job, most: int = 5, budget: float = 3.0) -> dict[str, float]:
    """seconds, peak_mb and the numbers of neurons and pixels of a job, in a process of its own.

    The process comes from a server that has imported everything and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["xinc_core.study.figures.theme", "xinc_core.study.findings.motion"]
    )
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_measure, (job, most, budget, torch.get_num_threads()))


def _measure(job: Job, most: int, budget: float, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    ready = job.ready()
    peak = _peak_of_a_gpu if job.device != "cpu" else _peak
    neurons, (H, W) = len(ready[0]), ready[0].shape[1:]
    whole = ready[0].traced.layer.n_neurons
    start = time.perf_counter()
    mb = peak(lambda: job.run(ready))
    first = time.perf_counter() - start
    again = (
        seconds(job.run, job.ready, most - 1, budget - first)
        if most > 1 and first < budget
        else first
    )
    return dict(seconds=min(first, again), peak_mb=mb, neurons=neurons, of=whole, pixels=H * W)


def _peak(work: Callable) -> float:
    """Peak resident memory of some work above the level before it, in MB (Linux)."""

    def read(key):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

    ctypes.CDLL(None).malloc_trim(0)  # what tracing freed is no room for what follows
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    before = read("VmRSS")
    work()
    return read("VmHWM") - before


def _peak_of_a_gpu(work: Callable) -> float:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
