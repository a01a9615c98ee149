"""How fast ``xc.fit`` is beside a loop that anybody would write: same network, same frames in
the same order, same rates.
"""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F

import xinc_core as xc
from xinc_core.clips import Clip
from xinc_core.fitting import untrained
from xinc_core.models import Recipe, family, position, recipe

from .tracing import Say

CLOSE_DB = 0.1


def rows(clip: Clip, epochs: dict[str, int], say: Say, repeat: int = 2, **options) -> list[dict]:
    """A row per family: frames per second of both, their ratio, and how far apart their last
    epochs' PSNR are.

    The two take turns; of each the fastest run counts.
    """
    found = []
    for name, n in epochs.items():
        frames = n * (len(clip) if family(name).for_video else 1)
        ours, plain, ends = [], [], []
        for _ in range(repeat):
            _, history = xc.fit(
                name, clip, recipe="paper", epochs=n, checkpoint=False, progress=False, **options
            )
            ours.append(history["seconds"][-1])
            plain_seconds, psnr = plain_loop(name, clip, n, **options)
            plain.append(plain_seconds)
            ends = [history["psnr"][-1], psnr]
        ratio, apart = min(plain) / min(ours), abs(ends[0] - ends[1])
        found.append(
            dict(
                family=name,
                epochs=n,
                fps=frames / min(ours),
                plain_fps=frames / min(plain),
                times_faster=ratio,
                psnr=ends[0],
                plain_psnr=ends[1],
                apart_db=apart,
                same=apart <= CLOSE_DB,
            )
        )
        say(found[-1])
    return found


def plain_loop(name: str, clip: Clip, epochs: int, seed: int = 1, **options) -> tuple[float, float]:
    """(seconds, PSNR of the last epoch's batches) of an ordinary training loop, contiguous
    tensors throughout.
    """
    model = untrained(
        name, family(name).Config.for_clip(clip.size, len(clip), **options), seed
    ).requires_grad_(True)
    frames = (clip.frames if model.for_video else clip.frames[:1]).contiguous()
    plan, n = recipe(name, "paper").instead(epochs=epochs), len(frames)
    optimizer = torch.optim.Adam(model.parameters(), plan.lr)
    start = time.perf_counter()
    for epoch in range(epochs):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        values = []
        for i, index in enumerate(order.split(plan.batch)):
            for group in optimizer.param_groups:
                group["lr"] = rate(plan, (epoch + i * plan.batch / n) / epochs)
            output = model(torch.cat([position(model, int(f)) for f in index]))
            mse = F.mse_loss(output, frames[index], reduction="none").flatten(1).mean(1)
            optimizer.zero_grad()
            mse.mean().backward()
            optimizer.step()
            values += (-10 * mse.detach().log10()).tolist()
    return time.perf_counter() - start, sum(values) / len(values)


def rate(plan: Recipe, done: float) -> float:
    """Learning rate after a share of the fit, as the recipe says, so that the two can be
    compared.
    """
    if done < plan.warmup:
        return plan.lr * (0.1 + 0.9 * done / plan.warmup)
    left = 0.5 + 0.5 * math.cos(math.pi * (done - plan.warmup) / (1 - plan.warmup))
    return plan.lr * (left if plan.cosine else 1.0)
