"""numpy, Polars and pyarrow, imported when they are first used: looking at a recipe must not wait for them.

    from sftrecipe.lazy import np, pl

reads like `import numpy as np` and `import polars as pl`, to type checkers too. Operators of other packages may import
them either way; a module that a check loads and that imports them at its top costs every check 0.3 s.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["np", "pa", "pl", "series_of"]


class _Late(ModuleType):
    """Stands for a module until somebody asks it for a name; then it holds what the module holds."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # whoever looks modules over (inspect, doctest, copy) does not want it imported
        # OpenBLAS's threads spin for 25 ms whenever they have nothing to do, so first of all when numpy is imported
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
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


class _Array:
    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._array.__arrow_c_array__(requested_schema)


def series_of(array: pa.Array) -> pl.Series:
    """An Arrow array as a Series, by the C interface: `pl.from_arrow` imports pyarrow.compute, which takes long."""
    return pl.Series(_Array(array))
