"""How small does the file get? Bits shared out by contribution against the same for all;
rate–distortion beside codecs.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.editing.compression import encoded, equal_bits, guided_bits, quantised, sensitivities
from xinc_core.editing.sampling import spread_frames
from xinc_core.fitting.quality import evaluate, psnr
from xinc_core.study.statistics.scene import Scene

from .claims import Claim, Condition
from .pruning import further

NAME, VERSION, OFFSETS, FRAMES = "bits", 4, (0,), (3,)
CLAIMS = (
    Claim(
        "bits_by_contribution",
        (Condition("guided_psnr", "equal_psnr"),),
        ("guided_psnr_6", "equal_psnr_6", "equal_psnr_8"),
    ),
    Claim(
        "smaller_than_codecs",
        (Condition("size_over_codec", 1.0, above=False),),
        ("bits_per_pixel", "psnr_at_8_bits"),
    ),
)
CASES: dict = {"bits_by_contribution": {}, "smaller_than_codecs": {}}
BITS = (8, 7, 6, 5, 4)
QUALITIES = {
    "H.264": (2, 8, 14, 20, 26, 32, 38, 44),
    "JPEG": (5, 15, 30, 50, 70, 85, 95, 99),
    "WebP": (1, 10, 30, 50, 70, 85, 95, 100),
}
PRUNED = 0.4


def of_network(model: nn.Module, scene: Scene, rule: str, seed: int) -> dict[str, dict]:
    """PSNR at 8 to 4 bits per weight, the same for every tensor and shared out by the rule; with
    ``first_order`` also bits per pixel and PSNR of whole files over all frames, those of codecs on
    the same frames, and the ratio of sizes at equal PSNR."""
    clip, n = scene.clip, len(scene.clip) if model.for_video else 1
    held, middle = spread_frames(n, 4, 0.25), spread_frames(n, 1)[0]
    equal = [evaluate(quantised(model, equal_bits(model, b)), clip, frames=held) for b in BITS]
    error = sensitivities(model, rule, middle)
    guided = [
        evaluate(quantised(model, guided_bits(model, b, error=error)), clip, frames=held)
        for b in BITS
    ]
    told = dict(equal_psnr=float(np.mean(equal)), guided_psnr=float(np.mean(guided)))
    told |= dict(equal_psnr_6=equal[2], guided_psnr_6=guided[2], equal_psnr_8=equal[0])
    told |= dict(equal=torch.tensor(equal), guided=torch.tensor(guided))
    return {model.family: told | (_rates(model, scene, seed) if rule == "first_order" else {})}


def _rates(model: nn.Module, scene: Scene, seed: int) -> dict[str, float | Tensor]:
    clip = scene.clip
    own = [rate(model, equal_bits(model, b), clip) for b in (BITS if seed == 1 else BITS[:1])]
    told = dict(rates=torch.tensor(own).T, bits_per_pixel=own[0][0], psnr_at_8_bits=own[0][1])
    if seed == 1:
        less = further(model, scene, "first_order", seed, PRUNED)
        told["rates_pruned"] = torch.tensor([rate(less, equal_bits(less, b), clip) for b in BITS]).T
    codecs = _codecs(scene, None if model.for_video else model.frame)
    told |= {f"rates_{name}": points for name, points in codecs.items()}
    return told | dict(
        size_over_codec=own[0][0] / min(_at(points, own[0][1]) for points in codecs.values())
    )


@lru_cache(maxsize=4)
def _codecs(scene: Scene, frame: int | None) -> dict[str, Tensor]:
    """What codecs make of a clip, or of one of its frames; kept, because every seed is compared
    with the same.
    """
    frames = scene.clip.frames if frame is None else scene.clip.frames[frame : frame + 1]
    return {
        name: codec(frames, name) for name in (["H.264"] if frame is None else ["JPEG", "WebP"])
    }


def rate(model: nn.Module, plan: dict[str, int], clip: Clip) -> tuple[float, float]:
    """(bits per pixel of the whole file, PSNR in dB of all frames it decodes to)."""
    pixels = (len(clip) if model.for_video else 1) * clip.size[0] * clip.size[1]
    return 8 * len(encoded(model, plan)) / pixels, evaluate(quantised(model, plan), clip)


def codec(frames: Tensor, name: str) -> Tensor:
    """(2, qualities) bits per pixel, every byte of the stream counted, and PSNR in dB, of frames
    (T, 3, H, W).
    """
    code = _h264 if name == "H.264" else _pillow
    levels = (frames * 255).round().byte().permute(0, 2, 3, 1).numpy()
    found = []
    for quality in QUALITIES[name]:
        size, decoded = code(levels, name, quality)
        back = torch.from_numpy(decoded.copy()).permute(0, 3, 1, 2).float() / 255
        found.append((8 * size / levels[..., 0].size, psnr(back, frames).item()))
    return torch.tensor(found).T


def _pillow(levels: np.ndarray, name: str, quality: int) -> tuple[int, np.ndarray]:
    from PIL import Image

    stream = io.BytesIO()
    options = dict(subsampling=0, optimize=True) if name == "JPEG" else dict(method=6)
    Image.fromarray(levels[0]).save(stream, name, quality=quality, **options)
    return len(stream.getvalue()), np.asarray(Image.open(stream).convert("RGB"))[None]


def _h264(levels: np.ndarray, name: str, crf: int) -> tuple[int, np.ndarray]:
    """A bare H.264 stream, full chroma, slowest preset."""
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format="h264") as out:
        video = out.add_stream("libx264", rate=25, options=dict(crf=str(crf), preset="veryslow"))
        video.height, video.width, video.pix_fmt = *levels.shape[1:3], "yuv444p"
        for level in levels:
            out.mux(video.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        out.mux(video.encode())
    size = stream.tell()
    stream.seek(0)
    with av.open(stream, format="h264") as back:
        return size, np.stack([f.to_ndarray(format="rgb24") for f in back.decode(video=0)])


def _at(points: Tensor, quality: float) -> float:
    """Bits per pixel of a codec at a PSNR, between its points linear in the logarithm; at its
    nearest point outside them.
    """
    order = points[1].argsort()
    return float(np.exp(np.interp(quality, points[1][order], points[0][order].log())))
