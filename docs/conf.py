"""Settings of the documentation site. `python tools/site.py site` builds it; `rendering.py` has what Sphinx lacks.

The source directory is the repository itself, so that a page of the site has the path that it has on GitHub, and a link
from file to file works in both.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import minroberta  # noqa: E402

project = "minroberta"
author = "The minroberta authors"
copyright = author
release = minroberta.__version__

root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "notebooks/*.ipynb",
    "attacks/README.md",
    "examples/**.md",
    "minroberta/**.md",
]
exclude_patterns = [".*", "build", "dist", "site", "tests"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "rendering"]
smartquotes = False  # a quoted word in a docstring is often a value
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # types in signatures: most are not pages of this site
show_warning_types = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_update_mathjax = False  # formulas become MathML, in rendering.py
nb_execution_mode = "off"  # notebooks are shown with their saved outputs; the tests execute them

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
add_module_names = False

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "minroberta"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False  # search finds names as well
html_domain_indices = False
html_math_renderer = "mathml"
html_theme_options = {
    "source_repository": "https://github.com/minroberta/minroberta/",
    "source_branch": "main",
    "source_directory": "",
}
