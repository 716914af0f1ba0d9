"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pygments.lexers import PythonLexer

import histokit

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "histokit"
author = "the authors of histokit"
version = release = histokit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "checkout", "commands", "contents", "steps"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# What pages show as output, and the console with its comments, is in no language.
highlight_language = "none"

html_theme = "furo"
html_title = "histokit"
html_show_copyright = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]

autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False


def setup(app: Any) -> None:
    """Let Snakemake's files be coloured as the Python that they nearly are."""
    app.add_lexer("snakemake", PythonLexer)
