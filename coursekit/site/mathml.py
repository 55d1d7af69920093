"""A Sphinx extension: formulae as MathML, which browsers draw by themselves, without a script from a network."""

from __future__ import annotations

import html
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert_to_element
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(_mathml(node))
    raise nodes.SkipNode


def display(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    translator.body.append(f'<div class="formula">{_mathml(node, display="block")}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, **options: Any) -> str:
    """A node's formula. What is not a formula, such as a price between dollar signs, stays a text, with a warning."""
    text = node.astext()
    try:
        formula = convert_to_element(text, **options)
    except Exception as error:  # latex2mathml has a dozen, and no base for them
        logger.warning("not a formula: %s (%s)", text, type(error).__name__, location=node)
        return f"<code>{html.escape(text)}</code>"
    for part in formula.iter():  # entities are replaced here, and tags in \text become entities below
        part.text = html.unescape(part.text or "")
    return ElementTree.tostring(formula, encoding="unicode")


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls to load the extension."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
