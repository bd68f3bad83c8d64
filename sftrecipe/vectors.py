"""Vector columns as matrices, with clear words for what is wrong with them."""

from __future__ import annotations

from sftrecipe.lazy import np, pl

__all__ = ["as_matrix"]


def as_matrix(column: pl.Series) -> np.ndarray:
    """A list or array column as float32 [N, d].

    Raises ValueError naming the first row that has no vector, another width, or a component that is no finite number.
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        raise ValueError(f"holds {column.dtype}, not vectors")
    if not len(column):
        return np.zeros((0, 0), dtype=np.float32)
    if column.null_count():
        raise ValueError(
            f"row {int(column.is_null().arg_max() or 0)} has no vector ({column.null_count()} rows in all)"
        )
    widths = column.list.len().to_numpy()
    width = int(widths[0])
    if (widths != width).any():
        at = int((widths != width).argmax())
        raise ValueError(f"row {at} has {int(widths[at])} components, the first row {width}: one width is needed")
    flat = column.list.explode(empty_as_null=False, keep_nulls=False).cast(pl.Float32)
    matrix = flat.to_numpy().reshape(len(column), width)
    finite = np.isfinite(matrix).all(axis=1)
    if flat.null_count() or not finite.all():
        at = int(flat.is_null().arg_max() or 0) // width if flat.null_count() else int((~finite).argmax())
        raise ValueError(f"row {at} has a component that is no finite number ({int((~finite).sum())} such rows)")
    return matrix
