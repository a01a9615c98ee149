"""How small does the file get? Bits shared out by contribution against the same for all;
rate–distortion beside codecs.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.editing import encoded, equal_bits, guided_bits, quantised, sensitivities
from xinc_core.editing.sampling import spread_frames
from xinc_core.fitting import evaluate, psnr
from xinc_core.study.statistics.scene import Scene
from xinc_core.util.memo import cached_per_object

from .base import Finding, NetworkView, Values
from .claims import Claim, Condition
from .pruning import further

BITS = (8, 7, 6, 5, 4)  # per weight
TOLD_BITS = BITS.index(6)  # whose PSNR stands in the table
QUALITIES = {
    "H.264": (2, 8, 14, 20, 26, 32, 38, 44),
    "JPEG": (5, 15, 30, 50, 70, 85, 95, 99),
    "WebP": (1, 10, 30, 50, 70, 85, 95, 100),
}
VIDEO_CODECS = ("H.264",)
IMAGE_CODECS = ("JPEG", "WebP")
PRUNED = 0.4  # share of the neurons that is removed before a file is written


def measure_network(network: NetworkView) -> dict[str, Values]:
    """PSNR at 8 to 4 bits per weight, the same for every tensor and shared out by the rule.

    Under ``first_order`` also bits per pixel and PSNR of whole files over all frames, those of
    codecs on the same frames, and the ratio of sizes at equal PSNR.
    """
    model, clip = network.model, network.scene.clip
    n_frames = len(clip) if model.for_video else 1
    judged_frames = spread_frames(n_frames, 4, 0.25)
    (middle,) = spread_frames(n_frames, 1)
    error = sensitivities(model, network.rule, middle)
    equal = []
    guided = []
    for bits in BITS:
        plan = equal_bits(model, bits)
        equal.append(evaluate(quantised(model, plan), clip, frames=judged_frames))
        plan = guided_bits(model, bits, error=error)
        guided.append(evaluate(quantised(model, plan), clip, frames=judged_frames))
    found: Values = dict(
        equal_psnr=float(np.mean(equal)),
        guided_psnr=float(np.mean(guided)),
        equal_psnr_6=equal[TOLD_BITS],
        guided_psnr_6=guided[TOLD_BITS],
        equal_psnr_8=equal[0],
        equal=torch.tensor(equal),
        guided=torch.tensor(guided),
    )
    if network.rule == "first_order":
        found |= _rates(model, network.scene, network.seed)
    return {model.family: found}


def _rates(model: nn.Module, scene: Scene, seed: int) -> Values:
    """Rate and distortion of the network's files, pruned ones for the first seed, and of codecs."""
    clip = scene.clip
    depths = BITS if seed == 1 else BITS[:1]
    own = [rate(model, equal_bits(model, bits), clip) for bits in depths]
    bits_per_pixel, psnr_at_8_bits = own[0]
    found: Values = dict(
        rates=torch.tensor(own).T, bits_per_pixel=bits_per_pixel, psnr_at_8_bits=psnr_at_8_bits
    )
    if seed == 1:
        smaller = further(model, scene, "first_order", seed, PRUNED)
        rates = [rate(smaller, equal_bits(smaller, bits), clip) for bits in BITS]
        found["rates_pruned"] = torch.tensor(rates).T
    codecs = _codecs(scene, None if model.for_video else model.frame)
    for name, points in codecs.items():
        found[f"rates_{name}"] = points
    best = min(_at(points, psnr_at_8_bits) for points in codecs.values())
    found["size_over_codec"] = bits_per_pixel / best
    return found


@cached_per_object
def _codecs(scene: Scene, frame: int | None) -> dict[str, Tensor]:
    """What codecs make of a clip, or of one of its frames; every seed is compared with the same."""
    if frame is None:
        return {name: codec(scene.clip.frames, name) for name in VIDEO_CODECS}
    picture = scene.clip.frames[frame : frame + 1]
    return {name: codec(picture, name) for name in IMAGE_CODECS}


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


FINDING = Finding(
    name="bits",
    version=4,
    question="How small does the file get?",
    section="beyond the paper",
    notebook="10",
    claims=(
        Claim(
            "bits_by_contribution",
            "contributions tell where bits are needed",
            conditions=(Condition("guided_psnr", "equal_psnr"),),
            beside=("guided_psnr_6", "equal_psnr_6", "equal_psnr_8"),
        ),
        Claim(
            "smaller_than_codecs",
            "a compressed network is smaller than a codec's file",
            conditions=(Condition("size_over_codec", 1.0, above=False),),
            beside=("bits_per_pixel", "psnr_at_8_bits"),
        ),
    ),
    statistics={
        "guided_psnr": "mean PSNR (dB) at 8 to 4 bits, shared out by contribution",
        "equal_psnr": "mean PSNR (dB) at 8 to 4 bits, the same for every tensor",
        "guided_psnr_6": "PSNR (dB) at 6 bits, shared out by contribution",
        "equal_psnr_6": "PSNR (dB) at 6 bits, the same for every tensor",
        "equal_psnr_8": "PSNR (dB) at 8 bits, the same for every tensor",
        "size_over_codec": "size over that of the best codec at the same PSNR",
        "bits_per_pixel": "bits per pixel of the file at 8 bits per weight",
        "psnr_at_8_bits": "PSNR (dB) of all frames at 8 bits per weight",
    },
    measure_network=measure_network,
    frames=(3,),
    captions={
        "10_bits": "Quality against bits per weight: the same for every tensor, or shared out by "
        "contribution.",
        "10_rates": "Quality against size, every byte counted: the network beside codecs for "
        "pictures and video.",
    },
)
