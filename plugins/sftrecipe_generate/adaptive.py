"""`evolve.adaptive`: raise difficulty only where the model that will be tuned can take it.

    probe(row)     the target's pass rate (pass_rate.py), drawn until its Wilson interval lies in, above or below the
    band in the band    the row stays as it is, nothing more is asked
    too easy       up to `attempts` rewritings in depth. Of each child that no rule eliminates: a reference is made
    where one is
                   needed, it is probed, and it is kept only if it lands in the band and is measurably harder: its
                   interval lies below its parent's. A child that is still easy is gone on from (at most `max_depth`
                   deep); one that is too hard halves the words that the next rewriting may add
    too hard       stays, leaves, or is simplified, by the same rules the other way round
    none kept      the parent stays

Ours; near to it are the survey's wish for ability-aware Evol-Instruct, and auto-evolution's failure checks. A child has
no reference answer, so one is made: `teacher` answers `teacher_n` times, and the final answer that at least a share
`agree` of them gives is taken; a question on which the teacher disagrees with itself is eliminated as `ill_posed`.
References by tests (code) are not made here. Every decision is a note in the row's story, with its figures.

Cost: n to max_n target calls a row; outside the band, per attempt 1 rewriting, teacher_n answers, n to max_n target
calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sftrecipe import Chat, Child, Column, Cost, Evolve, Evolved, Flow, Operator, Param, RowError, Template
from sftrecipe.lazy import pl
from sftrecipe.models.asking import demand, estimate, prompt_file, question, with_answer, with_query
from sftrecipe_generate.finals import agreement, final_answer
from sftrecipe_generate.instruct import LINEAGE, fate, lineage
from sftrecipe_generate.operations import DEPTH, choose, propose, weights_of
from sftrecipe_generate.pass_rate import Probe, Rate, band_problem, by_share, gold_of
from sftrecipe_generate.rules import child_fault
from sftrecipe_generate.verifying import Verifier, problem_of

__all__ = ["Adaptive", "moved"]


def moved(parent: Rate, child: Rate, up: bool) -> bool:
    """Whether the child is measurably harder (`up`) or easier than its parent: their intervals do not touch."""
    return child.high < parent.low if up else child.low > parent.high


@dataclass
class _Climb:
    """One row on its way towards the band."""

    row: Mapping[str, Any]
    rate: Rate
    up: bool
    words: int
    query: str
    depth: int = 0
    children: list[Child] = field(default_factory=list)


class Adaptive(Evolve):
    """Evolution towards a band of the target model's pass rate: too easy rows are made harder, too hard ones kept,
    dropped or simplified, rows in the band are left alone.

    What passes: `verify`, equality of final answers with `gold`, or, with neither, agreement of the target's answers
    with each other. With `gold`, children get a `gold` of their own, and the teacher's answer.

    Children have `operation`, `depth`, `root`, `pass_rate`. Notes: in_band, too_easy or too_hard (every row, with p,
    low, high, n), probed (every child that was), not_moved (no child was kept). Eliminated children are counted as
    eliminated_<code>: a rule of rules.py, ill_posed, too_hard, too_easy, still_easy, still_hard, not_harder,
    not_easier, or the code of a failed request. Parents leave as `replaced` or `too_hard`. A row fails with `no_query`,
    `no_gold`, or what the probe fails with.
    """

    reads = ("messages", "query")
    fills: ClassVar[Sequence[str]] = ("method", "words")
    source = "ours, after Xu et al. 2023 (Evol-Instruct); the interval is Wilson's, 1927"

    model: Chat = Param(doc="The chat model that rewrites.", positional=True)
    target: Chat = Param(doc="The model that will be tuned: its ability decides.")
    teacher: Chat | None = Param(None, doc="Who makes reference answers; left out: `model`.")
    verify: Operator | None = Param(None, doc="A score or filter that says whether an answer passes.")
    at_least: float | None = Param(None, doc="From where on a score passes that is not true or false.")
    gold: Column | None = Param(None, doc="The column of right final answers; children get theirs from the teacher.")
    band: list[float] = Param([0.25, 0.75], doc="[low, high] pass rate that is wanted.")
    n: int = Param(4, ge=1, doc="Samples of the target at a time.")
    max_n: int = Param(16, ge=1, doc="Most samples of the target for one question.")
    confidence: float = Param(0.8, gt=0, lt=1, doc="Of the intervals.")
    attempts: int = Param(3, ge=1, doc="Rewritings of a row, at most.")
    max_depth: int = Param(3, ge=1, doc="How many rewritings a child may be away from its row.")
    hard: Literal["keep", "simplify", "drop"] = Param("keep", doc="What becomes of rows that are too hard.")
    parents: Literal["keep", "replace"] = Param("replace", doc="What becomes of a row whose child was kept.")
    operations: dict[str, float] = Param(
        dict.fromkeys(DEPTH, 1.0), doc="Operations that may be drawn, with their weights."
    )
    methods: dict[str, str] = Param({}, doc="Further operations, or other words for those there are: name: what to do.")
    words: int = Param(20, ge=1, doc="About how many words a rewriting may add.")
    teacher_n: int = Param(8, ge=1, doc="Answers of the teacher to a child, where a reference is needed.")
    agree: float = Param(0.625, gt=0, le=1, doc="Share of them that must give the same final answer.")
    prompt: Template = Param(
        prompt_file(__file__, "evolve_depth"), doc="Makes harder; {{method}} and {{words}} are filled in."
    )
    simpler: Template = Param(prompt_file(__file__, "evolve_simpler"), doc="Makes simpler.")
    temperature: float | None = Param(1.0, ge=0, doc="Of rewriting; null leaves it to the server.")
    target_temperature: float | None = Param(0.8, ge=0, doc="Of the target's answers.")
    teacher_temperature: float | None = Param(0.7, ge=0, doc="Of the teacher's answers.")
    max_tokens: int | None = Param(2048, ge=1, doc="Most tokens of any answer.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The lineage columns and `pass_rate`; where they are alive already, evolution goes on from them."""
        plain, own = super().flow(columns), {**LINEAGE, "pass_rate": "float"}
        return Flow((*plain.reads, *(c for c in own if c in columns)), own, plain.rewrites)

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone."""
        return ("query",)

    def check(self) -> Iterable[str]:
        """Operations that there are; a band; a verifier that can verify."""
        try:
            weights_of(self.operations, self.methods)
        except ValueError as error:
            yield str(error)
        yield from filter(None, (problem_of(self.verify, "verify"), band_problem(self.band)))
        if self.max_n < self.n:
            yield "`max_n` is less than `n`"
        if "breadth" in self.operations:
            yield "`breadth` makes no question harder: leave it out"

    def setup(self) -> None:
        """The probe of the target."""
        settings = {"temperature": self.target_temperature, "max_tokens": self.max_tokens}
        verifier = Verifier(self.verify, self.context.columns, self.at_least) if self.verify is not None else None
        self._probe = Probe(self.target, settings, verifier)

    async def evolve_row(self, row: Mapping[str, Any]) -> Evolved:
        """Probe, and climb or descend where the row is outside the band."""
        demand(row, ("query",))
        rate = await self._rate(row)
        verdict = by_share(rate, self.band)
        code = {"band": "in_band", "easy": "too_easy", "hard": "too_hard"}[verdict]
        self.context.note(row["id"], code, **rate.facts())
        if verdict == "band" or (verdict == "hard" and self.hard == "keep"):
            return Evolved(())
        if verdict == "hard" and self.hard == "drop":
            return Evolved((), parent="leave", why="too_hard")
        climb = _Climb(row, rate, verdict == "easy", self.words, row["query"])
        for attempt in range(self.attempts):
            if await self._attempt(climb, attempt):
                return Evolved(climb.children, **fate(self.parents, 1))
        self.context.note(row["id"], "not_moved", attempts=self.attempts)
        return Evolved(climb.children)

    async def _rate(self, row: Mapping[str, Any]) -> Rate:
        gold = gold_of(row, self.gold)
        most: dict[str, Any] = {"n": self.n, "max_n": self.max_n, "band": self.band, "confidence": self.confidence}
        return await self._probe.rate(row, gold, **most)

    async def _attempt(self, climb: _Climb, attempt: int) -> bool:
        """One rewriting. Appends its child and says whether it was kept."""
        drawn = self.context.random(climb.row["id"], f"attempt {attempt}")
        operation = choose(drawn, weights_of(self.operations, self.methods)) if climb.up else "simplify"
        columns = lineage(climb.row, operation, climb.depth + 1)
        messages = with_query(climb.row["messages"], climb.query)
        try:
            text = await self._rewrite(climb, operation, attempt)
            messages = with_query(climb.row["messages"], text)
            fault = child_fault(text, climb.query)
            if fault is None:
                messages, reference = await self._referenced(messages)
                columns |= reference
                rate = await self._rate({**climb.row, **reference, "messages": messages, "query": text})
                columns |= {"pass_rate": rate.share}
                fault = self._judge(climb, rate, text)
                self.context.note(climb.row["id"], "probed", operation=operation, kept=fault is None, **rate.facts())
        except RowError as error:
            fault = error.code
        climb.children.append(Child(messages, columns, eliminated=fault))
        return fault is None

    async def _rewrite(self, climb: _Climb, operation: str, attempt: int) -> str:
        settings = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        method = {**DEPTH, **self.methods}.get(operation, "")
        template = self.prompt if climb.up else self.simpler
        return await propose(
            self.model, template, climb.row, climb.query, settings, sample=attempt, method=method, words=climb.words
        )

    def _judge(self, climb: _Climb, rate: Rate, text: str) -> str | None:
        """The code of what is wrong with a child's pass rate, or None. Moves the climb on where that helps."""
        verdict = by_share(rate, self.band)
        short, far = ("easy", "hard") if climb.up else ("hard", "easy")
        if verdict == far:
            climb.words = max(1, climb.words // 2)
            return f"too_{far}"
        if verdict == short:
            if climb.depth + 1 < self.max_depth:
                climb.query, climb.depth = text, climb.depth + 1
            return f"still_{short}"
        if not moved(climb.rate, rate, climb.up):
            return "not_harder" if climb.up else "not_easier"
        return None

    async def _referenced(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The child's conversation with a reference answer, and its `gold`, where one is needed."""
        if self.gold is None:
            return messages, {}
        settings = {"temperature": self.teacher_temperature, "max_tokens": self.max_tokens}
        replies = await (self.teacher or self.model).chat(question(messages), n=self.teacher_n, **settings)
        finals = [final_answer(r.text) if r.finish_reason != "length" else None for r in replies]
        answer, count = agreement(finals)
        if answer is None or count < self.agree * self.teacher_n:
            raise RowError("ill_posed", f"{count} of {self.teacher_n} answers of the teacher agree")
        return with_answer(messages, replies[finals.index(answer)].text), {self.gold: answer}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """Probes for every row; rewritings, references and more probes for those outside the band."""
        probe, tries = (float(self.n), (self.n + self.max_n) / 2, float(self.max_n)), float(self.attempts)
        calls = (probe[0], probe[1] * (1 + 0.5 * tries), probe[2] * (1 + tries))
        yield estimate(sample, ["{{query}}"], model="target", calls=calls, tokens_out=(50, 250, 600))
        yield estimate(sample, [self.prompt], calls=(0, tries / 2, tries), tokens_out=(40, 120, 300))
        if self.gold is not None:
            n = float(self.teacher_n)
            model = "teacher" if self.teacher is not None else "model"
            made = (0.0, n * tries / 2, n * tries)
            yield estimate(sample, ["{{query}}"], model=model, calls=made, tokens_out=(50, 300, 800))
