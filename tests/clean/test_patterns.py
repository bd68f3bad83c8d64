"""Pattern packs: every expression hits its examples, none hits the texts that only talk about the thing."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
import yaml

from sftrecipe import message
from sftrecipe.rows import Rows
from sftrecipe_clean.patterns import Pack, Patterns, TagPatterns, compile_pattern, hits, load_pack, own_pack, pack_names

DATA = Path(__file__).parents[1] / "data" / "clean" / "texts.jsonl"
TEXTS = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
PACKS = {name: yaml.safe_load(files("sftrecipe_clean.packs").joinpath(f"{name}.yaml").read_text("utf-8")) for name in pack_names()}
HITS = [(name, pattern["about"], text) for name, pack in PACKS.items() for pattern in pack["patterns"] for text in pattern["hits"]]
PASSES = [(name, text) for name, pack in PACKS.items() for text in pack["passes"]]

# what a pack finds is part of the result: raise `version` of Patterns and TagPatterns, and the pack's own, when one of these changes
DIGESTS: dict[str, tuple[int, str]] = {
    "cutoff": (2, "ef6e0623c56f"),
    "disclaimer": (1, "f67195bb9962"),
    "identity": (2, "e2642734b815"),
    "refusal": (2, "190e8242864b"),
}


def bound(cls, **params):
    operator = cls(**params, **({} if "roles" in params else {"text": "response"}))
    operator.text = pl.col("response")
    return operator


def found(texts, name):
    return hits(pl.Series(texts, dtype=pl.String), load_pack(name)).tolist()


def test_the_packs_that_ship():
    assert pack_names() == ["cutoff", "disclaimer", "identity", "refusal"]
    assert {name: pack["pack"] for name, pack in PACKS.items()} == {name: name for name in pack_names()}
    assert all(sum(len(p["hits"]) for p in pack["patterns"]) >= 8 and len(pack["passes"]) >= 10 for pack in PACKS.values())


@pytest.mark.parametrize(("name", "about", "text"), HITS, ids=[f"{n}: {t[:40]}" for n, _, t in HITS])
def test_each_pattern_hits_its_examples(name, about, text):
    pack = PACKS[name]
    pattern = next(p for p in pack["patterns"] if p["about"] == about)
    alone = Pack(name, compile_pattern(pattern["regex"], pack.get("names", {})), tuple(pack["needs"]), pack.get("within"))
    assert hits(pl.Series([text]), alone).tolist() == [True]
    assert found([f"Well. {text}" if not pattern["regex"].startswith("^") else text], name) == [True]


@pytest.mark.parametrize(("name", "text"), PASSES, ids=[f"{n}: {t[:40]}" for n, t in PASSES])
def test_no_pattern_hits_hard_negatives(name, text):
    assert found([text], name) == [False]


def test_real_answers_of_people_pass():
    people = [row["text"] for row in TEXTS if row["source"] in ("self-instruct", "gsm8k", "crosswoz", "gpteacher-roleplay")]
    assert len(people) > 40
    assert {name: sum(found(people, name)) for name in pack_names()} == dict.fromkeys(pack_names(), 0)


def test_real_identity_rows_are_found():
    rows = [row["text"].replace("{{name}}", "ChatGPT").replace("{{author}}", "OpenAI") for row in TEXTS if row["source"] == "lf-identity"]
    assert len(rows) >= 20
    assert sum(found(rows, "identity")) >= 0.9 * len(rows)


def test_identity_rows_that_are_still_to_be_filled_in_are_found():
    rows = [row["text"] for row in TEXTS if row["source"] == "lf-identity"]
    assert sum("{{" in row for row in rows) >= 15
    assert sum(found(rows, "identity")) >= 0.9 * len(rows)


@pytest.mark.parametrize("maker", ["OpenAI", "Anthropic", "DeepSeek", "Mistral AI", "Cohere", "xAI", "Moonshot AI", "Zhipu AI", "MiniMax", "LMSYS",
                                   "Meta AI", "Alibaba Cloud", "Google DeepMind", "Inflection AI", "Stability AI", "Nous Research", "iFLYTEK"])  # fmt: skip
def test_makers(maker):
    said = [f"I was created by {maker}.", f"As an AI model trained by {maker}, I have limits.", f"{maker} built me."]
    about = [f"{maker} was founded by researchers.", f"A model trained by {maker} won the contest.", f"I think {maker} has a good model."]
    assert found(said + about, "identity") == [True] * 3 + [False] * 3


def test_case_and_apostrophes_do_not_matter():
    assert found(["i’m chatgpt, hello", "I'M CHATGPT."], "identity") == [True, True]


def test_within_is_counted_in_characters():
    late = "é" * 190 + " I cannot provide that."
    assert found([late, "é" * 170 + " I cannot provide that."], "refusal") == [False, True]
    refusal = load_pack("refusal")
    assert hits(pl.Series([late]), refusal, 300).tolist() == [True]


def test_null_is_no_hit_and_undefined_for_the_filter():
    rows = Rows(pl.DataFrame({"response": ["I am ChatGPT.", "Fine.", None]}))
    kept = bound(Patterns, packs=["identity", "cutoff"]).keep(rows)
    assert {name: mask.to_list() for name, mask in kept.items()} == {"identity": [False, True, None], "cutoff": [True, True, None]}


def test_words_are_literal_and_regex_is_not():
    rows = Rows(pl.DataFrame({"response": ["What IS this (x+y)?", "is this xxy", "ÜBER uns"]}))
    kept = bound(Patterns, words=["(x+y)", "über"], regex=["x+y", "^What"]).keep(rows)
    assert {name: mask.to_list() for name, mask in kept.items()} == {"words": [False, True, False], "regex": [False, False, True]}


def test_words_and_text_with_all_kinds_of_signs():
    signs = "".join(chr(c) for c in range(32, 127))
    assert hits(pl.Series([f"a{signs}b", signs[:-1]]), own_pack("words", words=[signs])).tolist() == [True, False]


def test_roles_look_at_every_turn():
    talk = [message("user", "I am ChatGPT."), message("assistant", "I am GPT-4."), message("user", "q"), message("assistant", "Fine.")]
    frame = pl.DataFrame({"messages": [talk, talk[:1], talk[2:], None], "response": ["Fine.", None, "Fine.", None]})
    kept = bound(Patterns, packs=["identity"], roles=["assistant"]).keep(Rows(frame))
    assert kept["identity"].to_list() == [False, True, True, None]
    both = bound(Patterns, packs=["identity"], roles=["assistant", "user"]).keep(Rows(frame))
    assert both["identity"].to_list() == [False, False, True, None]
    assert Patterns(packs=["identity"], roles=["assistant"]).flow({"messages": "messages"}).reads == ("messages",)
    assert Patterns(packs=["identity"], text="response").flow({"messages": "messages"}).reads == ("response",)


def test_every_answer_is_looked_at_where_nothing_is_said():
    said = message("assistant", "I was created by OpenAI.")
    talk = [message("user", "Who are you?"), said, message("user", "Bye!"), message("assistant", "Bye.")]
    frame = pl.DataFrame({"messages": [talk, talk[2:], talk[:1], [message("user", said["content"])]]})
    assert Patterns(packs=["identity"]).keep(Rows(frame))["identity"].to_list() == [False, True, True, True]
    assert TagPatterns(packs=["identity"]).tag(Rows(frame))["patterns"].to_list() == [["identity"], [], [], []]
    assert Patterns(packs=["identity"]).flow({"messages": "messages"}).reads == ("messages",)


def test_tag_names_the_packs():
    rows = Rows(pl.DataFrame({"response": ["I am ChatGPT. My knowledge cutoff is 2021.", "Fine.", None]}))
    operator = bound(TagPatterns, packs=["cutoff", "identity"], words=["fine"], into="flags")
    assert operator.tag(rows)["flags"].to_list() == [["cutoff", "identity"], ["words"], None]
    assert operator.flow({"messages": "messages"}).writes == {"flags": "list[text]"}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "give `packs`"),
        ({"packs": ["identiy"]}, "did you mean `identity`"),
        ({"packs": ["zzz"]}, "there are cutoff, disclaimer, identity, refusal"),
        ({"regex": ["(open"]}, "`regex` '(open'"),
        ({"words": [""]}, "empty text"),
        ({"words": ["x"], "roles": ["user"], "text": "query"}, "not both"),
        ({"words": ["x"], "roles": []}, "`roles` is empty"),
    ],
)
def test_problems(params, problem):
    for cls in (Patterns, TagPatterns):
        assert [problem in text for text in cls(**params).check()] == [True]


def test_unknown_packs_raise():
    with pytest.raises(KeyError, match="zzz"):
        load_pack("zzz")


def test_a_changed_pack_needs_a_new_version():
    made = {name: (pack["version"], hashlib.sha256(repr(load_pack(name)).encode()).hexdigest()[:12]) for name, pack in PACKS.items()}
    assert made == DIGESTS
    assert (Patterns.version, TagPatterns.version) == (2, 2)
