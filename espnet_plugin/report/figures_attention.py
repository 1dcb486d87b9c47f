"""Figures of an attention analysis: measures and categories, similarity of blocks, maps.

Colours are told apart with colour-blindness too (cividis, magma, the palette of Okabe and Ito),
and no figure relies on colour alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Sequence

from espnet_plugin.atomic import PathLike, atomic_path

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "globalness": "Globalness (nats)",
    "verticality": "Verticality (nats)",
    "diagonality": "Diagonality",
    "cumulative_diagonality": "Cumulative diagonality",
}
CATEGORY_COLOURS = {"diagonal": "#56B4E9", "vertical": "#E69F00", "global": "#CC79A7"}


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'espnet_plugin[report]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: PathLike) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _block_labels(report: Dict[str, Any]) -> List[str]:
    """The block's number; below it "= n" where it uses the map of block n."""
    labels = []
    for block in report["blocks"]:
        shared = block["shares_map_of"]
        labels.append(str(block["block"]) if shared is None else f"{block['block']}\n= {shared}")
    return labels


def _cell_axes(axes: Axes, title: str, report: Dict[str, Any], heads: int) -> None:
    labels = _block_labels(report)
    axes.set_title(title, fontsize=11)
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_yticks(range(heads), [str(h) for h in range(heads)], fontsize=8)
    axes.set_xlabel("block", fontsize=9)
    axes.set_ylabel("head", fontsize=9)
    axes.tick_params(length=0)


def _write(axes: Axes, x: int, y: int, text: str, dark: bool, size: float) -> None:
    colour = "white" if dark else "black"
    axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=size)


def _grid(report: Dict[str, Any], name: str) -> List[List[Any]]:
    """head -> block -> value; NaN where a block has fewer heads than others."""
    heads = max(len(block["heads"]) for block in report["blocks"])
    return [
        [
            block["heads"][head][name] if head < len(block["heads"]) else float("nan")
            for block in report["blocks"]
        ]
        for head in range(heads)
    ]


def plot_measures(report: Dict[str, Any], path: PathLike) -> None:
    """Heads × blocks: a heat map of each measure, and the category of each head.

    Args:
        report: the content of attention.json.
        path: the PNG to write.
    """
    blocks = len(report["blocks"])
    heads = max(len(block["heads"]) for block in report["blocks"])
    cell = 0.62
    figure = _figure(max(11.0, 3 * (cell * blocks + 1.6)), 2 * (cell * heads + 1.5) + 0.5)
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    all_axes = figure.subplots(2, 3).ravel()
    size = 7 if blocks <= 12 else 6
    for axes, (name, title) in zip(all_axes, TITLES.items()):  # noqa: B905
        grid = _grid(report, name)
        image = axes.imshow(grid, cmap="cividis", aspect="auto")
        for y, row in enumerate(grid):
            for x, value in enumerate(row):
                if value == value:
                    _write(axes, x, y, f"{value:.2f}", image.norm(value) < 0.5, size)
        _cell_axes(axes, title, report, heads)
        figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02).ax.tick_params(labelsize=8)

    axes, legend = all_axes[4], all_axes[5]
    palette = ListedColormap(list(CATEGORY_COLOURS.values()))
    order = list(CATEGORY_COLOURS)
    categories = _grid(report, "category")
    axes.imshow(
        [[order.index(c) if c in order else float("nan") for c in row] for row in categories],
        cmap=palette,
        vmin=-0.5,
        vmax=2.5,
        aspect="auto",
    )
    for y, row in enumerate(categories):
        for x, value in enumerate(row):
            if value in order:
                _write(axes, x, y, str(value)[0].upper(), False, 9)
    _cell_axes(axes, "Category", report, heads)

    legend.axis("off")
    patches = [
        Patch(color=colour, label=f"{name[0].upper()}  {name}")
        for name, colour in CATEGORY_COLOURS.items()
    ]
    legend.legend(handles=patches, loc="upper left", frameon=False, fontsize=10)
    legend.text(0.02, 0.6, _caption(report), va="top", fontsize=9, transform=legend.transAxes)
    _save(figure, path)


def _caption(report: Dict[str, Any]) -> str:
    data, model = report["data"], report["model"]
    lines = [
        f"{model['encoder']}, {model['blocks']} blocks, "
        f"{model['encoder_parameters'] / 1e6:.1f} M encoder parameters",
        f"{data['utterances']} utterances, {data['seconds'] / 60:.1f} min",
        "means over utterances",
    ]
    if any(block["shares_map_of"] is not None for block in report["blocks"]):
        lines.append("= n: uses the map of block n")
    return "\n".join(lines)


def plot_similarity(report: Dict[str, Any], path: PathLike) -> None:
    """Jensen–Shannon similarity of the blocks' maps; blocks of one group are framed.

    Args:
        report: the content of attention.json, with a similarity.
        path: the PNG to write.
    """
    matrix = report["similarity"]
    blocks = len(matrix)
    side = max(4.5, 0.5 * blocks + 1.5)
    figure = _figure(side + 0.8, side)
    from matplotlib.patches import Rectangle

    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1)
    for y, row in enumerate(matrix):
        for x, value in enumerate(row):
            _write(axes, x, y, f"{value:.2f}", value < 0.5, 8 if blocks <= 12 else 6)
    for group in report["groups"]:
        if len(group) > 1:
            corner = (group[0] - 0.5, group[0] - 0.5)
            frame = Rectangle(corner, len(group), len(group), fill=False, ec="#D55E00", lw=2.5)
            axes.add_patch(frame)
    axes.set_xticks(range(blocks))
    axes.set_yticks(range(blocks))
    axes.set_xlabel("block")
    axes.set_ylabel("block")
    axes.set_title("Jensen–Shannon similarity of attention maps", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    _save(figure, path)


def plot_maps(
    maps: Sequence[torch.Tensor], report: Dict[str, Any], utt_id: str, path: PathLike
) -> None:
    """The attention maps of one utterance: a row for each head, a column for each block.

    Args:
        maps: (H, T, T) for each block.
        report: the content of attention.json, for the categories.
        utt_id: the utterance's name.
        path: the PNG to write.
    """
    heads = max(block_maps.shape[0] for block_maps in maps)
    figure = _figure(1.55 * len(maps) + 0.7, 1.75 * heads + 0.9)
    from matplotlib.colors import PowerNorm

    grid = figure.subplots(heads, len(maps), squeeze=False, sharex=True, sharey=True)
    for block, block_maps in enumerate(maps):
        about = report["blocks"][block]
        for head in range(heads):
            axes = grid[head][block]
            if head >= block_maps.shape[0]:
                axes.axis("off")
                continue
            values = block_maps[head].numpy()
            norm = PowerNorm(0.4, vmin=0.0, vmax=float(values.max()))
            axes.imshow(values, cmap="magma", norm=norm, interpolation="antialiased")
            axes.set_title(about["heads"][head]["category"], fontsize=8, pad=2)
            axes.tick_params(labelsize=6, length=2)
            if head == 0:
                shared = about["shares_map_of"]
                label = f"block {block}" + ("" if shared is None else f" (= {shared})")
                axes.set_title(f"{label}\n{about['heads'][head]['category']}", fontsize=8, pad=2)
            if block == 0:
                axes.set_ylabel(f"head {head}", fontsize=8)
    figure.supxlabel("key frame", fontsize=9)
    figure.supylabel("query frame", fontsize=9)
    figure.suptitle(f"Attention maps of {utt_id}", fontsize=11)
    _save(figure, path)
