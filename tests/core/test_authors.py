"""What an author of operators meets who has read docs/plugins.md and no more: every verb by its defaults, wrong returns
told by name."""

from __future__ import annotations

import pytest

from sftrecipe import Param
from sftrecipe.errors import StepError, UsageError
from sftrecipe.params import specs
from sftrecipe.verbs import Load, Write
from tests.conftest import chat

PLUGIN = '''
"""One operator a verb, with nothing declared that need not be."""
import numpy as np
import polars as pl
from pathlib import Path
from sftrecipe import (
    Answer, BadRow, Child, Choice, Dataset, Dropped, Evolve, Evolved, File, Filter, Load, Mix, Pack, Param, RowError, Score,
    Select, Write, message,
)

class Lines(Load):
    """Lines of a file."""
    path: File = Param(positional=True)
    wrong: str = Param("")
    def pieces(self, shard_bytes):
        return [{"file": str(self.path)}]
    def read(self, piece):
        if self.wrong == "raises":
            raise RowError("torn", "no end")
        if self.wrong == "dict":
            yield {"messages": []}
        rows = []
        for line in Path(piece["file"]).read_text().splitlines():
            if line == "bad":
                yield RowError("no_row", "a bad line")
                continue
            rows.append({"messages": [message("user", line), message("assistant", line)], "source": "s", "license": "MIT", "tools": None, "extra": None})
        yield pl.DataFrame(rows)

class Slow(Filter):
    """An async filter."""
    reads = ("query",)
    async def keep_row(self, row):
        if "fail" in row["query"]:
            raise RowError("failed")
        if "boom" in row["query"]:
            raise ValueError("boom")
        return "b" not in row["query"] or "has_b"

class Slower(Score):
    """An async score beside other steps."""
    reads = ("query",)
    writes = {"n": "float"}
    async def score_row(self, row):
        if "boom" in row["query"]:
            raise ValueError("boom")
        return {"n": float("nan") if "q2" in row["query"] else 1.0}

class Some(Select):
    """A choice that may be wrong."""
    writes = {"gain": "float"}
    wrong: str = Param("", positional=True)
    def choose(self, data):
        kept, columns, dropped = np.array([1, 0]), {"gain": [1, 2]}, [Dropped(np.array([2]), "no")]
        if self.wrong == "undeclared":
            columns["other"] = [1, 2]
        elif self.wrong == "missing":
            columns = {}
        elif self.wrong == "long":
            columns = {"gain": [1.0, 2.0, 3.0]}
        elif self.wrong == "type":
            columns = {"gain": ["a", "b"]}
        elif self.wrong == "mask":
            kept = np.array([True, True, False])
        elif self.wrong == "codes":
            dropped = [Dropped(np.array([2]), ["no", "nay"])]
        elif self.wrong == "values":
            dropped = [Dropped(np.array([2]), "no", value=np.ones(2))]
        return Choice(kept, dropped, columns)

class Echo(Answer):
    """Says the question again, and declares nothing of it."""
    reads = ("query",)
    def answer_row(self, row):
        return {"text": row["query"].upper()}

class Fitted(Evolve):
    """Children that know all rows and a side port."""
    reads = ("query",)
    against: Dataset
    def fit(self, data):
        return {"rows": len(data), "others": len(self.against)}
    def evolve_row(self, row):
        return Evolved([Child([message("user", f"{row['query']} of {self.state['rows']}+{self.state['others']}")])])

class Porty(Filter):
    """Asks for its port where there is none."""
    reads = ("query",)
    against: Dataset
    def keep_row(self, row):
        return row["query"] not in self.against.frame("query")["query"]

class Turns(Mix):
    """All rows, with a column that may be undeclared."""
    column: str = Param("", positional=True)
    def allot(self, inputs):
        rows = [(name, row) for name, data in inputs.items() for row in range(len(data))]
        frame = pl.DataFrame(rows, schema=["input", "row"], orient="row")
        return frame.with_columns(pl.lit("a").alias(self.column)) if self.column else frame

class Staged(Turns):
    """Declares a stage that it may not give."""
    writes = {"stage": "text"}

class Each(Pack):
    """One row a pack."""
    reads = ("query",)
    wrong: str = Param("", positional=True)
    def tokens(self, rows):
        ids = [[1, 2, 3]] * len(rows)
        if self.wrong == "labels":
            return {"input_ids": ids, "labels": [[1, 2]] * len(rows)}
        if self.wrong == "none":
            return {"input_ids": ids}
        if self.wrong == "text":
            return {"input_ids": ["a"] * len(rows), "labels": ids}
        return {"input_ids": ids, "labels": ids}
    def plan(self, lengths, data):
        n = len(lengths)
        rows = [0] * n if self.wrong == "twice" else list(range(n))
        packs = [0] * n if self.wrong == "stages" else list(range(n))
        return pl.DataFrame({"pack": packs, "row": rows, "start": [0] * n, "stop": [3] * n})

class Given(Each):
    """Packs the tokens that are there."""
    tokens = Pack.tokens

class Text(Write):
    """Questions, a line each."""
    def write(self, data, folder):
        (folder / Path(self.path).name).write_text("".join(q + "\\n" for q in data.frame("query")["query"]))
        return {"rows": len(data)}
'''


@pytest.fixture
def plugin(kitchen):
    path = kitchen.folder / "ops.py"
    path.write_text(PLUGIN)
    kitchen.rows("rows.jsonl", [chat(f"q{i}", f"a{i}") for i in range(3)])
    return path


LOAD = "  - id: rows\n    load: {path: rows.jsonl, license: MIT}\n"


def run(kitchen, plugin, steps, **options):
    kitchen.recipe(LOAD + steps)
    return kitchen.run(plugins=(plugin,), **options)


def fails(kitchen, plugin, steps, words):
    with pytest.raises(StepError, match=words) as error:
        run(kitchen, plugin, steps)
    assert error.value.code == "P010"
    assert "ops.py" in str(error.value)


def test_what_every_load_and_write_has_stands_behind_its_own_parameters():
    assert list(specs(Load)) == ["role", "max_bad"]
    assert specs(Write)["path"].positional

    class Mine(Load):
        """A load."""

        max_bad: float = Param(0.5)
        label: str = Param("x")

    assert list(specs(Mine)) == ["max_bad", "label", "role"]
    assert specs(Mine)["max_bad"].default == 0.5


def test_a_load_of_ones_own_is_eval_and_allows_bad_rows(kitchen, plugin):
    (kitchen.folder / "lines.txt").write_text("one\nbad\ntwo\n")
    kitchen.recipe(
        "  - id: evals\n    load.ops.lines: {path: lines.txt, role: eval, max_bad: 50%}\n" + LOAD + "  - write: out.jsonl\n"
    )
    done = kitchen.run(plugins=(plugin,))
    assert done.results["evals"].counts()[0].quarantined == 1
    assert done.results["evals"].counts()[0].codes == {"no_row": 1}
    assert len(kitchen.read("out.jsonl")) == 3


def test_more_bad_rows_than_allowed_stop_the_run_and_the_advice_can_be_followed(kitchen, plugin):
    (kitchen.folder / "lines.txt").write_text("one\nbad\ntwo\n")
    kitchen.recipe("  - load.ops.lines: lines.txt\n")
    with pytest.raises(StepError, match="max_bad") as error:
        kitchen.run(plugins=(plugin,))
    assert error.value.code == "R610"


@pytest.mark.parametrize(("wrong", "words"), [("dict", "not dict"), ("raises", r"RowError: torn: no end \(ops.py:\d+\)")])
def test_what_a_load_gives_wrongly_is_told(kitchen, plugin, wrong, words):
    (kitchen.folder / "lines.txt").write_text("one\n")
    fails(kitchen, plugin, f"  - load.ops.lines: {{path: lines.txt, wrong: {wrong}}}\n", words)


def test_a_file_called_like_the_step_that_reads_it_is_a_file(kitchen, plugin):
    (kitchen.folder / "lines.txt").write_text("one\n")
    kitchen.recipe("  - id: lines\n    load.ops.lines: lines.txt\n  - id: again\n    load.ops.lines: lines.txt\n")
    done = kitchen.run(plugins=(plugin,))
    assert done.results["again"].counts()[0].rows_out == 1


@pytest.mark.parametrize("models", ["", "models: {judge: {use: script, default: a}}\n"])
def test_a_filter_may_be_async(kitchen, plugin, models):
    kitchen.rows("rows.jsonl", [chat(q, "a") for q in ("q1", "b", "fail", "q2")])
    kitchen.recipe(LOAD + "  - id: slow\n    filter.ops.slow:\n  - score: {n: len(query)}\n  - write: out.jsonl\n", head=models)
    done = kitchen.run(plugins=(plugin,))
    counts = done.results["slow"].counts()[0]
    assert (counts.rows_out, counts.codes) == (2, {"has_b": 1, "failed": 1})
    assert [r["messages"][0]["content"] for r in kitchen.read("out.jsonl")] == ["q1", "q2"]


ASKING = '''
from sftrecipe import Chat, Filter, Param

class Asked(Filter):
    """Keep what a model likes."""
    reads = ("query",)
    model: Chat = Param()
    async def keep_row(self, row):
        said = (await self.model.chat([{"role": "user", "content": row["query"]}]))[0].text
        return said == "yes" or "disliked"
'''


def test_a_filter_may_ask_a_model(kitchen, plugin):
    plugin.write_text(ASKING)
    kitchen.rows("replies.jsonl", [{"match": "q1", "reply": "yes"}])
    head = "models: {judge: {use: script, replies: replies.jsonl, default: no way}}\n"
    kitchen.recipe(
        LOAD + "  - id: liked\n    filter.ops.asked: {model: judge}\n    where: query != 'q0'\n  - write: out.jsonl\n", head=head
    )
    done = kitchen.run(plugins=(plugin,))
    counts = done.results["liked"].counts()[0]
    assert (counts.rows_in, counts.rows_out, counts.codes) == (3, 2, {"disliked": 1})
    assert [r["messages"][0]["content"] for r in kitchen.read("out.jsonl")] == ["q0", "q1"]


@pytest.mark.parametrize("step", ["filter.ops.slow:", "score.ops.slower:"])
def test_an_async_row_that_raises_is_named_with_its_place_or_fails_alone(kitchen, plugin, step):
    kitchen.rows("rows.jsonl", [chat("q1", "a"), chat("boom", "a")])
    fails(kitchen, plugin, f"  - filter: len(query) > 1\n  - {step}\n", r"raised ValueError: boom \(ops.py:\d+\), row ")
    done = run(kitchen, plugin, f"  - filter: len(query) > 1\n  - id: x\n    {step}\n    on_error: drop\n")
    assert (done.results["x"].counts()[-1].rows_out, done.results["x"].counts()[-1].codes) == (1, {"error": 1})


def test_scores_without_a_value_are_counted(kitchen, plugin, capsys):
    kitchen.recipe(LOAD + "  - id: n\n    score.ops.slower:\n")
    done = kitchen.run(plugins=(plugin,))
    assert done.results["n"].counts()[0].undefined == {"n": 1}
    assert "1 without n" in kitchen.cli("run", "recipe.yaml", "--plugin", "ops.py", check=0).stdout


def test_a_row_that_fails_is_not_counted_twice(kitchen, plugin):
    kitchen.rows("rows.jsonl", [chat("q1", "a"), chat("boom", "a")])
    done = run(kitchen, plugin, "  - id: n\n    score.ops.slower:\n    on_error: null\n")
    assert (done.results["n"].counts()[0].nulls, done.results["n"].counts()[0].undefined) == ({"error": 1}, {})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("undeclared", "wrote column `other`, which it did not declare"),
        ("missing", "did not write column `gain`, which it declares"),
        ("long", "gave 3 values of `gain` for 2 rows kept"),
        ("type", "gave values for `gain` that are no float"),
        ("mask", "gave `kept` as bool values; row numbers are needed"),
        ("codes", "gave 2 codes for 1 rows dropped"),
        ("values", "gave 2 `value` for 1 rows dropped"),
    ],
)
def test_a_wrong_choice_is_told(kitchen, plugin, wrong, words):
    fails(kitchen, plugin, f"  - select.ops.some: {wrong}\n", words)


def test_a_choice_has_its_columns_in_the_type_declared(kitchen, plugin):
    run(kitchen, plugin, "  - select.ops.some:\n  - write: {path: out.jsonl, columns: [rank, gain]}\n")
    assert [(r["rank"], r["gain"]) for r in kitchen.read("out.jsonl")] == [(1, 2.0), (0, 1.0)]


def test_an_answer_need_declare_nothing(kitchen, plugin):
    run(kitchen, plugin, "  - answer.ops.echo:\n  - write: out.jsonl\n")
    assert [r["messages"][-1]["content"] for r in kitchen.read("out.jsonl")] == ["Q0", "Q1", "Q2"]
    kitchen.recipe(LOAD + "  - score: {n: len(response)}\n  - answer.ops.echo:\n  - filter: n > 1\n")
    said = kitchen.cli("check", "recipe.yaml", "--plugin", "ops.py", check=1).stderr
    assert "stale" in said


def test_an_evolve_step_has_its_fit_and_its_ports(kitchen, plugin):
    kitchen.rows("evals.jsonl", [chat("e", "e")])
    kitchen.recipe(
        "  - id: evals\n    load: {path: evals.jsonl, license: MIT, role: eval}\n" + LOAD
        + "  - id: more\n    evolve.ops.fitted:\n    from: {against: evals}\n  - write: out.jsonl\n"
    )  # fmt: skip
    done = kitchen.run(plugins=(plugin,))
    assert [r["messages"][0]["content"] for r in kitchen.read("out.jsonl")][1] == "q0 of 3+1"
    assert set(done.results["more"].manifest["artefacts"]) == {"rows", "others"}


def test_a_port_that_cannot_be_read_by_rows_says_where_to_read_it(kitchen, plugin):
    kitchen.rows("evals.jsonl", [chat("e", "e")])
    kitchen.recipe(
        "  - id: evals\n    load: {path: evals.jsonl, license: MIT, role: eval}\n" + LOAD
        + "  - filter.ops.porty:\n    from: {against: evals}\n"
    )  # fmt: skip
    with pytest.raises(StepError, match="reads its port `against` where rows run") as error:
        kitchen.run(plugins=(plugin,))
    assert "`fit`" in error.value.help


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("turns: stage", "wrote column `stage`, which it did not declare"),
        ("turns: odd", "wrote column `odd`, which it did not declare"),
        ("staged:", "did not write column `stage`, which it declares"),
    ],
)
def test_a_mix_writes_what_it_declares(kitchen, plugin, step, words):
    fails(kitchen, plugin, f"  - mix.ops.{step}\n", words)


def test_a_pack_need_declare_nothing(kitchen, plugin):
    run(kitchen, plugin, "  - mix.ops.staged: stage\n  - pack.ops.each:\n  - write: out.jsonl\n")
    assert [(r["input_ids"], r["labels"], r["seq_lengths"], r["stage"]) for r in kitchen.read("out.jsonl")] == [
        ([1, 2, 3], [-100, 2, 3], [3], "a")
    ] * 3


def test_a_pack_takes_the_tokens_that_are_there(kitchen, plugin):
    kitchen.recipe(
        LOAD + "  - format.tokens: {tokenizer: tok}\n  - pack.ops.given:\n  - write: out.jsonl\n",
        head="models: {tok: {use: tokenizer}}\n",
    )
    kitchen.run(plugins=(plugin,))
    assert [len(r["input_ids"]) for r in kitchen.read("out.jsonl")] == [3, 3, 3]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("labels", "another number of `labels` than of `input_ids`, row "),
        ("none", "must give `input_ids` and `labels`"),
        ("text", "gave values for `input_ids` that are no lists of token ids"),
        ("twice", "packs the same tokens twice"),
    ],
)
def test_a_wrong_pack_is_told(kitchen, plugin, wrong, words):
    fails(kitchen, plugin, f"  - pack.ops.each: {wrong}\n", words)


def test_no_pack_crosses_a_stage(kitchen, plugin):
    kitchen.rows("rows.jsonl", [chat(f"q{i}", "a", stage=s) for i, s in enumerate("aab")])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT, columns: {stage: stage}}\n  - pack.ops.each: stages\n")
    with pytest.raises(StepError, match="packs rows of two stages together"):
        kitchen.run(plugins=(plugin,))


def test_a_write_need_declare_nothing(kitchen, plugin):
    run(kitchen, plugin, "  - write.ops.text: out.txt\n")
    assert (kitchen.folder / "out.txt").read_text() == "q0\nq1\nq2\n"


def test_commands_of_an_observer_named_before_the_command(kitchen):
    from sftrecipe.cli.app import _named_first

    assert _named_first(["--with", "a", "--with=b", "run", "--with", "c"]) == ["a", "b"]
    assert _named_first(["--with"]) == _named_first(["run"]) == _named_first(["--without", "x"]) == []
    assert "unknown observer `nobody`" in kitchen.cli("--with", "nobody", "check", "x.yaml", check=2).stderr


WHOLE = '''
import numpy as np
import polars as pl
from sftrecipe import Choice, Param, Select, Tag

class Whole(Select):
    """Asks the data set for what it may not."""
    reads = ("query",)
    wrong: str = Param(positional=True)
    def choose(self, data):
        if self.wrong == "lambda":
            data.map(lambda frame: frame, columns=("query",))
        elif self.wrong == "closure":
            def inner(frame): return frame
            data.map(inner, columns=("query",))
        elif self.wrong == "number":
            data.map(number, columns=("query",))
        elif self.wrong == "take":
            data.take(np.array([7]), "query")
        assert sum(data.map(count, columns=("query",)).frame("n")["n"]) == len(data)
        assert sum(data.map(self.method, 2, columns=("query",)).frame("n")["n"]) == 2 * len(data)
        return Choice(np.arange(len(data)))
    def method(self, frame, times):
        return count(frame).select(pl.col("n") * times)

def count(frame):
    return pl.DataFrame({"n": [len(frame)]})

def number(frame):
    return len(frame)

class Undeclared(Tag):
    """Reads what it did not declare."""
    writes = {"a": "text"}
    def tag_row(self, row):
        return {"a": row["response"]}

class Batchwise(Tag):
    """The same, a batch at a time."""
    writes = {"a": "text"}
    def tag(self, rows):
        return {"a": rows["response"]}
'''


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("select.ops.whole: lambda", "`map` cannot send its function"),
        ("select.ops.whole: closure", "`map` cannot send its function"),
        ("select.ops.whole: number", "`map`: number gave int; a DataFrame is needed"),
        ("select.ops.whole: take", "`take` asks for row 7; there are 3, counted from 0"),
        ("tag.ops.undeclared:", r"KeyError: 'response' \(ops.py:\d+\); `response` is not among its `reads`, row "),
        ("tag.ops.batchwise:", r"\(ops.py:\d+\); `response` is not among its `reads`"),
    ],
)
def test_what_may_not_be_asked_for_is_told(kitchen, plugin, step, words):
    plugin.write_text(WHOLE)
    with pytest.raises(StepError, match=words) as error:
        run(kitchen, plugin, f"  - {step}\n")
    assert error.value.code == "P010"


def test_functions_and_methods_are_sent_to_rows(kitchen, plugin):
    plugin.write_text(WHOLE)
    run(kitchen, plugin, "  - select.ops.whole: nothing\n")


def test_names_of_plugin_files_are_words_and_meet_no_other(kitchen, plugin):
    (kitchen.folder / "my-ops.py").write_text(WHOLE)
    kitchen.recipe(LOAD + "  - select.my_ops.whole: nothing\n")
    kitchen.run(plugins=(kitchen.folder / "my-ops.py",))
    (kitchen.folder / "my ops.py").write_text(WHOLE + "# another\n")
    with pytest.raises(UsageError, match="another file brings `select.my_ops.whole` too"):
        kitchen.run(plugins=(kitchen.folder / "my-ops.py", kitchen.folder / "my ops.py"))
