"""numpy, Polars and pyarrow, imported when they are first used: looking at a recipe must not wait for them.

    from sftrecipe.lazy import np, pl

reads like `import numpy as np` and `import polars as pl`, to type checkers too. Operators of other packages may import
them either way; a module that a check loads and that imports them at its top costs every check 0.3 s.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["np", "pa", "pl"]


class _Late(ModuleType):
    """Stands for a module until somebody asks it for a name; then it holds what the module holds."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # whoever looks modules over (inspect, doctest, copy) does not want it imported
        real = importlib.import_module(self.__name__)
        value = getattr(real, name)
        vars(self).update({k: v for k, v in vars(real).items() if not k.startswith("__")})
        return value


if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
else:
    np = _Late("numpy")
    pl = _Late("polars")
    pa = _Late("pyarrow")
