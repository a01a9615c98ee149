"""The implicit neural canvas: the contribution maps of all neurons of a network, for one frame.

``trace`` runs the model once and keeps each layer's input. Nothing is left on the model: no hooks,
no gradients, no changed weights.

**How maps add up to the picture.** In the last layer every neuron paints the picture itself. Under
``paper`` each of its maps holds an equal share of the layer's bias, so the signed colours of all of
them are the picture; ``first_order`` and ``ablation`` hold no bias, which is then missing.

>>> import torch
>>> import xinc_core as xc
>>> model = xc.load_model("nerv-courtyard")
>>> canvas = xc.trace(model, frame=3)  # rule "paper"
>>> picture = canvas.image.double()  # unclamped
>>> torch.allclose(canvas["head"].color_sum(), picture, atol=1e-5)
True
>>> without_bias = canvas.with_rule("first_order")["head"].color_sum()
>>> bias = model.head.bias[:, None, None]
>>> torch.allclose(without_bias + bias, picture, atol=1e-5)
True

In an earlier layer, ``first_order`` maps add up to what the layer's weights paint, to first order:
its colours sum to J·(W∗x), with J the slope of the picture by the layer's output. Where all
activations are ReLU, that and the same of the biases of this and all later layers, J·b, are the
picture. The maps of ``paper`` do not add up there, because its rule carries each term on alone
through the later activations; those of ``ablation`` miss what neurons do together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from xinc_core.models import Layer, TracedModel, check_chain, frame_of, n_frames_of, position
from xinc_core.util.checks import brief, check_is_model, frame_number, whole_number
from xinc_core.util.exact import exactly

from .budget import DEFAULT_BUDGET, Budget
from .maps import LayerMaps
from .rules import Traced, check_rule, make_rule

BASELINES = ("zero", "mean")
USUAL_SHARE = 0.5  # of a layer, for the rule "horizon"
MOST_SHARE = 2.0  # at which the horizon's state has lost the layer's whole weight part


@exactly
def trace(
    model: TracedModel,
    frame: int = 0,
    rule: str = "paper",
    baseline: str = "zero",
    budget: Budget | None = None,
    share: float | None = None,
) -> Canvas:
    """Run the model on one frame and return its canvas.

    Parameters
    ----------
    model : TracedModel
        Any family, or a chain of your own (``models.chain``); on any device; float32 or float64.
    frame : int
        Frame index, 0..T−1; image networks have one picture and ignore it.
    rule : {"paper", "first_order", "horizon", "ablation"}
        How a contribution is defined, METHOD 3.
    baseline : {"zero", "mean"}
        For all rules but ``paper``: what a removed neuron's input is replaced by, 0 or its mean
        over all pixels of the picture. Maps are compared with ablation of the same baseline.
    budget : Budget, optional
        Sizes of the pieces into which the work is cut; maps do not depend on them, up to rounding.
    share : float, optional
        For ``horizon``: which share of the layer goes at once, 0 to 1; by default 0.5. 0 is
        ``first_order``. Up to 2 is taken, because the mean over 0 … 2 is the layer's complete
        decomposition.

    Returns
    -------
    Canvas
        Its picture and maps are in the model's dtype and on its device, sums of maps in float64 on
        its device. Autocast and inference mode around the call change nothing.

    Raises
    ------
    TypeError
        For what is no model, and a frame that is no whole number.
    ValueError
        For an unknown rule or baseline, and for a model whose maps would not mean what they say.
    IndexError
        For a frame outside of the model's video.

    Examples
    --------
    >>> canvas = xc.trace(model, frame=12, rule="first_order")
    >>> canvas["head"].heatmap()  # (H, W)
    """
    check_is_model(model)
    _check_question(rule, baseline, budget)
    share = _share_of(rule, share)
    frame = frame_of(model, frame)
    forward = _run(model, _layers_of(model), frame)
    return Canvas(forward, frame, rule, baseline, budget or DEFAULT_BUDGET, share=share)


def trace_frames(
    model: TracedModel,
    frames: Iterable[int] | None = None,
    rule: str = "paper",
    baseline: str = "zero",
    budget: Budget | None = None,
    share: float | None = None,
) -> Iterator[tuple[int, Canvas]]:
    """The canvases of several frames, one after the other.

    Each is what :func:`trace` gives, to the last bit; the next is made when it is asked for, so
    that one frame at a time is in memory. The description of the layers and the working memory are
    shared.

    Parameters
    ----------
    model : TracedModel
        As for :func:`trace`.
    frames : iterable of int, optional
        Frame indices, 0..T−1, in any order; by default all. An image network has one, the one that
        it was fitted to.
    rule, baseline, budget, share
        As for :func:`trace`.

    Yields
    ------
    frame : int
    canvas : Canvas

    Raises
    ------
    TypeError, ValueError, IndexError
        As for :func:`trace`, at once and not when the frame is reached.

    Examples
    --------
    >>> per_frame = [canvas["head"].totals() for _, canvas in xc.trace_frames(model, range(8))]
    >>> torch.stack(per_frame)  # (8, n_neurons)
    """
    check_is_model(model)
    _check_question(rule, baseline, budget)
    share = _share_of(rule, share)
    if frames is None:
        frames = range(n_frames_of(model)) if model.for_video else [frame_of(model, 0)]
    if isinstance(frames, str) or not isinstance(frames, Iterable):
        raise TypeError(f"frames are several whole numbers, not {brief(frames)}; one is xc.trace")
    numbers = [_checked_frame(model, frame) for frame in frames]
    return _canvases(model, numbers, rule, baseline, budget or DEFAULT_BUDGET, share)


@exactly
def _canvases(
    model: TracedModel, frames: list[int], rule: str, baseline: str, budget: Budget, share: float
) -> Iterator[tuple[int, Canvas]]:
    """What :func:`trace_frames` yields."""
    layers = _layers_of(model)
    memory: dict[str, list] = {layer.name: [] for layer in layers}
    for frame in frames:
        forward = _run(model, layers, frame)
        canvas = Canvas(forward, frame, rule, baseline, budget, share=share)
        canvas._memory = memory
        yield frame, canvas


def _checked_frame(model: TracedModel, frame: int) -> int:
    number = whole_number(frame, "a frame")
    if model.for_video:
        return frame_number(number, n_frames_of(model))
    own = frame_of(model, number)
    if number != own:
        raise IndexError(f"an image network has one frame, {own}, not {number}")
    return own


def _layers_of(model: TracedModel) -> tuple[Layer, ...]:
    """The model's layers, over weights that carry no gradient."""
    layers = tuple(layer.detached() for layer in model.layers())
    check_chain(layers)
    return layers


def _run(model: TracedModel, layers: tuple[Layer, ...], frame: int) -> ForwardPass:
    """The model run on one frame."""
    code = model.encode(position(model, frame).to(layers[0].weight.device))
    x = model.stem(code).detach()  # (1, c, h, w)
    return _forward(layers, x)


@dataclass(frozen=True)
class ForwardPass:
    """A chain of layers run once.

    inputs : what each layer received, (1, c_in, h, w); image : the picture, (3, H, W), unclamped.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    image: Tensor

    def with_layer(self, layer: Layer) -> ForwardPass:
        """The pass with the layer of this name exchanged: only what follows it is run again."""
        names = [other.name for other in self.layers]
        if layer.name not in names:
            raise KeyError(f"no layer {layer.name!r}; there are {', '.join(names)}")
        n = names.index(layer.name)
        rerun = _forward((layer, *self.layers[n + 1 :]), self.inputs[n])
        return ForwardPass(
            (*self.layers[:n], *rerun.layers), (*self.inputs[:n], *rerun.inputs), rerun.image
        )

    def at(self, pixels: Tensor) -> ForwardPass:
        """The pass at some pixels (P,) alone, as a picture one row high."""
        inputs = tuple(x.flatten(2)[:, :, None, pixels] for x in self.inputs)  # (1, c_in, 1, P)
        return ForwardPass(self.layers, inputs, self.image.flatten(1)[:, None, pixels])


def _forward(layers: Sequence[Layer], x: Tensor) -> ForwardPass:
    """Run a chain whose first layer receives x (1, c, h, w)."""
    inputs = []
    for layer in layers:
        inputs.append(x)
        x = layer(x)
    return ForwardPass(tuple(layers), tuple(inputs), x[0])


def _check_question(rule: str, baseline: str, budget: Budget | None = None) -> None:
    check_rule(rule)
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(
            f"budget is a tracing.Budget, not {brief(budget)}; a smaller one is "
            "Budget(stream_bytes=2**20)"
        )
    if baseline not in BASELINES:
        raise ValueError(f"baseline is 'zero' or 'mean', not {baseline!r}")
    if baseline != "zero" and rule == "paper":
        raise ValueError("rule 'paper' removes nothing, so it has no baseline")


def _share_of(rule: str, share: float | None) -> float:
    """The share that was asked for, or its usual value; refused where the rule has none."""
    if share is None:
        return USUAL_SHARE
    if rule != "horizon":
        raise ValueError(f"a share is for rule='horizon', not for {rule!r}")
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise TypeError(f"share is a number from 0 to 1, not {brief(share)}")
    if not 0 <= share <= MOST_SHARE:
        raise ValueError(f"share is a number from 0 to 1, not {share}")
    return float(share)


class Canvas:
    """All contribution maps of one frame under one rule.

    ``canvas["block3"]`` is a :class:`LayerMaps`. Iterating yields the layers' maps, input to
    output. Canvases are made by :func:`trace` and by the methods below; each is a new canvas over
    the same tensors.

    Attributes
    ----------
    layers : tuple of str
        The layers' names, input to output.
    image : Tensor, (3, H, W)
        The picture, unclamped.
    frame : int
        Its index in the clip.
    rule, baseline : str
        As asked for.
    share : float
        Of the layer, for the rule "horizon".
    """

    def __init__(
        self,
        forward: ForwardPass,
        frame: int,
        rule: str,
        baseline: str,
        budget: Budget = DEFAULT_BUDGET,
        whole: ForwardPass | None = None,
        share: float = USUAL_SHARE,
    ):
        self._forward = forward
        # The pass at all pixels of the picture, over which means are taken; None: `forward` is it.
        self._whole = whole
        self._budget = budget
        self._maps: dict[str, LayerMaps] = {}
        # Per layer, working memory that canvases of several frames share.
        self._memory: dict[str, list] = {}
        self.layers = tuple(layer.name for layer in forward.layers)
        self.image = forward.image
        self.frame = frame
        self.rule = rule
        self.baseline = baseline
        self.share = share

    def __getitem__(self, name: str) -> LayerMaps:
        """The maps of the layer of this name; KeyError where there is none."""
        if name not in self.layers:
            raise KeyError(f"no layer {name!r}; there are {', '.join(self.layers)}")
        if name not in self._maps:
            traced = self._traced(self.layers.index(name))
            rule = make_rule(self.rule, traced, self._budget)
            rule.pool = self._memory.get(name)
            self._maps[name] = LayerMaps(name, rule)
        return self._maps[name]

    @exactly
    def _traced(self, n: int) -> Traced:
        """What rules see of the n-th layer."""
        height, width = self.image.shape[-2:]
        layers, inputs = self._forward.layers[n:], self._forward.inputs[n:]
        source = None
        if self.baseline == "mean":
            x = (self._whole or self._forward).inputs[n]
            source = inputs[0] - x.mean((-2, -1), keepdim=True)  # (1, c_in, h, w)
        if self.rule == "horizon":
            # The layer is linear in its input: z − s/2·D is what it makes of x − s/2·(x − x₀).
            source = inputs[0] if source is None else source
            inputs = _forward(layers, inputs[0] - self.share / 2 * source).inputs
        return Traced(layers, inputs, (height, width), None if source is None else source[0])

    def __iter__(self) -> Iterator[LayerMaps]:
        return (self[name] for name in self.layers)

    def with_rule(self, rule: str, baseline: str = "zero", share: float | None = None) -> Canvas:
        """The same frame under another rule, without running the whole model again.

        Raises
        ------
        ValueError
            For an unknown rule or baseline, or a share that is out of range.
        """
        _check_question(rule, baseline)
        share = _share_of(rule, share)
        return Canvas(self._forward, self.frame, rule, baseline, self._budget, self._whole, share)

    @exactly
    def with_layer(self, layer: Layer) -> Canvas:
        """The same frame with the layer of this name exchanged; only what follows is run again."""
        whole = None if self._whole is None else self._whole.with_layer(layer)
        return self._changed(self._forward.with_layer(layer), whole)

    @exactly
    def at(self, pixels: Tensor) -> Canvas:
        """The same frame at some pixels alone, as a picture one row high.

        For networks whose neurons are columns. Means are still over all pixels of the picture.

        Parameters
        ----------
        pixels : LongTensor, (P,)
            Row-major pixel numbers, 0..H·W−1.

        Raises
        ------
        IndexError
            For a pixel outside of the picture.
        ValueError
            Where pixels see each other, as behind convolutions.
        """
        if any(layer.neurons != "columns" for layer in self._forward.layers):
            raise ValueError(
                "pixels of a convolutional network cannot be looked at alone: "
                "they see their neighbours"
            )
        n_pixels = self.image[0].numel()
        if pixels.numel() and not 0 <= int(pixels.min()) <= int(pixels.max()) < n_pixels:
            raise IndexError(
                f"pixels {int(pixels.min())} to {int(pixels.max())} are not all among the "
                f"{n_pixels:,} of the picture, 0 to {n_pixels - 1}"
            )
        return self._changed(self._forward.at(pixels), self._whole or self._forward)

    def without_bias(self) -> Canvas:
        """The same canvas with the bias shares left out of the paper's maps.

        The shares are a convention, not a contribution. Picture and layers' inputs stay those of
        the network.
        """
        bare = tuple(replace(layer, bias=None) for layer in self._forward.layers)
        whole = None if self._whole is None else replace(self._whole, layers=bare)
        return self._changed(replace(self._forward, layers=bare), whole)

    def _changed(self, forward: ForwardPass, whole: ForwardPass | None) -> Canvas:
        """The same canvas over another pass."""
        return Canvas(
            forward, self.frame, self.rule, self.baseline, self._budget, whole, self.share
        )

    def __repr__(self) -> str:
        layers = self._forward.layers
        counts = ", ".join(f"{layer.name} {layer.n_neurons:,}" for layer in layers)
        return f"Canvas of frame {self.frame}, rule {self.rule!r}; neurons per layer: {counts}"
