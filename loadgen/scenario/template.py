"""Channel templates: text with ``{name}`` where the value of a variable stands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile(r"\{(?P<name>[^{}]*)\}|(?P<text>[^{}]+)|(?P<stray>[{}])")


class TemplateError(ValueError):
    """A brace without its partner, or with nothing in it; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: texts and variables in turn; ``texts`` is one longer than ``names``."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Split a template.

        Raises:
            TemplateError: braces do not pair, or are empty.
        """
        texts = [""]
        names = []
        for part in _PART.finditer(source):
            if part["stray"]:
                raise TemplateError(
                    f"has a {part['stray']!r} without its partner; variables are written '{{name}}'"
                )
            if part["text"]:
                texts[-1] += part["text"]
            elif name := part["name"].strip():
                names.append(name)
                texts.append("")
            else:
                raise TemplateError("has '{}' with no name in it; variables are written '{name}'")
        return cls(tuple(texts), tuple(names))

    def render(self, values: Mapping[str, object]) -> str:
        """Fill in the variables' values."""
        filled = [f"{values[name]}{text}" for name, text in zip(self.names, self.texts[1:], strict=True)]
        return self.texts[0] + "".join(filled)
