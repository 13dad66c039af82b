"""Curves of rate and distortion as a picture."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes
from .curve_points import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = {"file": ":", "static": "--"}
"""Of the curves of one codec, by the last word of their names."""


def check_plotting() -> None:
    """Raises InputError where matplotlib is not installed, before work is done in vain."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("a plot needs matplotlib: pip install matplotlib")


def plot_curves(curves: Mapping[str, Sequence[Point]], path: Path, emphasised: Sequence[str] = ()) -> None:
    """Bytes against PSNR, and against SSIM where it is known, one line a codec.

    Args:
        curves: points by codec, in the order of rising bytes.
        path: of a picture file.
        emphasised: codecs drawn bold, with stars.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.figure import Figure

    known = {name: [point for point in points if point.bytes > 0] for name, points in curves.items()}
    codecs = dict.fromkeys(map(_codec, curves))
    colours = {codec: f"C{number % 10}" for number, codec in enumerate(codecs)}
    has_ssim = any(point.ssim is not None for points in known.values() for point in points)
    figure = Figure(figsize=(15 if has_ssim else 8, 6), layout="constrained")
    measures = {"psnr": "PSNR in dB"} | ({"ssim": "SSIM"} if has_ssim else {})
    for place, (measure, label) in enumerate(measures.items(), 1):
        axes = figure.add_subplot(1, len(measures), place, xscale="log", xlabel="bytes per picture", ylabel=label)
        for name, points in known.items():
            pairs = [(point.bytes, getattr(point, measure)) for point in points if getattr(point, measure) is not None]
            style: dict[str, Any] = {"marker": ".", "color": colours[_codec(name)]}
            style["linestyle"] = _LINES.get(name.split()[-1], "-")
            if name in emphasised:
                style |= {"marker": "*", "linewidth": 2.5, "zorder": 3}
            axes.plot([pair[0] for pair in pairs], [pair[1] for pair in pairs], label=name, **style)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG; readers see the old file or the new one."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    atomic_write_bytes(path, content.getvalue())


def _codec(name: str) -> str:
    """What curves of one colour share: "webp" of "webp sheet"."""
    return " ".join(word for word in name.split() if word not in ("file", "sheet", "static", "less", "header"))
