"""How the API reference reads docstrings and values: doctests as code, and no tables as values."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.M)
"""From the first `>>>` of a paragraph to its end."""

LONGEST = 80
"""Characters of a value that is shown. A longer one is a table, and its docstring says what is in it."""


def fenced(text: str) -> str:
    """A docstring with its doctests as blocks of code, as `>` begins a quotation in Markdown.

    >>> fenced("Twice.\\n\\n>>> 2 * 2\\n4").splitlines()
    ['Twice.', '', '```pycon', '>>> 2 * 2', '4', '```']
    >>> fenced("every\\n> 1")
    'every\\n\\\\> 1'
    """
    text = re.sub(r"^( *)>(?!>>)", r"\1\\>", text, flags=re.M)
    return DOCTEST.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", text)


class Reading(griffe.Extension):
    """What griffe keeps of the source."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Mark the doctests of a module, a class, a function or a value."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Leave out a long value."""
        if len(str(attr.value or "")) > LONGEST:
            attr.value = None
