"""How fast and how small: tracing against the literal implementation, in one run. ``make bench``.

Paper-size networks at 128×256, float32. "literal" is tests/literal.py: every map dense, one neuron at a time, all of them
materialised. "write" is the time that writing the layer's maps once takes, N·H·W·4 bytes at the write rate measured here.
Memory is the peak of the process above its level after ``trace()``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
import literal  # noqa: E402

import xinc_core as xc  # noqa: E402
from xinc_core.models import FFN, NeRV  # noqa: E402

OUT = Path(__file__).resolve().parents[2] / "figures" / "bench.json"


def seconds(job, setup=lambda: None, repeat: int = 3) -> float:
    """The fastest of a few runs of ``job(setup())``; the setup is not counted."""
    times = []
    for _ in range(repeat):
        ready = setup()
        start = time.perf_counter()
        job(ready)
        times.append(time.perf_counter() - start)
    return min(times)


def peak_mb(family: str, layer: str, rule: str) -> float:
    """Peak resident memory of totals and heatmap above the level after ``trace()``, in MB, in a process of its own (Linux)."""
    command = [sys.executable, __file__, "--memory", family, layer, rule]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(family: str, layer: str, rule: str) -> None:
    status = Path("/proc/self/status")

    def read(key):
        return int(next(line for line in status.read_text().splitlines() if line.startswith(key)).split()[1]) / 1024

    maps = xc.trace(networks()[family], rule=rule)[layer]
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    before = read("VmRSS")
    maps.totals(), maps.heatmap()
    print(read("VmHWM") - before)


def networks() -> dict:
    torch.manual_seed(1)
    models = [FFN(FFN.Config(size=(128, 256))), NeRV(NeRV.Config(size=(128, 256), n_frames=40))]
    return {m.family: m.requires_grad_(False) for m in models}


def write_rate() -> float:
    """Bytes per second into memory that was touched before."""
    block = torch.empty(64_000_000)
    block.fill_(0.0)
    return block.numel() * 4 / seconds(lambda _: block.fill_(1.0), repeat=5)


def literal_totals(model, index: int, share: float = 1.0) -> float:
    """Seconds for totals and heatmap the literal way; a share of the neurons stands for all of them."""
    layer, seen = model.layers()[index], literal.inputs_of(model)
    neurons = range(max(1, round(layer.n_neurons * share)))
    H, W = model.config.size
    maps = torch.empty(len(neurons), H, W)
    start = time.perf_counter()
    for n in neurons:
        maps[n] = literal.paper_map(model, index, n, seen=seen)
    maps.abs().sum((1, 2)), maps.abs().sum(0)
    return (time.perf_counter() - start) * layer.n_neurons / len(neurons)


def measure(model, rule: str, rate: float) -> list[dict]:
    rows, literal_seconds = [], {}
    for index, name in enumerate(xc.trace(model).layers):

        def fresh(name=name):
            return xc.trace(model, rule=rule)[name]

        layer, memory = fresh(), peak_mb(model.family, name, rule)
        both = seconds(lambda maps: maps.totals(), fresh)  # one pass computes totals and heatmap
        one = seconds(lambda maps: maps[3], fresh)
        n, H, W = layer.shape
        if index not in literal_seconds:
            with torch.no_grad():
                literal_seconds[index] = literal_totals(model, index)
        slow = literal_seconds[index]
        rows.append(
            dict(
                family=model.family, layer=name, rule=rule, neurons=n, seconds=both, one_neuron_ms=1e3 * one,
                peak_mb=memory, literal_paper_s=slow, times_faster=slow / both, times_write=both / (n * H * W * 4 / rate),
            )
        )  # fmt: skip
        print("  ".join(f"{v:>10.4g}" if isinstance(v, float) else f"{v!s:>11}" for v in rows[-1].values()), flush=True)
    return rows


def main() -> None:
    rate = write_rate()
    print(f"write rate {rate / 1e9:.1f} GB/s, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("family, layer, rule, neurons, totals+heatmap s, one neuron ms, peak MB, literal paper s, × faster, × write time")
    rows = [row for m in networks().values() for rule in ("paper", "first_order") for row in measure(m, rule, rate)]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(dict(write_gb_s=rate / 1e9, threads=torch.get_num_threads(), rows=rows), indent=1))


if __name__ == "__main__":
    print_peak(*sys.argv[2:]) if "--memory" in sys.argv else main()
