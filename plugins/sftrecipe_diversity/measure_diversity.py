"""`measure.diversity`: how different the rows of a set are, for one set or several side by side.

Over n unit vectors x_i (rows are scaled to length 1 first):

    nearest    mean over i of max_{j != i} x_i . x_j             1: every row has a twin; lower is more diverse
    duplicates share of rows whose nearest neighbour is at >= 0.95
    spread     mean over i of |x_i - m|, m the mean of all       0: all alike; near 1: no common direction
    vendi      exp(-sum_k l_k ln l_k), l the eigenvalues of X^T X / n (Friedman and Dieng 2023, cosine kernel): how many
               wholly different rows would be as diverse; from 1 to min(n, d)

Over tag lists: `tags` (distinct), `coverage` (their share of the distinct tags of all inputs together), `tags_per_row`,
`tag_entropy` (bits).

Exact up to `sample` rows; above that the vector figures are of the `sample` rows lowest in
hash(id), and `looked_at` says how many. Tags are always counted over all rows. Figures of sets of unequal size are not
comparable as they stand: nearer neighbours come with more rows.
Cost: O(n^2 d) in blocks of 1,024 rows: 20,000 rows of
384 take about 5 s of one core; memory O(n d).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sftrecipe import Column, Dataset, Measure, Param, StepError
from sftrecipe.lazy import np, pl
from sftrecipe.vectors import as_matrix
from sftrecipe_diversity._texts import sample_rows

__all__ = ["Diversity", "nearest", "spread", "tag_figures", "vendi"]

_BLOCK = 1_024
_TWIN = 0.95
_DETAILS = ("looked_at", "without_vector", "duplicates", "tags_per_row", "tag_entropy")


def nearest(vectors: np.ndarray) -> np.ndarray:
    """The cosine of each row to its nearest other row: float32 [n], NaN for one alone. `vectors`: unit rows [n, d]."""
    best = np.full(len(vectors), np.nan, np.float32)
    if len(vectors) < 2:
        return best
    for start in range(0, len(vectors), _BLOCK):
        near = vectors[start : start + _BLOCK] @ vectors.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        best[start : start + _BLOCK] = near.max(axis=1)
    return np.clip(best, -1, 1)


def spread(vectors: np.ndarray) -> float:
    """Mean distance to the mean, of unit rows [n, d]."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(centred, axis=1).mean())


def vendi(vectors: np.ndarray) -> float:
    """exp of the entropy of the spectrum of X^T X / n, of unit rows [n, d]. The smaller Gram matrix is used."""
    exact = vectors.astype(np.float64)
    gram = exact.T @ exact if len(exact) > exact.shape[1] else exact @ exact.T
    share = np.linalg.eigvalsh(gram / len(exact))
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


def tag_figures(tags: pl.Series, everything: int) -> dict[str, float | int | None]:
    """`tags coverage tags_per_row tag_entropy` of a list column; `everything`: distinct tags of all inputs."""
    flat = tags.list.explode(empty_as_null=False, keep_nulls=False).drop_nulls()
    share = flat.value_counts()["count"].to_numpy() / max(1, len(flat))
    return {
        "tags": len(share),
        "coverage": len(share) / everything if everything else None,
        "tags_per_row": len(flat) / len(tags) if len(tags) else None,
        "tag_entropy": float(-(share * np.log2(share)).sum()) + 0.0 if len(share) else None,
    }


class Diversity(Measure):
    """Nearest neighbours, spread, effective number of rows and tags covered, for each input.

    Artefacts, a line for each input: `table` (`input rows nearest spread vendi tags coverage`), `details` (`input rows
    looked_at without_vector duplicates tags_per_row tag_entropy`), each with the columns that were asked for, and
    `summary` (the table as text). A figure that has no meaning (no rows, one row) is null. Rows without a vector, or
    with a zero one, are left out of the vector figures and counted in `without_vector`.
    """

    reads = ("id",)
    source = "vendi: Friedman and Dieng 2023 (arXiv 2210.02410); tag coverage: Lu et al. 2023 (arXiv 2308.07074)"

    embedding: Column | None = Param("embedding", doc="Vector column; null leaves the vector figures out.")
    tags: Column | None = Param(None, doc="Tag column (lists of text); left out, no tag figures.")
    sample: int = Param(20_000, ge=2, doc="Most rows of an input whose vectors are compared.")

    def check(self) -> Iterable[str]:
        """Something must be measured."""
        if self.embedding is None and self.tags is None:
            yield "nothing to measure: give `embedding`, `tags` or both"

    def measure(self, inputs: Mapping[str, Dataset]) -> Mapping[str, Any]:
        """The table and its summary."""
        everything = self._everything(inputs) if self.tags is not None else 0
        lines = [
            {"input": name, "rows": len(data), **self._figures(name, data, everything)} for name, data in inputs.items()
        ]
        table = pl.DataFrame(lines, infer_schema_length=None)
        first = [c for c in table.columns if c not in _DETAILS]
        second = [c for c in table.columns if c in ("input", "rows", *_DETAILS)]
        return {
            "table": table.select(first),
            "details": table.select(second),
            "summary": [_sentence(line) for line in lines],
        }

    def _everything(self, inputs: Mapping[str, Dataset]) -> int:
        union = [self._tags(name, d).list.explode(empty_as_null=False, keep_nulls=False) for name, d in inputs.items()]
        return pl.concat(union).drop_nulls().n_unique() if union else 0

    def _figures(self, name: str, data: Dataset, everything: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.embedding is not None:
            found |= self._vector_figures(name, data, self.embedding)
        if self.tags is not None:
            found |= tag_figures(self._tags(name, data), everything)
        return found

    def _tags(self, name: str, data: Dataset) -> pl.Series:
        column = data.frame(str(self.tags))[str(self.tags)]
        if not isinstance(column.dtype, pl.List) or column.dtype.inner not in (pl.String(), pl.Null()):
            raise StepError(f"column `{self.tags}` of `{name}` holds {column.dtype}, not lists of text")
        return column.cast(pl.List(pl.String))

    def _vector_figures(self, name: str, data: Dataset, column: str) -> dict[str, Any]:
        rows = sample_rows(data.frame("id")["id"], self.sample)
        taken = data.take(np.sort(rows), column)[column]
        try:
            vectors = as_matrix(taken.drop_nulls())
        except ValueError as error:
            raise StepError(f"column `{column}` of `{name}`: {error}") from error
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        units = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)[norms[:, 0] > 0]
        near = nearest(units)
        known = near[~np.isnan(near)]
        return {
            "looked_at": len(taken),
            "without_vector": len(taken) - len(units),
            "nearest": float(known.mean(dtype=np.float64)) if len(known) else None,
            "duplicates": float((known >= _TWIN).mean()) if len(known) else None,
            "spread": spread(units) if len(units) else None,
            "vendi": vendi(units) if len(units) else None,
        }


def _sentence(line: Mapping[str, Any]) -> str:
    words = [f"{line['input']}: {line['rows']} rows"]
    for key, text in (
        ("nearest", "nearest neighbour {:.3f}"), ("spread", "spread {:.3f}"),
        ("vendi", "as diverse as {:.1f} unlike rows"), ("tags", "{} tags"), ("coverage", "{:.1%} of all tags"),
    ):  # fmt: skip
        if line.get(key) is not None:
            words.append(text.format(line[key]))
    if line.get("looked_at", line["rows"]) < line["rows"]:
        words.append(f"vectors of {line['looked_at']} sampled rows")
    if line.get("without_vector"):
        words.append(f"{line['without_vector']} without a vector")
    return ", ".join(words)
