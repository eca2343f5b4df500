"""Read the descriptions of a file's keys, the docstrings below the fields of its models, on demand.

pydantic can read them too, but does so whenever the models are imported, which would cost time in every process of a
run.
"""

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields by field name, inherited fields included."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel):
            found |= _of_module(owner.__module__).get(owner.__qualname__, {})
    return {name: text for name, text in found.items() if name in model.model_fields}


@cache
def _of_module(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings below the attributes of a module's classes, as {class: {attribute: docstring}}."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}  # without the source there are no descriptions, and everything else still works
    return {
        node.name: {
            attribute.target.id: inspect.cleandoc(text.value.value)
            for attribute, text in zip(node.body, node.body[1:], strict=False)
            if isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
