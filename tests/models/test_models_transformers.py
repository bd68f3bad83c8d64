"""The local provider on a tiny GPT-2: real loading, real generation, checked against plain forward passes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sftrecipe.errors import RowError, StepError  # noqa: E402
from sftrecipe.models import ChatSession, run_rows  # noqa: E402
from sftrecipe_models.transformers import Transformers  # noqa: E402

DATA = Path(__file__).parent.parent / "data" / "selection"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as a folder that `from_pretrained` reads (safetensors)."""
    made = tmp_path_factory.mktemp("tiny")
    config = transformers.GPT2Config(**json.loads((DATA / "tiny_model.json").read_text())["config"])
    model = transformers.GPT2LMHeadModel(config)
    with np.load(DATA / "tiny_gpt2_weights.npz") as weights:
        state = {name: torch.tensor(weights[name]) for name in weights.files}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    model.save_pretrained(made, safe_serialization=True)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(DATA / "tiny_tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    tokenizer.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def plain(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer


def session(folder, store, mode="use", **params):
    return ChatSession(Transformers(model=str(folder), device="cpu", **params), store, mode, name="local")


def ask(chat, texts, **sampling):
    async def work(text):
        return (await chat.chat([{"role": "user", "content": text}], **sampling))[0]

    out = run_rows(texts, work)
    chat.close()
    return out


def prompt_ids(plain, text):
    return plain[1](f"user: {text}\nassistant:")["input_ids"]


TEXTS = ["hello", "a somewhat longer question about rivers", "x", "what is 2 + 2", "the end"]


def test_greedy_answers_equal_plain_forward_passes(folder, plain, tmp_path):
    model, tokenizer = plain
    replies = ask(session(folder, tmp_path, batch=3), TEXTS, temperature=0, max_tokens=8)
    for text, reply in zip(TEXTS, replies, strict=True):
        ids = prompt_ids(plain, text)
        new = []
        for _ in range(8):
            with torch.no_grad():
                token = int(model(torch.tensor([ids + new])).logits[0, -1].argmax())
            new.append(token)
            if token == tokenizer.eos_token_id:
                break
        body = [t for t in new if t != tokenizer.eos_token_id]
        assert reply.text == tokenizer.decode(body, skip_special_tokens=True)
        assert (reply.tokens_in, reply.tokens_out) == (len(ids), len(new))
        assert reply.finish_reason == ("stop" if new[-1] == tokenizer.eos_token_id else "length")


def test_logprobs_are_those_of_the_model(folder, plain, tmp_path):
    model, tokenizer = plain
    (reply,) = ask(session(folder, tmp_path), ["rate it"], temperature=0, max_tokens=3, logprobs=5)
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(plain, "rate it")])).logits[0, -1]
    values, ids = torch.log_softmax(logits, 0).topk(5)
    expected = {}
    for token, value in zip(ids.tolist(), values.tolist(), strict=True):
        expected.setdefault(tokenizer.decode([token]), value)
    assert reply.logprobs[0] == pytest.approx(expected, abs=1e-4)
    assert len(reply.logprobs) == reply.tokens_out


@pytest.mark.parametrize("sampling", [{"temperature": 1.0}, {"temperature": 0.8, "top_p": 0.9}, {"temperature": 1.0, "seed": 11}])
def test_a_sampled_answer_depends_on_its_request_not_on_its_batch(folder, tmp_path, sampling):
    alone = [ask(session(folder, tmp_path, "off", batch=1), [text], max_tokens=12, **sampling)[0] for text in TEXTS]
    together = ask(session(folder, tmp_path, "off", batch=5), TEXTS, max_tokens=12, **sampling)
    turned = ask(session(folder, tmp_path, "off", batch=2), TEXTS[::-1], max_tokens=12, **sampling)[::-1]
    assert [r.text for r in alone] == [r.text for r in together] == [r.text for r in turned]


def test_samples_and_seeds_differ(folder, tmp_path):
    chat = session(folder, tmp_path)
    samples = asyncio.run(chat.chat([{"role": "user", "content": "go"}], n=6, temperature=1.0, max_tokens=12))
    assert len({r.text for r in samples}) > 3
    chat.close()


def test_sampling_follows_the_models_distribution(folder, plain, tmp_path):
    """2,000 first tokens against the softmax, by the largest difference of a share."""
    model, tokenizer = plain
    chat = session(folder, tmp_path, "off", batch=100)
    samples = asyncio.run(chat.chat([{"role": "user", "content": "go"}], n=2000, temperature=1.0, max_tokens=1, logprobs=1))
    chat.close()
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(plain, "go")])).logits[0, -1]
    expected: dict[str, float] = {}
    for token, share in enumerate(torch.softmax(logits, 0).tolist()):
        word = "" if token == tokenizer.eos_token_id else tokenizer.decode([token], skip_special_tokens=True)
        expected[word] = expected.get(word, 0.0) + share
    for word in sorted(expected, key=lambda w: -expected[w])[:10]:
        seen = sum(r.text == word for r in samples) / len(samples)
        assert abs(seen - expected[word]) < 5 * (expected[word] * (1 - expected[word]) / 2000) ** 0.5 + 1e-3


def test_top_p_keeps_to_the_likeliest_tokens(folder, plain, tmp_path):
    model, tokenizer = plain
    with torch.no_grad():
        best = int(model(torch.tensor([prompt_ids(plain, "go")])).logits[0, -1].argmax())
    chat = session(folder, tmp_path, "off", batch=50)
    samples = asyncio.run(chat.chat([{"role": "user", "content": "go"}], n=50, temperature=1.0, top_p=1e-6, max_tokens=1))
    chat.close()
    assert {r.text for r in samples} == {tokenizer.decode([best], skip_special_tokens=True)}


def test_stop_words_end_an_answer(folder, tmp_path):
    (whole,) = ask(session(folder, tmp_path), ["tell me"], temperature=1.0, seed=1, max_tokens=30)
    word = whole.text[3:5]
    (cut,) = ask(session(folder, tmp_path), ["tell me"], temperature=1.0, seed=1, max_tokens=30, stop=[word])
    assert cut.text == whole.text[: whole.text.index(word)]
    assert cut.finish_reason == "stop"


def test_answers_are_recorded_and_replayed(folder, tmp_path):
    first = ask(session(folder, tmp_path), TEXTS, max_tokens=5)
    again = session(folder, tmp_path, "only")
    assert ask(again, TEXTS, max_tokens=5) == first
    assert again.usage()["cached"] == len(TEXTS)


def test_a_model_serves_several_loops_and_is_loaded_once(folder, tmp_path, monkeypatch):
    import sftrecipe_models.transformers as module

    loads = []
    load = module._load
    monkeypatch.setattr(module, "_load", lambda *args: loads.append(1) or load(*args))
    chat = session(folder, tmp_path)

    async def work(text):
        return (await chat.chat([{"role": "user", "content": text}], max_tokens=3))[0]

    for part in (TEXTS[:2], TEXTS[2:]):
        assert all(r.tokens_out for r in run_rows(part, work))
    chat.close()
    assert loads == [1]


def test_a_conversation_that_does_not_fit_fails_its_row(folder, tmp_path):
    out = ask(session(folder, tmp_path), ["short", "long " * 2000], max_tokens=4)
    assert isinstance(out[1], RowError) and out[1].code == "context_overflow"
    assert out[0].tokens_out


def test_identity_follows_the_weights(folder, tmp_path):
    import shutil

    one = Transformers(model=str(folder)).identity()
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    assert Transformers(model=str(copy)).identity() == one
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert Transformers(model=str(copy)).identity() != one
    assert Transformers(model="org/name", revision="abc").identity()["revision"] == "abc"


def test_a_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StepError, match="cannot be loaded") as told:
        ask(session(tmp_path / "empty", tmp_path / "store"), ["x"])
    assert told.value.code == "R621"


def test_a_chat_template_is_used(folder, tmp_path):
    import shutil

    copy = tmp_path / "templated"
    shutil.copytree(folder, copy)
    tokenizer = transformers.AutoTokenizer.from_pretrained(copy)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    tokenizer.save_pretrained(copy)
    (reply,) = ask(session(copy, tmp_path), ["hi"], max_tokens=2)
    assert reply.tokens_in == len(tokenizer("[user]hi>", add_special_tokens=False)["input_ids"])
