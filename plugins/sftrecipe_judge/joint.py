"""`score.joint`: scores of all variants of a text, given in one request that compares them (Liu et al. 2023, Deita).

Scores of single texts bunch up; a judge that sees a question beside its evolutions spreads them out. The authors had
ChatGPT score 1,000 questions, each with five evolutions, jointly, and fine-tuned their scorers on the 6,000 pairs.

Rows with equal `by` are variants of each other (`evolve.instruct` writes `root`). They are shown in an order drawn for
each group, against a liking for the first place. All rows must be seen, so the requests are sent by a pass over the
data (`scores.parquet` is its artefact). Cost: `votes` calls a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar

from sftrecipe import Chat, Cost, Dataset, Expr, Into, Param, RowError, Score, Template
from sftrecipe.lazy import np, pl
from sftrecipe.models import run_rows
from sftrecipe.models.asking import asks, estimate, render
from sftrecipe_judge.asking import prompt_text

__all__ = ["Joint", "groups_of", "joint_schema", "listed"]


def groups_of(keys: Sequence[Any]) -> dict[str, list[int]]:
    """Row numbers by key, in the order of the rows; a null key is a group of its own for each row."""
    found: dict[str, list[int]] = {}
    for at, key in enumerate(keys):
        found.setdefault(f"={key}" if key is not None else f"#{at}", []).append(at)
    return found


def listed(texts: Sequence[str]) -> str:
    """The variants as the judge sees them, numbered from 1."""
    return "\n\n".join(f"----- variant {at}\n{text}" for at, text in enumerate(texts, 1)) + "\n----- end"


def joint_schema(count: int, low: int, high: int) -> dict[str, Any]:
    """{scores: {"1": score, "2": score, ...}}: every number once, by the schema itself."""
    names = [str(number) for number in range(1, count + 1)]
    score = {"type": "integer", "minimum": low, "maximum": high}
    scores = {
        "type": "object",
        "properties": dict.fromkeys(names, score),
        "required": names,
        "additionalProperties": False,
    }
    return {"type": "object", "properties": {"scores": scores}, "required": ["scores"], "additionalProperties": False}


class Joint(Score):
    """Scores of variants compared with each other: a training set for a scorer like Deita's.

    Rows of a group that could not be scored fail with the group's code: `no_text` (a variant is blank), or a code of
    the model layer (`invalid_json` where a variant has no score). A group of one row is asked about too.
    """

    reads = ("id",)
    fills: ClassVar[Sequence[str]] = ("rubric", "low", "high", "count", "variants")
    wants: ClassVar[Mapping[str, str]] = {"text": "text"}
    source = "Liu et al. 2023, What Makes Good Data for Alignment? (Deita), section 3"

    model: Chat = Param(doc="A chat model from `models:`.", positional=True)
    rubric: str = Param(
        "How demanding each request is: the knowledge, the steps of thought and the number of conditions it calls for.",
        doc="What counts: text, or {file: path}.",
    )
    by: Expr = Param("coalesce(root, id)", doc="Rows with equal values are variants of each other.")
    text: Expr = Param("query", doc="What is compared.")
    scale: list[int] = Param([1, 6], doc="[lowest, highest] score.")
    prompt: Template = Param(prompt_text("joint"), doc="What is asked; {{variants}} and the rest are filled in.")
    system: str | None = Param(None, doc="System text of the request.")
    votes: int = Param(1, ge=1, doc="Answers a group, averaged; with more than one, give a temperature above 0.")
    temperature: float | None = Param(0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    max_tokens: int | None = Param(512, ge=1, doc="Most tokens of an answer.")
    into: Into = Param("score", doc="The number column that is written.")

    def check(self) -> Iterable[str]:
        """A scale of two rising numbers; votes that can differ."""
        if len(self.scale) != 2 or self.scale[0] >= self.scale[1]:
            yield "`scale` needs two numbers, the lower first: [1, 6]"
        if self.votes > 1 and self.temperature == 0:
            yield "`votes` above 1 are alike at `temperature: 0`: give a temperature"

    def fit(self, data: Dataset) -> Mapping[str, Any]:
        """One request for each group of variants."""
        ids = data.frame("id")["id"].to_list()
        texts = data.eval(self.text).to_list()
        groups = groups_of(data.eval(self.by).to_list())
        jobs = [(ids[rows[0]], [texts[r] for r in rows]) for rows in groups.values()]
        outcomes = run_rows(jobs, self._group) if jobs else []
        found: dict[str, list[Any]] = {"id": [], "score": [], "code": []}
        for rows, outcome in zip(groups.values(), outcomes, strict=True):
            failed = isinstance(outcome, RowError)
            found["id"] += [ids[r] for r in rows]
            found["score"] += [None] * len(rows) if failed else outcome
            found["code"] += [outcome.code if failed else None] * len(rows)
        return {"scores": pl.DataFrame(found, schema={"id": pl.String, "score": pl.Float64, "code": pl.String})}

    async def _group(self, job: tuple[str, list[str | None]]) -> list[float]:
        key, texts = job
        shown = [text for text in texts if text and text.strip()]
        if len(shown) != len(texts):
            raise RowError("no_text", "a variant is blank")
        order = self.context.random(key, "order").permutation(len(shown))
        low, high = self.scale
        filled = {"rubric": self.rubric, "low": low, "high": high, "count": len(shown)}
        asked = render(self.prompt, {**filled, "variants": listed([shown[i] for i in order])})
        replies = await self.model.chat(
            asks(asked, self.system),
            n=self.votes,
            schema=joint_schema(len(shown), low, high),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        votes = [r.parsed["scores"] for r in replies]
        back = np.argsort(order)
        return [fmean(vote[str(at + 1)] for vote in votes) for at in back]

    def setup(self) -> None:
        """The scores by row id, once they are known."""
        scores = self.state.get("scores")
        self._scores = {} if scores is None else {i: (s, c) for i, s, c in scores.iter_rows()}

    def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row's score, looked up."""
        score, code = self._scores[row["id"]]
        if code is not None:
            raise RowError(code, "its group could not be scored")
        return {self.into: score}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """`votes` calls a group; how large groups are is not known before the run: one to six rows."""
        n = float(self.votes)
        yield estimate(sample, [self.prompt, "{{query}}"], calls=(n / 6, n / 6, n), tokens_out=(20, 60, 120))
