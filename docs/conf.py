"""Configure the Sphinx build of `make docs`, which is strict and needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import napari_scsam  # noqa: E402 - after the path is set for the extension

project = "napari-scsam"
author = "napari-scsam developers"
copyright = author
release = version = napari_scsam.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "written_once",
]
exclude_patterns = ["_build", "reference/_generated/*.md"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

html_theme = "pydata_sphinx_theme"
html_title = f"napari-scsam {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "changelog": [], "contributing": []}

default_role = "literal"  # numpydoc writes code as `name`
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections give types, with shapes and units
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
copybutton_exclude = ".linenos, .gp"

# Names of other projects are not linked, because their indexes can't be read without a network.
# Our own names are not linked if the reference does not list them.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|pathlib|collections|typing|torch|npt|nibabel)\..*"),
    ("py:class", r"(Path|Self|NDArray.*|Any|Sequence.*|Mapping.*|optional|callable|path|ndarray)"),
]
