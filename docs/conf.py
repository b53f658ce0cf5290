"""Sphinx: the Markdown of this folder, a reference made from ``conf/`` and from the docstrings, and ``llms.txt``."""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

project = "SAGE-PL"
copyright = "the SAGE-PL developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "generated"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
root_doc = "index"

highlight_language = "text"  # formulas and output; a block of code names its language

html_theme = "furo"
html_title = "SAGE-PL"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes stand in the docstrings
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_inherit_docstrings = False  # what Lightning says of its hooks is in Lightning's pages
suppress_warnings = ["ref.python"]  # a name without its module, such as seeds, which several classes have

lexers["csv"] = TextLexer()
