"""`evolve.instruct`: questions made harder or broader, round after round (Xu et al. 2023, WizardLM: Evol-Instruct).

For each row and round t: draw an operation from (seed, row, t); a model rewrites the current question with it; the
child goes if a rule eliminates it (rules.py), else it becomes a row and the next round starts from it. A row whose
child was eliminated goes on from the question it had. Draws hang on the row alone, so results do not depend on order,
shards or concurrency.

Sizes of the paper: 4 rounds over Alpaca's 52,000 rows, about 250,000 rows of all rounds mixed; users report that about
half of the children of a round are judged equal to their parents. Difference: in the paper an eliminated child's parent
waits for the next round in a common pool; here it is tried again in the next round of its own row, which is the same.
Cost: 1 call a row and round, 2 with answers, 3 with `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Chat, Child, Cost, Evolve, Evolved, Flow, Param, RowError, Template, message
from sftrecipe.lazy import pl
from sftrecipe.models.asking import asks, demand, estimate, prompt_file, render, with_query
from sftrecipe_generate.operations import BREADTH, DEPTH, choose, propose, weights_of
from sftrecipe_generate.rules import answer_fault, child_fault

__all__ = ["LINEAGE", "Instruct", "equal_schema", "fate", "lineage"]

LINEAGE: Mapping[str, str] = {"operation": "text", "depth": "int", "root": "text"}
"""What a child says of where it comes from: the operation, how many evolutions lie behind it, the row it began with."""


def lineage(row: Mapping[str, Any], operation: str, steps: int) -> dict[str, Any]:
    """The lineage columns of a child `steps` evolutions below `row`, which may be evolved itself."""
    return {"operation": operation, "depth": (row.get("depth") or 0) + steps, "root": row.get("root") or row["id"]}


def fate(parents: str, born: int) -> dict[str, str]:
    """What becomes of the parent, as keywords of Evolved."""
    if parents == "keep" or (parents == "replace" and not born):
        return {}
    return {"parent": "leave", "why": "replaced" if born else "no_child"}


def equal_schema() -> dict[str, Any]:
    """{reason, same}."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "same": {"type": "boolean"}},
        "required": ["reason", "same"],
        "additionalProperties": False,
    }


class Instruct(Evolve):
    """Evol-Instruct: children of each row's last question by five operations in depth and one in breadth, over
    `rounds`.

    Children have the columns `operation`, `depth`, `root`, their parent's conversation up to the question, and with
    `answer: true` an answer. Eliminated children are counted as eliminated_<rule> (see rules.py: no_gain,
    refusal_short, only_punctuation, copied_prompt_words, same_as_parent, assistant_talk, apology) or with the code of a
    failed request. Parents leave as `replaced`, or as `no_child` with `parents: drop` where no child was left. A row
    without a question fails with `no_query`.
    """

    reads = ("messages", "query")
    fills: ClassVar[Sequence[str]] = ("method", "words", "child")
    source = "Xu et al. 2023, WizardLM: Empowering Large Language Models to Follow Complex Instructions"

    model: Chat = Param(doc="The chat model that rewrites.", positional=True)
    rounds: int = Param(1, ge=1, doc="Rounds; the paper takes 4.")
    operations: dict[str, float] = Param(
        {**dict.fromkeys(DEPTH, 1.0), BREADTH: 1.0}, doc="Operations that may be drawn, with their weights."
    )
    methods: dict[str, str] = Param({}, doc="Further operations, or other words for those there are: name: what to do.")
    words: int = Param(20, ge=1, doc="About how many words a step in depth may add.")
    parents: Literal["keep", "drop", "replace"] = Param(
        "keep", doc="`replace`: a parent gives way to its children, if any."
    )
    judge: Chat | None = Param(None, doc="Asked whether a child only equals its parent; left out: not asked.")
    answer: bool = Param(False, doc="Whether children get answers; else let an `answer` step write them.")
    teacher: Chat | None = Param(None, doc="Who answers; left out: `model`.")
    prompt: Template = Param(
        prompt_file(__file__, "evolve_depth"), doc="In depth; {{method}} and {{words}} are filled in."
    )
    breadth: Template = Param(prompt_file(__file__, "evolve_breadth"), doc="In breadth.")
    equal: Template = Param(
        prompt_file(__file__, "equal"), doc="For `judge`; {{query}} is the parent, {{child}} the child."
    )
    temperature: float | None = Param(1.0, ge=0, doc="Of rewriting; null leaves it to the server.")
    top_p: float | None = Param(0.9, gt=0, le=1, doc="Of rewriting; null leaves it to the server.")
    answer_temperature: float | None = Param(0.7, ge=0, doc="Of answers; null leaves it to the server.")
    max_tokens: int | None = Param(
        2048, ge=1, doc="Most tokens of a question or an answer; one that is cut is eliminated."
    )

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The lineage columns; where they are alive already, evolution goes on from them."""
        plain = super().flow(columns)
        return Flow((*plain.reads, *(c for c in LINEAGE if c in columns)), dict(LINEAGE), plain.rewrites)

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone."""
        return ("query",)

    def check(self) -> Iterable[str]:
        """Operations that there are."""
        try:
            weights_of(self.operations, self.methods)
        except ValueError as error:
            yield str(error)
        if self.teacher is not None and not self.answer:
            yield "`teacher` answers nothing: give `answer: true`"

    async def evolve_row(self, row: Mapping[str, Any]) -> Evolved:
        """All rounds of one row."""
        demand(row, ("query",))
        query, steps = row["query"], 0
        children: list[Child] = []
        for number in range(self.rounds):
            operation = choose(self.context.random(row["id"], f"round {number}"), self._weights())
            child, text = await self._child(row, query, operation, number, steps)
            children.append(child)
            if child.eliminated is None:
                query, steps = text, steps + 1
        born = sum(c.eliminated is None for c in children)
        return Evolved(children, **fate(self.parents, born))

    def _weights(self) -> dict[str, float]:
        return weights_of(self.operations, self.methods)

    async def _child(
        self, row: Mapping[str, Any], query: str, operation: str, number: int, steps: int
    ) -> tuple[Child, str]:
        """One child and its question. A request that fails is an elimination: the row goes on with what it has."""
        messages = with_query(row["messages"], query)
        try:
            text = await self.rewrite(row, query, operation, number)
            fault = child_fault(text, query) or await self._no_gain(row, query, text)
            messages = with_query(row["messages"], text)
            if fault is None and self.answer:
                reply = (await (self.teacher or self.model).chat(messages, **self._answering()))[0]
                fault = answer_fault(reply.text)
                messages = [*messages, message("assistant", reply.text, reasoning=reply.reasoning)]
        except RowError as error:
            text, fault = query, error.code
        return Child(messages, lineage(row, operation, steps + 1), eliminated=fault), text

    async def rewrite(self, row: Mapping[str, Any], query: str, operation: str, number: int) -> str:
        """The model's rewriting of a question by one operation."""
        template = self.breadth if operation == BREADTH and operation not in self.methods else self.prompt
        method = {**DEPTH, **self.methods}.get(operation, "")
        settings = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return await propose(self.model, template, row, query, settings, sample=number, method=method, words=self.words)

    def _answering(self) -> dict[str, Any]:
        return {"temperature": self.answer_temperature, "max_tokens": self.max_tokens, "complete": True}

    async def _no_gain(self, row: Mapping[str, Any], query: str, child: str) -> str | None:
        if self.judge is None:
            return None
        asked = asks(render(self.equal, {**row, "query": query, "child": child}))
        reply = (await self.judge.chat(asked, schema=equal_schema(), temperature=0, max_tokens=256))[0]
        return "no_gain" if reply.parsed["same"] else None

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """One call a round, more with judge and answers."""
        n = float(self.rounds)
        yield estimate(sample, [self.prompt], calls=(n, n, n), tokens_out=(40, 120, 300))
        if self.judge is not None:
            yield estimate(
                sample, [self.equal, "{{query}}"], model="judge", calls=(0.8 * n, n, n), tokens_out=(15, 40, 80)
            )
        if self.answer:
            model = "teacher" if self.teacher is not None else "model"
            yield estimate(
                sample, ["{{query}}"] * 2, model=model, calls=(0.4 * n, 0.8 * n, n), tokens_out=(100, 350, 900)
            )
