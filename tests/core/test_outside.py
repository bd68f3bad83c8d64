"""What comes from outside or is named by name: files given and taken, models by key, operators as values."""

from __future__ import annotations

import pytest

from sftrecipe import Chat, Given, Operator, Param, Score, Taken, Template
from sftrecipe.errors import StepError
from sftrecipe.params import schema, specs
from sftrecipe.plan.keys import taken_digest
from sftrecipe.run.interpreter import Options
from tests.conftest import chat

PLUGIN = '''
"""Operators that use what a step may name."""
from pathlib import Path
from sftrecipe import Answer, Chat, Child, Evolve, Evolved, Given, Into, Operator, Param, Pending, RowError, Score, StepError, Taken, Template

class Loop(Score):
    """Gives a file and waits for those that fit `take`."""
    reads = ("id",)
    give: Given = Param()
    take: Taken = Param()
    rounds: int = Param(1)
    into: Into = Param("got")
    def fit(self, data):
        found = []
        for k in range(self.rounds):
            path = Path(str(self.take).replace("{round}", str(k)))
            if not path.exists():
                Path(str(self.give)).parent.mkdir(parents=True, exist_ok=True)
                Path(str(self.give)).write_text(str(len(data)))
                raise Pending(f"waiting for {path.name}")
            found.append(float(path.read_text()))
        return {"total": sum(found)}
    def score_row(self, row):
        return {self.into: self.state["total"]}

class Ask(Score):
    """Asks the model that stands under a key, with an operator's blessing."""
    reads = ("query",)
    models: dict[str, Chat] = Param({})
    prompts: list[Template] = Param([])
    verify: Operator = Param(None)
    fills = ("extra",)
    into: Into = Param("asked")
    async def score_row(self, row):
        text = "+".join(p.render({**row, "extra": "filled"}) for p in self.prompts)
        said = [(await self.models[k].chat([{"role": "user", "content": text}]))[0].text for k in sorted(self.models)]
        self.context.note(row["id"], "said", asked=text, said=said)
        ok = self.verify.score_row(row) if self.verify is not None else {"x": 1.0}
        return {self.into: next(iter(ok.values()))}

class Noted(Score):
    """Leaves a note of its own."""
    reads = ("query", "gold")
    into: Into = Param("noted")
    def score_row(self, row):
        self.context.note(row["id"], "inner", gold=row["gold"])
        return {self.into: float(len(row["gold"]))}

class Strict(Score):
    """Fails when more than `most` rows have no value."""
    reads = ("query",)
    most: int = Param(0)
    into: Into = Param("strict")
    def score_row(self, row):
        if "1" in row["query"]:
            raise RowError("odd")
        return {self.into: 1.0}
    def review(self, figures):
        if figures["nulls"].get("odd", 0) > self.most:
            raise StepError("too odd", code="R699")

class Edit(Answer):
    """Fails every row."""
    reads = ("messages",)
    writes = {"messages": "messages"}
    rewrites = ("response",)
    async def answer_row(self, row):
        raise RowError("no")

class Keep(Edit):
    """Fails every row and leaves its turn."""
    keeps_turn = True

class Double(Evolve):
    """A child that has its parent's columns, but those that hang on the answer."""
    reads = ("messages",)
    rewrites = ("response",)
    parents: str = Param("drop")
    def evolve_row(self, row):
        child = Child([dict(row["messages"][0])], inherit=True)
        return Evolved([child, Child([], {"why": "because"}, eliminated="twin")], parent="leave", why="replaced")
'''


@pytest.fixture
def plugin(kitchen):
    (kitchen.folder / "rows.jsonl").write_text("")
    kitchen.rows("rows.jsonl", [{**chat(f"Question {i}", f"Answer {i}"), "name": f"r{i}", "gold": "x" * i} for i in range(3)])
    path = kitchen.folder / "outside.py"
    path.write_text(PLUGIN)
    return path


LOAD = "  - load: {path: rows.jsonl, license: MIT, id: name, columns: {gold: gold}}\n"


def test_kinds_and_schemas_of_the_new_markers():
    class Op(Score):
        give: Given = Param(doc="out")
        take: Taken | None = Param(None)
        models: dict[str, Chat] = Param({})
        prompts: list[Template] = Param([])
        verify: Operator | None = Param(None)

    found = {name: (s.kind, s.many) for name, s in specs(Op).items()}
    assert found == {"give": ("given", ""), "take": ("taken", ""), "models": ("model", "dict"), "prompts": ("template", "list"), "verify": ("operator", "")}
    assert schema(Op)["properties"]["models"]["additionalProperties"] == {"type": "string"}
    assert schema(Op)["properties"]["give"]["type"] == "string"


def test_digests_of_what_may_come(tmp_path):
    assert taken_digest(tmp_path / "a.json") == "absent"
    assert taken_digest(tmp_path / "a-{round}.json") == {}
    (tmp_path / "a.json").write_text("1")
    (tmp_path / "a-1.json").write_text("1")
    (tmp_path / "a-0.json").write_text("0")
    (tmp_path / "b-0.json").write_text("0")
    one = taken_digest(tmp_path / "a.json")
    many = taken_digest(tmp_path / "a-{round}.json")
    assert list(many) == ["a-0.json", "a-1.json"]
    assert many["a-1.json"] == one
    odd = tmp_path / "[x]"
    odd.mkdir()
    (odd / "a-7.json").write_text("7")
    assert list(taken_digest(odd / "a-{run}.json")) == ["a-7.json"]


def run(kitchen, plugin, steps, **options):
    head = options.pop("head", "")
    kitchen.recipe(LOAD + steps, head=head)
    return kitchen.run(plugins=[plugin], **options)


def test_a_step_waits_for_a_file_and_hangs_on_its_content(kitchen, plugin):
    steps = "  - id: loop\n    score.outside.loop: {give: out/ask-{round}.txt, take: got-{round}.txt, rounds: 2}\n  - write: {path: out.jsonl, columns: [got]}\n"
    steps = steps.replace("out/ask-{round}.txt", '"out/ask.txt"').replace("got-{round}.txt", '"got-{round}.txt"')
    assert run(kitchen, plugin, steps).waiting == {"loop": "waiting for got-0.txt"}
    assert (kitchen.folder / "out/ask.txt").read_text() == "3"
    (kitchen.folder / "got-0.txt").write_text("1")
    assert run(kitchen, plugin, steps).waiting == {"loop": "waiting for got-1.txt"}
    (kitchen.folder / "got-1.txt").write_text("2")
    assert run(kitchen, plugin, steps).waiting == {}
    assert [r["got"] for r in kitchen.read("out.jsonl")] == [3.0] * 3
    assert run(kitchen, plugin, steps).results["loop"].cached
    # the place where things are given is no input; what is taken is
    assert run(kitchen, plugin, steps.replace("out/ask.txt", "out/other.txt")).results["loop"].cached
    (kitchen.folder / "got-0.txt").write_text("5")
    assert not run(kitchen, plugin, steps).results["loop"].cached
    assert [r["got"] for r in kitchen.read("out.jsonl")] == [7.0] * 3


def test_trial_runs_give_elsewhere(kitchen, plugin):
    steps = "  - id: loop\n    score.outside.loop: {give: out/ask.txt, take: got.txt}\n"
    run(kitchen, plugin, steps, options=Options(limit=2, out=kitchen.folder))
    assert (kitchen.folder / "out/ask.limit-2.txt").read_text() == "2"
    assert not (kitchen.folder / "out/ask.txt").exists()


def test_models_by_key_templates_in_a_list_and_fields_that_the_operator_fills(kitchen, plugin):
    (kitchen.folder / "p.txt").write_text("{{query}} from a file")
    head = "models: {a: {use: script, default: A}, b: {use: script, default: B}}\n"
    steps = "  - id: ask\n    score.outside.ask: {models: {one: a, two: b}, prompts: ['{{query}} {{extra}}', {file: p.txt}]}\n"
    done = run(kitchen, plugin, steps, head=head)
    told = kitchen.cli("trace", "recipe.yaml", "r0", "--plugin", str(plugin), check=0).stdout
    assert "Question 0 filled+Question 0 from a file" in told
    assert "['A', 'B']" in told
    assert done.results["ask"].counts()[0].notes == {"said": 3}
    again = run(kitchen, plugin, steps.replace("two: b", "two: a"), head=head)
    assert not again.results["ask"].cached
    for wrong, message in [("two: c", "unknown model `c`"), ("two: tok", "needs a Chat model")]:
        kitchen.recipe(LOAD + steps.replace("two: b", wrong), head=head.replace("}}\n", "}, tok: {use: tokenizer, model: builtin}}\n"))
        said = kitchen.cli("check", "recipe.yaml", "--plugin", str(plugin), check=1)
        assert message in said.stdout + said.stderr


def test_an_operator_as_value_reads_columns_tells_its_story_and_is_in_the_key(kitchen, plugin):
    steps = "  - id: ask\n    score.outside.ask: {verify: score.outside.noted}\n  - write: {path: out.jsonl, columns: [asked]}\n"
    done = run(kitchen, plugin, steps)
    assert [r["asked"] for r in kitchen.read("out.jsonl")] == [0.0, 1.0, 2.0]
    assert done.results["ask"].counts()[0].notes == {"inner": 3, "said": 3}
    again = run(kitchen, plugin, steps.replace("verify: score.outside.noted", "verify: {score.outside.noted: {into: other}}"))
    assert not again.results["ask"].cached
    kitchen.recipe(LOAD.replace(", columns: {gold: gold}", "") + steps)
    said = kitchen.cli("check", "recipe.yaml", "--plugin", str(plugin), check=1)
    assert "reads column `gold`" in said.stdout + said.stderr


def test_a_step_reviews_its_figures(kitchen, plugin):
    steps = "  - id: strict\n    score.outside.strict: {most: %d}\n"
    with pytest.raises(StepError, match="too odd") as error:
        run(kitchen, plugin, steps % 0)
    assert error.value.step == "strict"
    assert run(kitchen, plugin, steps % 1).results["strict"].counts()[0].nulls == {"odd": 1}


@pytest.mark.parametrize(("operator", "turns"), [("edit", 1), ("keep", 2)])
def test_a_row_that_gets_no_answer_loses_the_old_one_unless_the_operator_keeps_it(kitchen, plugin, operator, turns):
    done = run(kitchen, plugin, f"  - id: a\n    answer.outside.{operator}: {{}}\n  - write: {{path: out.jsonl, columns: [messages]}}\n")
    assert {len(r["messages"]) for r in kitchen.read("out.jsonl")} == {turns}
    assert done.results["a"].counts()[0].nulls == {"no": 3}


def test_children_inherit_what_does_not_hang_on_the_old_answer(kitchen, plugin):
    steps = (
        "  - score: {asked: len(query)}\n  - score: {said: len(response)}\n  - id: d\n    evolve.outside.double: {}\n"
        "  - write: {path: out.jsonl, columns: [id, messages, gold, asked, parents]}\n"
    )
    done = run(kitchen, plugin, steps)
    rows = kitchen.read("out.jsonl")
    assert [(r["gold"], r["asked"], r["parents"], len(r["messages"])) for r in rows] == [("x" * i, 10, [f"r{i}"], 1) for i in range(3)]
    counts = done.results["d"].counts()[0]
    assert (counts.born, counts.dropped, counts.notes) == (3, 3, {"eliminated_twin": 3})
    told = kitchen.cli("trace", "recipe.yaml", "r0", "--plugin", str(plugin), check=0).stdout
    assert "why=because" in told
    kitchen.recipe(LOAD + steps.replace("gold, asked", "gold, said"))
    said = kitchen.cli("check", "recipe.yaml", "--plugin", str(plugin), check=1)
    assert "reads `said`, which `d` made stale" in said.stdout + said.stderr
