"""Scripts of tasks in colour. Pygments escapes their text."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from nfresume.domain import wording

#: Longer scripts stay plain.
_MOST = 100_000
_SHEBANG = re.compile(r"#!\S*?(?:/env\s+(?:-S\s+)?)?(?P<name>\w+)\b")
_LEXERS = {"python": "python", "python3": "python", "Rscript": "r", "perl": "perl", "ruby": "ruby",
           "node": "javascript"}


def script(text: str) -> Markup:
    """A script as HTML: classes `hl-*` for its tokens. Control characters are shown as escapes."""
    shown = wording.printable(text, keep="\n\t")
    if len(shown) > _MOST:
        return escape(shown)
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    found = _SHEBANG.match(shown)
    lexer = get_lexer_by_name(_LEXERS.get(found["name"] if found else "", "bash"), stripnl=False)
    return Markup(highlight(shown, lexer, HtmlFormatter(nowrap=True, classprefix="hl-")))  # noqa: S704
