"""How plots look: Okabe-Ito colours with a marker each, one hue for matrices, sizes that print, no global state."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Okabe & Ito (2008), told apart with any colour vision; yellow is left out, it vanishes on paper
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
#: width of a plot on an A4 page (inches), and its resolution
WIDTH = 7.2
DPI = 130

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, and has Latin, Greek and Cyrillic letters
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a "$" in a title is a dollar
    "axes.unicode_minus": True,
}


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]


@contextmanager
def plot_style() -> Iterator[None]:
    """matplotlib settings of all plots, only inside the block."""
    with matplotlib.rc_context(_RC):  # type: ignore[arg-type,unused-ignore]
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """A figure that belongs to nobody (no pyplot), laid out so that labels are not cut."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG; the same bytes for the same figure (no date, no version)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def percent_axis(axes: Axes, which: str = "y") -> None:
    """0 to 100 % with a little room, so that points on the edge are whole."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_ylim if which == "y" else axes.set_xlim)(-0.03, 1.03)
    axis.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], labels=["0", "20", "40", "60", "80", "100 %"])
