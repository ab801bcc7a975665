"""Gives mkdocstrings the docstrings of the compiled module: its stub has the types, the module itself has the text."""

from __future__ import annotations

import inspect
from typing import Any

import griffe

import naquid._naquid as compiled

PREFIX = "naquid._naquid."


class Compiled(griffe.Extension):
    """Fills in what the stub cannot say."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None or not obj.path.startswith(PREFIX):
            return
        found: Any = compiled
        for name in obj.path.removeprefix(PREFIX).split("."):
            found = getattr(found, name, None)
        text = getattr(found, "__doc__", None)
        if text and (obj.is_function or obj.is_attribute or obj.is_class):
            # Cython writes the signature above the text.
            head, _, rest = text.partition("\n")
            if "(" in head and head.split("(")[0].split(".")[-1].strip() == obj.name:
                text = rest
            if text := inspect.cleandoc(text):
                obj.docstring = griffe.Docstring(text, parent=obj)
