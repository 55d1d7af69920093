"""Settings of Sphinx for the course's site: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

project = "Learning to Refuse"
# `extensions` are those of the builder: see run_sphinx in sphinx.py
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
# Chapters come executed.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "gfm"
# A widget's own code would come from a network; `sources.py` leaves its picture in its place.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = False
myst_dmath_allow_digits = False
myst_dmath_double_inline = True
myst_heading_anchors = 3
html_math_renderer = "mathml"
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
templates_path = ["templates"]
html_css_files = ["course.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    **dict.fromkeys(["navbar_start", "navbar_center", "navbar_end", "navbar_persistent"], []),  # no bar above all
    "footer_content_items": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
revealjs_static_path = ["static"]
revealjs_css_files = ["slides.css"]
revealjs_style_theme = "white"
revealjs_script_conf = {"hash": True, "slideNumber": True, "width": 1200, "height": 750}
