"""Things to touch: scrub through a clip, see its segments."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping

import ipywidgets
from PIL import Image

from rarft.schema import Span
from rarft.video import Clip


def clip_player(clip: Clip, spans: Mapping[str, Span] | None = None, height: int = 256) -> ipywidgets.VBox:
    """A slider over the frames of a clip; each named span is marked while the frame lies inside of it.

    Names may come from data or a model: they are escaped.
    """
    picture = ipywidgets.Image(format="png", height=height)
    caption = ipywidgets.HTML()
    slider = ipywidgets.IntSlider(0, 0, len(clip.frames) - 1, description="frame")

    def draw(index: int) -> None:
        buffer = io.BytesIO()
        frame = Image.fromarray(clip.frames[index])
        scale = height / frame.height
        frame.resize((round(frame.width * scale), height), Image.Resampling.NEAREST).save(buffer, "png")
        picture.value = buffer.getvalue()
        second = clip.seconds[index]
        inside = [name for name, span in (spans or {}).items() if span.start <= second < span.end]
        caption.value = f"<b>{second:.1f} s</b> {html.escape(' · '.join(inside))}"

    slider.observe(lambda change: draw(change["new"]), names="value")
    draw(0)
    return ipywidgets.VBox([picture, slider, caption])
