"""`tag.normalize`: thousands of free tags to a vocabulary, by the four stages of InsTag.

Lu et al. 2023, arXiv 2308.07074. No code of this was ever released; the stages follow the paper, each can be left
out, each threshold is a parameter.

1. frequency    a tag on fewer than `min_count` (alpha = 20) rows goes
2. rules        lower case, special characters to spaces, each word to its stem; equal tags merge
3. semantic     tags to unit vectors, DBSCAN with cosine distance `eps` (0.05); a cluster merges into its
                most frequent tag
4. association  rules a -> b with n(a, b) >= `support` (40) rows and n(a, b) / n(a) >= `confidence` (0.99): a merges
                into b

n counts rows, after the stages before. Ties: the tag on more rows, then the alphabet. Merges are followed to their end
(a -> b -> c gives a -> c); of several rules of one tag the most confident counts. a merges only into tags ahead of it
in (rows, alphabet), so there is no circle; a rule that points the other way has its counterpart, since n(b) <= n(a)
makes b -> a at least as confident.

Deviations: stems by Snowball (the paper names NLTK, not the stemmer); `+` and `#` behind a letter stay, as C, C++ and
C# are three things; DBSCAN with two points a core (the paper names eps alone), so clusters are the connected parts of
the near-neighbour graph; rules from one tag to one tag (an alias cannot hold more), found by counting pairs, which
gives exactly the FP-Growth rules of that shape.
Cost: O(rows * tags a row squared) for pairs; O(T^2 d) for DBSCAN over T tags in blocks; memory about 50 bytes a
(row, tag) pair.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Column, Dataset, Embedder, File, Into, Param, StepError, Tag
from sftrecipe.lazy import np, pl
from sftrecipe_diversity.dbscan import dbscan

if TYPE_CHECKING:
    from sftrecipe import Rows

__all__ = [
    "STAGES",
    "Normalize",
    "count_tags",
    "fold",
    "implications",
    "merge_associated",
    "merge_similar",
    "read_aliases",
]

STAGES = ("frequency", "rules", "semantic", "association")
_SPECIAL = re.compile(r"(?:[^\w+#]|_|(?<![\w+#])[+#])+")
_ALIASES = {"tag": str, "canonical": str, "stage": str, "rows": int}
_SLACK = 1e-9


def fold(tags: Sequence[str], stem: str | None = "english") -> list[str]:
    """Stage 2: the common form of each tag; empty where nothing but special characters was there.

    `stem` is a Snowball language, or None to leave the words whole.
    """
    import snowballstemmer

    words = [_SPECIAL.sub(" ", unicodedata.normalize("NFKC", tag).lower()).split() for tag in tags]
    if stem is None:
        return [" ".join(w) for w in words]
    stemmer = snowballstemmer.stemmer(stem)
    return [" ".join(stemmer.stemWords(w)) for w in words]


def merge_similar(tags: Sequence[str], vectors: np.ndarray, eps: float, min_samples: int = 2) -> dict[str, str]:
    """Stage 3: {tag: first of its DBSCAN cluster}. `tags` by frequency; `vectors` [T, d]; `eps`: cosine distance."""
    labels = dbscan(vectors, eps, min_samples).tolist()
    first: dict[int, str] = {}
    for tag, label in zip(tags, labels, strict=True):
        first.setdefault(label, tag)
    return {tag: tag if label < 0 else first[label] for tag, label in zip(tags, labels, strict=True)}


def implications(pairs: pl.DataFrame, support: int, confidence: float) -> pl.DataFrame:
    """Rules between two tags: `antecedent consequent rows confidence`. `pairs`: distinct (row, tag)."""
    counts = pairs.group_by("tag").len("n").filter(pl.col("n") >= support)
    common = pairs.join(counts, on="tag")
    both = common.join(common.select("row", consequent="tag"), on="row").filter(pl.col("tag") != pl.col("consequent"))
    rules = both.group_by("tag", "consequent").agg(rows=pl.len(), n=pl.col("n").first())
    sure = (pl.col("rows") >= support) & (pl.col("rows") >= confidence * pl.col("n") - _SLACK)
    return rules.filter(sure).select(
        antecedent="tag",
        consequent="consequent",
        rows=pl.col("rows").cast(pl.Int64),
        confidence=pl.col("rows") / pl.col("n"),
    )


def merge_associated(tags: Sequence[str], rules: pl.DataFrame) -> dict[str, str]:
    """Stage 4: {tag: where its rules lead}. `tags` by frequency; a tag merges only into one before it."""
    place = {tag: at for at, tag in enumerate(tags)}
    best: dict[str, tuple[float, int, str]] = {}
    for a, b, sure in rules.select("antecedent", "consequent", "confidence").iter_rows():
        if place[b] < place[a]:
            best[a] = min(best.get(a, (1.0, 0, "")), (-sure, place[b], b))
    merged: dict[str, str] = {}
    for tag in tags:  # the consequent stands before, so its own end is known
        merged[tag] = merged[best[tag][2]] if tag in best else tag
    return merged


def count_tags(pairs: pl.DataFrame) -> dict[str, int]:
    """{tag: rows that bear it}, most frequent first, ties by the alphabet. `pairs`: distinct (row, tag)."""
    counts = pairs.group_by("tag").len("n").sort(["n", "tag"], descending=[True, False])
    return dict(counts.iter_rows())


def read_aliases(path: Path) -> pl.DataFrame:
    """`tag canonical` of a JSON object, a Parquet or a CSV file. An empty canonical drops the tag. Raises StepError."""
    try:
        frame = _parse(path)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise StepError(
            f"aliases {path} cannot be read: {error}",
            help="JSON {tag: canonical}, or Parquet or CSV with `tag` and `canonical`",
        ) from error
    missing = {"tag", "canonical"} - set(frame.columns)
    if missing:
        raise StepError(f"aliases {path} have no column `{sorted(missing)[0]}`, only {', '.join(frame.columns)}")
    filled = pl.when(pl.col("canonical") != "").then(pl.col("canonical"))
    return frame.select(pl.col("tag").cast(pl.String), canonical=filled.cast(pl.String)).unique(
        "tag", keep="first", maintain_order=True
    )


def _parse(path: Path) -> pl.DataFrame:
    start = path.read_bytes()[:64].lstrip()
    if start.startswith(b"PAR1"):
        return pl.read_parquet(path)
    if not start.startswith(b"{"):
        return pl.read_csv(path, infer_schema=False)
    table = json.loads(path.read_text("utf-8"))
    wrong = [t for t, c in table.items() if not isinstance(c, (str, type(None)))]
    if wrong:
        raise ValueError(f"the canonical tag of `{wrong[0]}` is neither text nor null")
    return pl.DataFrame(
        {"tag": list(table), "canonical": list(table.values())}, schema_overrides={"canonical": pl.String}
    )


class _Course:
    """The aliases on their way through the stages."""

    def __init__(self, pairs: pl.DataFrame) -> None:
        self.pairs = pairs
        self.counts = self.raw = count_tags(pairs)
        self.canonical: dict[str, str | None] = {tag: tag for tag in self.raw}
        self.stage: dict[str, str | None] = dict.fromkeys(self.raw)
        self.log: list[dict[str, Any]] = []

    def apply(self, stage: str, change: Mapping[str, str | None]) -> None:
        """One stage: {tag as it now is: what it becomes, or None}."""
        for raw, now in self.canonical.items():
            if now is not None and change[now] != now:
                self.canonical[raw], self.stage[raw] = change[now], stage
        before = len(self.counts)
        new = (
            pl.col("tag").replace_strict(list(change), list(change.values()), return_dtype=pl.String)
            if change
            else pl.col("tag")
        )
        self.pairs = self.pairs.with_columns(new).drop_nulls().unique()
        self.counts = count_tags(self.pairs)
        dropped = sum(c is None for c in change.values())
        self.note(stage, before, dropped, before - dropped - len(self.counts))

    def note(self, stage: str, before: int, dropped: int = 0, merged: int = 0, why: str = "") -> None:
        row = {
            "stage": stage,
            "tags_in": before,
            "dropped": dropped,
            "merged": merged,
            "tags_out": before - dropped - merged,
            "note": why,
        }
        self.log.append(row)

    def aliases(self) -> pl.DataFrame:
        """`tag canonical stage rows`: every raw tag, the most frequent first."""
        columns = [list(self.raw), list(self.canonical.values()), list(self.stage.values()), list(self.raw.values())]
        return pl.DataFrame(dict(zip(_ALIASES, columns, strict=True)), schema=_ALIASES)


class Normalize(Tag):
    """Free tags to a vocabulary: rare ones dropped, spellings, synonyms and implied tags merged.

    The artefact `aliases` (`tag canonical stage rows`; a null canonical = dropped; `stage` = the last that changed it)
    is the whole result: give it to another recipe as `aliases:` and its tags become the same words, without looking at
    its rows. There a tag that the file does not have takes the canonical of one with the same stems (stage `rules`),
    else it is dropped (stage `unknown`). The artefact `stages` counts `tags_in dropped merged tags_out` of each stage
    and says which were left out, and why. A row's tags keep their order, each once; `no_tags_left` in the story of a
    row that loses all. A null list stays null.
    """

    reads = ("id",)
    writes: ClassVar[Mapping[str, str]] = {"{into}": "list[text]"}
    source = "Lu et al. 2023, InsTag, section 3.2 (arXiv 2308.07074)"

    by: Column = Param("tags", doc="The tag column (lists of text).", positional=True)
    into: Into = Param("tags", doc="The column that is written.")
    stages: list[Literal["frequency", "rules", "semantic", "association"]] = Param(
        list(STAGES), doc="Which stages run; their order is fixed."
    )
    min_count: int = Param(20, ge=1, doc="Fewest rows that bear a tag (InsTag's alpha).")
    stem: str | None = Param("english", doc="Snowball language of the stemmer; null leaves words whole.")
    model: Embedder | None = Param(None, doc="Embedder of the semantic stage, which is skipped without one.")
    eps: float = Param(0.05, gt=0, le=2, doc="Largest cosine distance of neighbours (DBSCAN).")
    min_samples: int = Param(2, ge=1, doc="Neighbours, itself included, that make a tag a core (DBSCAN).")
    support: int = Param(40, ge=1, doc="Fewest rows that bear both tags of a rule.")
    confidence: float = Param(0.99, gt=0, le=1, doc="Smallest share of the rows of a tag that bear the other too.")
    aliases: File | None = Param(None, doc="Aliases made before, used instead of the stages: JSON, Parquet or CSV.")

    def check(self) -> Iterable[str]:
        """Unknown stemmer languages, and a model that no stage uses."""
        import snowballstemmer

        known = sorted(snowballstemmer.algorithms())
        if self.stem is not None and self.stem not in known:
            yield f"`stem: {self.stem}` is no Snowball language; there are {', '.join(known)}"
        if self.model is not None and "semantic" not in self.stages:
            yield "`model` is given, but the stage `semantic` is off"

    def fit(self, data: Dataset) -> Mapping[str, Any]:
        """The aliases: by the stages, or from the file."""
        lists = data.frame(self.by)[self.by]
        if lists.dtype not in (pl.List(pl.String), pl.List(pl.Null)):
            raise StepError(f"column `{self.by}` holds {lists.dtype}, not lists of text")
        tags = lists.cast(pl.List(pl.String)).list.explode(empty_as_null=True, keep_nulls=True)
        sizes = lists.list.len().fill_null(0)
        rows = pl.Series(range(len(lists)), dtype=pl.UInt32).repeat_by(sizes.clip(1)).list.explode()
        course = _Course(pl.DataFrame({"row": rows, "tag": tags}).drop_nulls().unique())
        if self.aliases is None:
            self._run(course)
        else:
            self._look_up(course, read_aliases(Path(str(self.aliases))))
        return {"aliases": course.aliases(), "stages": pl.DataFrame(course.log)}

    def tag(self, rows: Rows) -> Mapping[str, Any]:
        """The canonical tags of one batch."""
        aliases: pl.DataFrame = self.state["aliases"]
        known = aliases.drop_nulls("canonical")
        column = rows[self.by].cast(pl.List(pl.String))
        rename = pl.element().replace_strict(known["tag"], known["canonical"], default=None, return_dtype=pl.String)
        new = column.list.eval(rename).list.drop_nulls().list.unique(maintain_order=True)
        lost = (column.list.len() > 0) & (new.list.len() == 0)
        for row in lost.arg_true().to_list():
            self.context.note(rows["id"][row], "no_tags_left")
        return {self.into: new}

    def _run(self, course: _Course) -> None:
        for stage in STAGES:
            if stage not in self.stages:
                course.note(stage, len(course.counts), why="switched off")
            elif stage == "semantic" and self.model is None:
                course.note(stage, len(course.counts), why="skipped: no model is given")
            else:
                course.apply(stage, self._change(stage, course))

    def _change(self, stage: str, course: _Course) -> Mapping[str, str | None]:
        tags = list(course.counts)
        if stage == "frequency":
            return {tag: tag if n >= self.min_count else None for tag, n in course.counts.items()}
        if stage == "rules":
            return dict(zip(tags, (f or None for f in fold(tags, self.stem)), strict=True))
        if stage == "semantic" and self.model is not None:
            if not tags:
                return {}
            rows = self.model.fit_rows
            state = self.model.fit(tags[:rows]) if rows else None
            return {**merge_similar(tags, self.model.embed(tags, state), self.eps, self.min_samples)}
        return {**merge_associated(tags, implications(course.pairs, self.support, self.confidence))}

    def _look_up(self, course: _Course, given: pl.DataFrame) -> None:
        """Aliases from a file; tags that it does not have by their stems, if the rules are on."""
        words = set(given["canonical"].drop_nulls())
        table: dict[str, str | None] = {**dict(zip(words, words, strict=True)), **dict(given.iter_rows())}
        course.apply("aliases", {tag: table.get(tag, tag) for tag in course.counts})
        tags = list(course.counts)
        if "rules" in self.stages:
            forms: dict[str, str] = {}
            for form, word in zip(fold(list(table), self.stem), table.values(), strict=True):
                if word is not None:
                    forms[form] = min(word, forms.get(form, word))
            near = {tag: forms.get(form, tag) for tag, form in zip(tags, fold(tags, self.stem), strict=True)}
            course.apply("rules", {tag: tag if tag in words else near[tag] for tag in tags})
        course.apply("unknown", {tag: tag if tag in words else None for tag in course.counts})
