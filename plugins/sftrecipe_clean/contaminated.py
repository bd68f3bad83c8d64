"""`filter.contaminated`, `tag.contaminated`: training rows that hold an evaluation item.

Methods differ in what they see, so a step names its own (T: flagged, -: missed, F: false alarm;
`tests/clean/test_contaminated.py` proves it):

    | training row against eval item              | any, n 8 | any, n 13 | coverage | ratio | exact | default |
    | the item word for word                      |    T     |     T     |    T     |   T   |   T   |    T    |
    | the item inside a long wrapper              |    T     |     T     |    T     |   -   |   T   |    T    |
    | only the numbers changed                    |    T     |     T     |    T     |   T   |   -   |    T    |
    | upper case, punctuation gone                |    T     |     T     |    T     |   -   |   T   |    T    |
    | a paraphrase                                |    -     |     -     |    -     |   -   |   -   |    -    |
    | another text with one 8-word stock phrase   |    F     |     ok    |    ok    |   ok  |   ok  |    ok   |
    | an item of 5 words, word for word           |    -     |     -     |    -     |   T   |   T   |    T    |
    | an item of 5 words in a longer prompt       |    -     |     -     |    -     |   -   |   T   |    T    |

    coverage  More than `threshold` (0.5) of the item's tokens lie in n-grams (n = 8) that the row holds (Tulu 3).
    any       One shared n-gram is enough (s1, open-r1: 8; GPT-3, SmolLM2: 13).
    exact     The row holds all tokens of the item, in order and side by side.
    ratio     The characters of both agree to `threshold` (0.95), case and punctuation included (OpenThoughts).
    default   coverage, and `exact` for items of fewer than n tokens (`short_items`), which have no n-gram.

What is searched is every user message of a row, one by one, and each user message of an evaluation row is an item of
its own: a benchmark question leaks in the first turn of a conversation as well as in the last. `roles` or `text` name
other places (`roles: [user, assistant]`: answers too; `text: conversation`: all in one).

`short_items` and `exact` look only for items with at least `min_words` different tokens: "What is the answer?" is no
leak. What a method cannot see is counted a source in the artefact `evals`. Nothing lexical sees a paraphrase.

The evaluation sets are indexed once (`fit`); rows stream past the index. Cost for texts of 1 kB: 20 microseconds a
row; `ratio` 60, and 200 where rows and items are of one kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Dataset, Expr, Filter, Flow, Param, StepError, Tag
from sftrecipe.lazy import np, pl
from sftrecipe_clean.eval_index import Anchors, GramIndex
from sftrecipe_clean.ratio_index import RatioIndex
from sftrecipe_clean.texts import role_texts, text_of
from sftrecipe_clean.tokens import token_list, token_table

if TYPE_CHECKING:
    import numpy.typing as npt

    from sftrecipe import Rows
    from sftrecipe_clean.words import WordTable

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["Contaminated", "TagContaminated"]


SHOWN = 120
"""Characters of a row and of an item that the report shows."""


class _Search:
    """What filter and tag share: the parameters, the index, and the best item of every row of a batch."""

    against: Dataset
    method: Literal["coverage", "any", "exact", "ratio"] = Param(
        "coverage", doc="What counts as holding an item; see the table above."
    )
    n: int = Param(8, ge=1, doc="Tokens in an n-gram (coverage, any).")
    threshold: float | None = Param(
        None, ge=0, le=1, doc="Share above which (ratio: from which) a row holds an item. Null: 0.5, ratio 0.95."
    )
    roles: list[str] | None = Param(
        None, doc="Search every message of these roles, one by one. Null: [user], unless `text` is given."
    )
    text: Expr | None = Param(None, doc="Search this text of the training row instead of its messages.")
    against_text: Expr | None = Param(
        None, doc="The text of an evaluation row that is looked for. Null: each of its user messages is an item."
    )
    short_items: bool = Param(True, doc="Also look for items of fewer than n tokens, as a whole (coverage, any).")
    min_words: int = Param(5, ge=1, doc="Fewest different tokens of an item that is looked for as a whole.")

    reads: ClassVar[Sequence[str]] = ("id",)
    version: ClassVar[int] = 2
    source: ClassVar[str] = "Lambert et al. 2024 (coverage); Muennighoff et al. 2025 (any); OpenThoughts 2025 (ratio)"
    floor: ClassVar[float] = 0.5
    artefacts: dict[str, Any]
    params: dict[str, Any]
    state: Mapping[str, Any]
    name: str
    _grams: GramIndex
    _anchors: Anchors
    _ratio: RatioIndex
    _tokens: dict[int, str]

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """`against_text` is read from the evaluation rows, not from these."""
        from sftrecipe.expressions import columns_of

        text = self.params["text"]
        searched = ("messages",) if text is None else columns_of(str(text), columns)
        return Flow(tuple(dict.fromkeys((*self.reads, *searched))), getattr(self, "writes", {}))

    def check(self) -> Iterable[str]:
        """Parameters that do not go together."""
        if self.params["method"] == "ratio" and self._limit() < 0.8:
            yield "`method: ratio` needs a threshold of at least 0.8; for looser likeness use `method: coverage`"
        if self.params["method"] in ("any", "exact") and self.params["threshold"] is not None:
            yield f"`method: {self.params['method']}` has no threshold"
        if self.params["roles"] is not None and self.params["text"] is not None:
            yield "give `roles` or `text`, not both"
        if self.params["roles"] == []:
            yield "`roles` is empty: nothing would be searched"

    def fit(self, data: Dataset) -> Mapping[str, Any]:
        """The index of the evaluation items in `against`; the training rows are not looked at."""
        if getattr(self, "against", None) is None:
            raise StepError(
                "there is nothing to search for",
                step=self.name,
                help="name the evaluation rows: `from: {against: evals}`",
            )
        items = self._items()
        texts = items["text"]
        if self.params["method"] == "ratio":
            seen = texts.str.len_chars().to_numpy() > 0
            state = RatioIndex.build(texts, self._limit()).save()
        else:
            seen, state = self._index(token_table(texts))
        counts = (
            items.with_columns(pl.Series("looked_for", seen))
            .group_by("source")
            .agg(pl.len().alias("items"), pl.col("looked_for").sum())
        )
        self.artefacts = {"evals": counts.sort("source")}
        return {"items": items, **state}

    def _items(self) -> pl.DataFrame:
        """id, source, text of what is looked for. An evaluation row without a user message is an item without text."""
        against = getattr(self, "against_text", None)
        if against is None:
            rows = self.against.frame("id", "source", "messages")
            texts, row = role_texts(rows["messages"], ["user"])
            asked = pl.DataFrame({"row": row, "text": texts}, schema={"row": pl.Int64, "text": pl.String})
            numbered = rows.select("id", "source").with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
            items = numbered.join(asked, on="row", how="left", maintain_order="left_right").drop("row")
            return items.with_columns(pl.col("text").fill_null(""))
        texts = self.against.eval(against)
        if texts.dtype not in (pl.String, pl.Null):
            raise StepError(
                f"`against_text` gives {texts.dtype}, not text",
                step=self.name,
                help="name a text column of the evaluation rows",
            )
        return self.against.frame("id", "source").with_columns(texts.cast(pl.String).fill_null("").alias("text"))

    def _index(self, table: WordTable) -> tuple[npt.NDArray[np.bool_], dict[str, Any]]:
        """Which items can be seen at all, and the index as arrays."""
        given, counts = self.params, table.counts
        different = np.array(
            [len(np.unique(table.hashes[a:b])) for a, b in zip(table.offsets, table.offsets[1:], strict=False)]
        )
        whole = (counts > 0) & (different >= given["min_words"])
        if given["method"] != "exact":
            whole &= (counts < given["n"]) & given["short_items"]
        state: dict[str, Any] = Anchors.build(table, np.flatnonzero(whole), given["n"]).save()
        if given["method"] != "exact":
            state |= GramIndex.build(table, given["n"]).save()
            return whole | (counts >= given["n"]), state
        return whole, state

    def setup(self) -> None:
        """The index from the state that `fit` left."""
        if not self.state:
            return
        self._tokens = {}
        if self.params["method"] == "ratio":
            self._ratio = RatioIndex.load(self.state, self.state["items"]["text"], self._limit())
            return
        self._anchors = Anchors.load(self.state)
        if self.params["method"] != "exact":
            self._grams = GramIndex.load(self.state)

    def _limit(self) -> float:
        """The threshold in force; `any` and `exact` know only something or nothing."""
        given = self.params["threshold"]
        if self.params["method"] in ("any", "exact"):
            return 0.0
        return float((0.95 if self.params["method"] == "ratio" else self.floor) if given is None else given)

    def _best(self, rows: Rows) -> tuple[Floats, Ints, pl.Series]:
        """(share, item, text): what each row holds most of, of equals the first, and where it stands.

        0 and -1 if nothing is above the threshold.
        """
        if getattr(self, "text", None) is not None:
            texts = text_of(rows, self.text, self.name)
            share, item = self._search(rows, texts, f"sftrecipe.tokens:{self.params['text']}")
            return share, item, texts
        texts, row = role_texts(rows["messages"], self.params["roles"] or ["user"])
        share, item = self._search(rows, texts, None)
        # of a row's messages the one that holds most, then the one with the first item, then the first
        order = np.lexsort((item, -share, row))
        best = order[np.unique(row[order], return_index=True)[1]]
        shares, items = np.zeros(len(rows)), np.full(len(rows), -1, np.int64)
        shares[row[best]], items[row[best]] = share[best], item[best]
        place = pl.Series([None] * len(rows), dtype=pl.UInt32).scatter(row[best], best.astype(np.uint32))
        return shares, items, texts.gather(place)

    def _search(self, rows: Rows, texts: pl.Series, key: str | None) -> tuple[Floats, Ints]:
        """(share, item) of each text. With `key` the tokens are made once for all steps that look at these texts."""
        if self.params["method"] == "ratio":
            return self._ratio.best(texts)
        table: WordTable = rows.shared(key, lambda _: token_table(texts)) if key else token_table(texts)
        if self.params["method"] == "exact":
            share, item = np.zeros(len(texts)), np.full(len(texts), -1, np.int64)
        else:
            share, item = self._grams.best(table, self.params["n"], self._limit())
        self._whole(texts, table, share, item)
        return share, item

    def _whole(self, texts: pl.Series, table: WordTable, share: Floats, item: Ints) -> None:
        """Items that rows hold as a whole, token by token: share 1, unless another item has that already."""
        row, held = self._anchors.candidates(table)
        for at, number in zip(row.tolist(), held.tolist(), strict=True):
            if share[at] < 1 and self._item(number) in f" {' '.join(token_list(texts[at]))} ":
                share[at], item[at] = 1.0, number

    def _item(self, number: int) -> str:
        if number not in self._tokens:
            self._tokens[number] = f" {' '.join(token_list(self.state['items']['text'][number]))} "
        return self._tokens[number]


class Contaminated(_Search, Filter):
    """Drop rows that hold an evaluation item, with the code `contaminated` and the share of the item that was found.

    The row's story names the item (`eval`, `eval_source`, `share`). Artefacts: `evals` counts the items of each
    evaluation set and how many of them the method can see; `hits` the items found and the rows that hold them, by set,
    with the shares in tenths; `pairs` shows the 20 highest shares side by side. A row without text stays.
    """

    def keep(self, rows: Rows) -> Any:
        """{contaminated: (mask, share)}."""
        share, item, texts = self._best(rows)
        found = np.flatnonzero(item >= 0)
        items = self.state["items"]
        ids = rows["id"]
        for at in found.tolist():
            facts = {
                "eval": items["id"][int(item[at])],
                "eval_source": items["source"][int(item[at])],
                "share": round(float(share[at]), 4),
                "text": (texts[at] or "")[:SHOWN],
                "eval_text": items["text"][int(item[at])][:SHOWN],
            }
            self.context.note(ids[at], "contaminated", **facts)
        return {"contaminated": (pl.Series(item < 0), pl.Series(share))}

    def report(self, events: pl.DataFrame) -> Mapping[str, Any]:
        """`hits` by evaluation set and the nearest `pairs`, from what the rows' stories tell."""
        noted = events.filter((pl.col("kind") == "note") & (pl.col("code") == "contaminated"))
        facts = [json.loads(f) for f in noted["facts"].to_list()]
        kinds = {
            "eval": pl.String,
            "eval_source": pl.String,
            "share": pl.Float64,
            "text": pl.String,
            "eval_text": pl.String,
        }
        found = pl.DataFrame(facts, schema=kinds).with_columns(noted["id"].alias("row"))
        tenth = pl.min_horizontal((pl.col("share") * 10).floor(), 9).cast(pl.Int64)
        hits = found.group_by(pl.col("eval_source").alias("source")).agg(
            pl.col("eval").n_unique().alias("items"),
            pl.len().alias("rows"),
            pl.col("share").mean().alias("mean_share"),
            *((tenth == n).sum().alias(f"{n / 10:.1f}") for n in range(4, 10)),
        )
        pairs = found.sort(["share", "row"], descending=[True, False]).head(20)
        return {"hits": hits.sort("source"), "pairs": pairs.select("row", "eval", "share", "text", "eval_text")}


class TagContaminated(_Search, Tag):
    """Write how much of an evaluation item each row holds (`contaminated`, 0 to 1) and of which (`contaminated_by`).

    For review before anything is dropped. `contaminated_by` is source/id. With `coverage` and `any` every share is
    written; with a `threshold`, and with `ratio`, only shares above it: the others are 0.
    """

    writes: ClassVar[Mapping[str, str]] = {"contaminated": "float", "contaminated_by": "text"}
    floor: ClassVar[float] = 0.0

    def tag(self, rows: Rows) -> Mapping[str, Any]:
        """Both columns."""
        share, item, _ = self._best(rows)
        items = self.state["items"]
        names = items.select(pl.concat_str("source", pl.lit("/"), "id"))["source"]
        held = names.gather(np.maximum(item, 0)) if len(items) else pl.Series([None] * len(rows), dtype=pl.String)
        return {
            "contaminated": share,
            "contaminated_by": pl.select(pl.when(pl.Series(item >= 0)).then(held)).to_series(),
        }
