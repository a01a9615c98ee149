"""The benchmark's figures and its rows as text."""

from __future__ import annotations

import matplotlib.pyplot as plt

from xinc_core.study import figures

WHOLE = ("totals and heatmap", "four partitions", "fluctuation")
LINES = {"block1": "-", "block3": "--"}
UNITS = {
    "seconds": "s",
    "peak_mb": "MB",
    "literal_s": "s",
    "forward_s": "s",
    "write_s": "s",
    "first_order_s": "s",
}
LEFT_OUT = {"of", "pixels", "forward_s", "write_s"}  # in the JSON only


def line(row: dict) -> str:
    """A row as text, every number with its name or unit."""
    return "  ".join(word(key, value) for key, value in row.items() if key not in LEFT_OUT)


def word(key: str, value: object) -> str:
    """``seconds 0.12 s``, ``same yes``; a name stands for itself."""
    if isinstance(value, str):
        return value
    name = key.removesuffix("_s").removesuffix("_mb")
    if isinstance(value, bool):
        return f"{name} yes" if value else f"{name} no"
    number = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{name} {number} {UNITS[key]}" if key in UNITS else f"{name} {number}"


def layers(rows: list[dict]) -> plt.Figure:
    """Seconds of each layer as multiples of writing its maps once: a panel per statistic, a
    colour per rule.
    """
    figures.set_theme()
    names = list(dict.fromkeys((r["family"], r["layer"]) for r in rows))
    fig, axes = plt.subplots(1, len(WHOLE), figsize=(4.2 * len(WHOLE), 3.8), sharey=True)
    for ax, statistic in zip(axes, WHOLE):
        for number, rule in enumerate(dict.fromkeys(r["rule"] for r in rows)):
            own = [r for r in rows if (r["rule"], r["statistic"]) == (rule, statistic)]
            places = [names.index((r["family"], r["layer"])) + 0.24 * number - 0.12 for r in own]
            ax.plot(
                places,
                [r["times_write"] for r in own],
                "o",
                color=figures.RULE_COLORS[rule],
                label=figures.RULE_NAMES[rule],
            )
        ax.axhline(1, color="0.35", lw=1.5, ls="--", label="writing the maps once")
        ax.set(
            yscale="log",
            xticks=range(len(names)),
            xticklabels=[f"{f}\n{layer}" for f, layer in names],
            title=statistic,
        )
        ax.set_xlim(-0.5, len(names) - 0.5)
        ax.tick_params(axis="x", labelsize="small", rotation=45)
    axes[0].set_ylabel("time / writing the layer's maps once")
    axes[-1].legend(frameon=False, fontsize="small")
    fig.suptitle(
        "Time for all neurons of a layer, against the time that writing their maps would take",
        fontsize="medium",
    )
    return figures.save(fig, "bench_layers", photo=False)


def growth(by_size: list[dict], by_parameters: list[dict]) -> plt.Figure:
    """Seconds and memory of totals and heatmap against the picture's pixels, and against the
    network's parameters.
    """
    figures.set_theme()
    fig, axes = plt.subplots(2, 2, figsize=(9.5, 6.8), sharey="row")
    across = (
        (by_size, "pixels", "pixels of the picture"),
        (by_parameters, "parameters", "parameters of the network"),
    )
    for column, (rows, x, label) in enumerate(across):
        for rule, layer in dict.fromkeys((r["rule"], r["layer"]) for r in rows):
            own = [r for r in rows if (r["rule"], r["layer"]) == (rule, layer)]
            look = dict(color=figures.RULE_COLORS[rule], ls=LINES.get(layer, ":"), marker="o", ms=4)
            for ax, y in zip(axes[:, column], ("seconds", "peak_mb")):
                ax.plot(
                    [r[x] for r in own],
                    [r[y] for r in own],
                    label=f"{figures.RULE_NAMES[rule]}, {layer}",
                    **look,
                )
        axes[1, column].axhline(1024, color="0.35", lw=1.5, ls=":")
        axes[1, column].set_xlabel(label)
        for ax in axes[:, column]:
            at = sorted({r[x] for r in rows})
            ax.set(
                xscale="log", yscale="log", xticks=at, xticklabels=[f"{n / 1e6:.2g} M" for n in at]
            )
            ax.minorticks_off()
    axes[0, 0].set(ylabel="time for the layer (s)", title="NeRV, larger pictures")
    axes[0, 1].set(title="NeRV at 128×256, more parameters")
    axes[1, 0].set_ylabel("memory (MB); dotted: 1 GB")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize="small",
    )
    title = (
        "Totals and heatmap of a layer, from a seeded 5 % of its channels; time scaled to all; "
        "memory above trace()"
    )
    fig.suptitle(title, fontsize="medium")
    return figures.save(fig, "bench_growth", photo=False)
