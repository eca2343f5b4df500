"""Channel templates: text with a ``{name}`` placeholder for each variable."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile(r"\{(?P<name>[^{}]*)\}|(?P<text>[^{}]+)|(?P<stray>[{}])")


class TemplateError(ValueError):
    """A template has an unpaired brace or an empty pair of braces; the message begins with a verb, such as `has`."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: texts and variables alternate; ``texts`` has one item more than ``names``."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Parse a template.

        Raises:
            TemplateError: a brace is unpaired, or a pair is empty.
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
        """Return the text with the variables' values filled in."""
        filled = [f"{values[name]}{text}" for name, text in zip(self.names, self.texts[1:], strict=True)]
        return self.texts[0] + "".join(filled)

    def bind(self, values: Mapping[str, object]) -> "Template":
        """Return the template with the given variables' values filled in; the other variables stay."""
        texts, names = [self.texts[0]], []
        for name, text in zip(self.names, self.texts[1:], strict=True):
            if name in values:
                texts[-1] += f"{values[name]}{text}"
            else:
                names.append(name)
                texts.append(text)
        return Template(tuple(texts), tuple(names))
