"""Every verb's operator may hand back nonsense: the error names it, nothing is traced back, and no row is lost in silence."""

from __future__ import annotations

import pytest

from sftrecipe.errors import StepError

HEAD = """
import numpy as np, polars as pl, sys
from sftrecipe import *
from sftrecipe import Answer, Format, Load, Write
from sftrecipe.verbs import BadRow, Dropped

def turn(text): return [{"role": "user", "content": text}]

"""

CASES = {
    # filter
    "a mask of numbers": ("Filter", "reads = ('query',)\n    def keep(self, rows): return [1, 0] * (len(rows) // 2)", "a mask of True and False is needed"),
    "no mask": ("Filter", "def keep(self, rows): return None", "a mask of True and False is needed"),
    "a mask with NaN": ("Filter", "def keep(self, rows): return [float('nan')] * len(rows)", "a mask of True and False is needed"),
    "objects as a mask": ("Filter", "def keep(self, rows): return [object()] * len(rows)", "a mask of True and False is needed"),
    "a row error of a batch": ("Filter", "def keep(self, rows): raise RowError('bad', 'x')", "only forms that take one row may"),
    "no code": ("Filter", "def keep_row(self, row): return ''", "True, False or a code is needed"),
    "a lone surrogate as code": ("Filter", "def keep_row(self, row): return '\\ud800'", "cannot be used: UnicodeEncodeError"),
    "sys.exit": ("Filter", "def keep_row(self, row): sys.exit(3)", "raised SystemExit: 3 (odd.py"),
    "words as row numbers": ("Filter", "def choose(self, data): return Choice(np.array(['a']))", "row numbers are needed"),
    "a cause that is not there": ("Filter", "def choose(self, data): return Choice(np.array([0]), [Dropped(np.array([1]), 'x', np.array([99]))])", "not there"),
    "too few reasons": ("Filter", "def choose(self, data): return Choice(np.array([0]), [Dropped(np.array([1]), ['a', 'b'])])", "gave 2 codes for 1 rows dropped"),
    # select
    "NaN as row numbers": ("Select", "def choose(self, data): return Choice(np.array([0.0, float('nan')]))", "row numbers are needed"),
    "a short column": ("Select", "def choose(self, data): return Choice(np.arange(len(data)), columns={'z': [1]})", "which it did not declare"),
    # tag, score
    "a struct as text": ("Tag", "writes = {'t': 'text'}\n    def tag(self, rows): return {'t': [{'a': 1}] * len(rows)}", "declared as text"),
    "sys.exit of a batch": ("Tag", "writes = {'t': 'text'}\n    def tag(self, rows): sys.exit()", "raised SystemExit"),
    "a surrogate in a tag": ("Tag", "writes = {'t': 'text'}\n    def tag_row(self, row): return {'t': '\\ud800'}", "that are no text"),
    "words as a score": ("Score", "writes = {'s': 'float'}\n    def score_row(self, row): return {'s': 'many'}", "gave 'many' for the score `s`, row"),
    "a list as a score": ("Score", "writes = {'s': 'float'}\n    def score_row(self, row): return {'s': [1.0]}", "gave [1.0] for the score `s`, row"),
    # evolve
    "nothing evolved": ("Evolve", "def evolve_row(self, row): return None", "Evolved is needed"),
    "no children": ("Evolve", "def evolve_row(self, row): return Evolved(None)", "a list of Child is needed"),
    "a dict as child": ("Evolve", "def evolve_row(self, row): return Evolved([{'messages': turn('x')}])", "Child is needed"),
    "a text as messages": ("Evolve", "def evolve_row(self, row): return Evolved([Child('text')])", "no list of {role, content}"),
    "a number as content": ("Evolve", "def evolve_row(self, row): return Evolved([Child(turn(3))])", "no list of {role, content}"),
    "a surrogate as content": ("Evolve", "def evolve_row(self, row): return Evolved([Child(turn('\\ud800'))])", "no list of {role, content}"),
    "a parent that vanishes": ("Evolve", "def evolve_row(self, row): return Evolved([], parent='vanish')", "stay or leave"),
    "nothing evolved from all": ("Evolve", "async def evolve(self, data): return None", "a list of Child is needed"),
    # answer
    "a number as answer": ("Answer", "writes = {'messages': 'messages'}\n    rewrites = ('response',)\n    reads = ('messages',)\n    def answer_row(self, row): return 7", "a dict or a list of dicts"),
    "a number as text": ("Answer", "writes = {'messages': 'messages'}\n    rewrites = ('response',)\n    reads = ('messages',)\n    def answer_row(self, row): return {'text': 5}", "answered int as `text`"),
    "numbers as candidates": ("Answer", "writes = {'candidates': 'candidates'}\n    def answer_row(self, row): return [1, 2]", "other things than dicts"),
    # mix, pack
    "words as drawn rows": ("Mix", "def allot(self, inputs):\n        n = next(iter(inputs))\n        return pl.DataFrame({'input': [n], 'row': ['a']})", "allots rows by String"),
    "nulls as drawn rows": ("Mix", "def allot(self, inputs):\n        n = next(iter(inputs))\n        return pl.DataFrame({'input': [n, n], 'row': [0, None]})", "allots rows by Int64"),
    "no tokens": ("Pack", "def tokens(self, rows): return None\n    def plan(self, lengths, data): return None", "must give `input_ids`"),
    "words as tokens": ("Pack", "def tokens(self, rows): return {'input_ids': [['a']] * len(rows), 'labels': [['a']] * len(rows)}\n    def plan(self, lengths, data): return None", "no lists of token ids"),
    "fewer labels than tokens": ("Pack", "def tokens(self, rows): return {'input_ids': [[1, 2]] * len(rows), 'labels': [[1]] * len(rows)}\n    def plan(self, lengths, data): return None", "another number of `labels`"),
    "a plan with nulls": ("Pack", "def tokens(self, rows): return {'input_ids': [[1]] * len(rows), 'labels': [[1]] * len(rows)}\n    def plan(self, lengths, data): return pl.DataFrame({'pack': [None, 0], 'row': [0, 1], 'start': [0, 0], 'stop': [1, 1]})", "in whole numbers"),
    # measure, write
    "a path as a name": ("Measure", "def measure(self, inputs): return {'../../escaped': 1}", "no name for an artefact"),
    "a manifest of its own": ("Write", "path: str = Param('folder')\n    def write(self, data, folder): (folder / 'manifest.json').write_text('x')", "that name is taken"),
    "no file": ("Write", "path: str = Param('out/x.txt')\n    def write(self, data, folder): return {}", "wrote no x.txt"),
    "no facts": ("Write", "path: str = Param('folder')\n    def write(self, data, folder): return 'done'", "a mapping of facts"),
    # load
    "no frames": ("Load", "def pieces(self, size): return [{'identity': 'a'}]\n    def read(self, piece): yield 'x'", "yields frames and bad rows"),
    "no pieces": ("Load", "def pieces(self, size): return None\n    def read(self, piece): return ()", "cannot be used: TypeError"),
    "pieces that raise": ("Load", "def pieces(self, size): raise KeyError('a')\n    def read(self, piece): return ()", "cannot be used: KeyError"),
    "a row error while reading": ("Load", "def pieces(self, size): return [{'identity': 'a'}]\n    def read(self, piece): raise RowError('bad', 'x')", "raised RowError"),
}  # fmt: skip


@pytest.mark.parametrize(("verb", "body", "words"), CASES.values(), ids=CASES)
def test_nonsense_is_told_with_the_name_of_its_author(kitchen, numbered, verb, body, words):
    kitchen.rows("rows.jsonl", numbered(12))
    (kitchen.folder / "odd.py").write_text(f'{HEAD}class It({verb}):\n    """Odd."""\n    {body}\n')
    load = "" if verb == "Load" else "  - load: {path: rows.jsonl, license: MIT}\n"
    write = "" if verb == "Write" else "  - write: out.jsonl\n"
    kitchen.recipe(f"{load}  - {verb.lower()}.odd.it:\n{write}")
    with pytest.raises(StepError) as error:
        kitchen.run(plugins=[kitchen.folder / "odd.py"])
    assert words in str(error.value)
    assert error.value.code == "P010"
    assert error.value.step == f"{verb.lower()}.odd.it"
    assert f"{verb.lower()}.odd.it" in str(error.value) or verb == "Measure"
    assert not list(kitchen.folder.glob("**/*.part"))
    assert not list(kitchen.folder.glob("**/.sftrecipe-*"))
