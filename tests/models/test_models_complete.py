"""Raw continuations, samples by number, and what providers without them say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftrecipe.errors import StepError
from sftrecipe.models import ChatSession, Limits, Provider, Reply, Request, run_rows
from sftrecipe_models.script import Script

DATA = Path(__file__).parents[1] / "data" / "selection"


def session(provider, folder, mode="use"):
    provider.name = "fake"
    return ChatSession(provider, folder, mode, name="m")


def complete(chat, prompts, **sampling):
    async def work(prompt):
        return [r.text for r in await chat.complete(prompt, **sampling)]

    return run_rows(prompts, work)


class Plain(Provider):
    """Answers with what it was asked; raw texts only where `completes` is set."""

    serves = ("Chat",)
    place = "loop"

    def identity(self):
        return {"provider": "plain"}

    def limits(self):
        return Limits()

    def open(self):
        return self

    concurrency, adaptive = 8, False

    async def send(self, request):
        self.__dict__.setdefault("asked", []).append(request)
        return Reply(f"{request.prompt or request.messages[-1]['content']}/{request.sample}")

    def redact(self, text):
        return text

    async def leave(self):
        pass

    def close(self):
        pass


def test_a_provider_that_cannot_go_on_from_raw_text_says_so(tmp_path):
    chat = session(Plain(), tmp_path)
    with pytest.raises(StepError, match="cannot go on from a raw text") as error:
        complete(chat, ["<|user|>"])
    assert error.value.code == "R631"
    chat.close()


def test_a_raw_text_is_another_request_than_a_question(tmp_path):
    provider = Plain()
    provider.completes = True
    chat = session(provider, tmp_path)

    async def both(text):
        return (await chat.chat([{"role": "user", "content": text}]))[0].text, (await chat.complete(text))[0].text

    assert run_rows(["x"], both) == [("x/0", "x/0")]
    assert [r.prompt for r in provider.asked] == [None, "x"]
    chat.close()
    again = session(provider, tmp_path)
    assert complete(again, ["x"]) == [["x/0"]]
    assert len(provider.asked) == 2
    again.close()


def test_samples_by_number_are_those_of_one_long_draw(tmp_path):
    provider = Plain()
    chat = session(provider, tmp_path)

    async def draws(text):
        asked = [{"role": "user", "content": text}]
        early = await chat.chat(asked, n=2, temperature=1)
        late = await chat.chat(asked, n=3, first=2, temperature=1)
        whole = await chat.chat(asked, n=5, temperature=1)
        return [r.text for r in early + late], [r.text for r in whole]

    apart, whole = run_rows(["q"], draws)[0]
    assert apart == whole == [f"q/{k}" for k in range(5)]
    assert sorted(r.sample for r in provider.asked) == [0, 1, 2, 3, 4]
    assert all("first" not in r.sampling for r in provider.asked)
    chat.close()


def test_scripts_match_raw_texts(tmp_path):
    chat = session(Script(replies=[{"match": "user\n", "reply": ["a", "b"]}]), tmp_path)
    assert complete(chat, ["<|im_start|>user\n"], n=3) == [["a", "b", "a"]]
    chat.close()


def test_a_request_knows_its_prompt():
    assert Request([{"role": "raw", "content": "x"}]).prompt == "x"
    assert Request([{"role": "user", "content": "x"}]).prompt is None
    assert Request([]).prompt is None


def test_an_endpoint_for_raw_texts_is_asked(tmp_path):
    pytest.importorskip("aiohttp")
    from sftrecipe.testing.server import ScriptedServer
    from sftrecipe_models.openai import OpenAI

    with ScriptedServer(replies={"<|user|>": "What now?"}) as server:
        chat = session(OpenAI(model="m", base_url=server.url), tmp_path)
        assert complete(chat, ["<|user|>"], max_tokens=5, stop=["<|end|>"]) == [["What now?"]]
        assert complete(chat, ["<|user|>"], max_tokens=5, stop=["<|end|>"]) == [["What now?"]]
        assert server.stats()["requests"] == 1
        chat.close()


def test_bodies_and_answers_of_both_endpoints():
    from sftrecipe_models import wire

    body = json.loads(wire.body("m", Request([{"role": "raw", "content": "x"}], {"max_tokens": 3, "seed": 5}, 2), wire.Dialect()))
    assert body == {"model": "m", "prompt": "x", "max_tokens": 3, "seed": 7}
    said = wire.read(json.dumps({"choices": [{"text": " y", "finish_reason": "length"}]}).encode(), "application/json", "x")
    assert (said.text, said.finish_reason) == (" y", "length")


def test_a_local_model_goes_on_from_raw_text_without_its_template(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import numpy as np

    from sftrecipe_models.transformers import Transformers

    config = transformers.GPT2Config(**json.loads((DATA / "tiny_model.json").read_text())["config"])
    model = transformers.GPT2LMHeadModel(config)
    with np.load(DATA / "tiny_gpt2_weights.npz") as weights:
        model.load_state_dict({name: torch.tensor(weights[name]) for name in weights.files}, strict=False)
    model.tie_weights()
    model.save_pretrained(tmp_path / "tiny", safe_serialization=True)
    file = str(DATA / "tiny_tokenizer.json")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=file, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "TEMPLATE {{ messages[0].content }}"
    tokenizer.save_pretrained(tmp_path / "tiny")
    chat = session(Transformers(model=str(tmp_path / "tiny"), device="cpu"), tmp_path, "off")
    ids = torch.tensor([tokenizer("the cat", add_special_tokens=False)["input_ids"]])
    wanted = model.eval().generate(ids, max_new_tokens=6, do_sample=False)[0][ids.shape[1] :]
    assert complete(chat, ["the cat"], temperature=0, max_tokens=6) == [[tokenizer.decode(wanted, skip_special_tokens=True)]]
    chat.close()
