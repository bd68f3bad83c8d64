from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.chat import BUILT_IN
from sftrecipe.errors import StepError
from sftrecipe_format.tokenizer import BUILTIN, LiveTokenizer, TokenizerModel, find

BUILT = TokenizerModel().open()


def folder(path: Path, config: dict[str, Any] | None = None, jinja: str | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "tokenizer.json").write_text(BUILTIN.read_text(encoding="utf-8"), encoding="utf-8")
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if jinja is not None:
        (path / "chat_template.jinja").write_text(jinja, encoding="utf-8")
    return path


def test_the_builtin_is_the_file_that_its_note_speaks_of() -> None:
    raw = BUILTIN.read_bytes()
    assert hashlib.sha256(raw).hexdigest() in BUILTIN.with_suffix(".md").read_text(encoding="utf-8")
    assert len(raw) <= 250_000
    assert len(json.loads(raw)["model"]["vocab"]) == 4096


def test_the_builtin_knows_its_control_tokens() -> None:
    assert BUILT.control_tokens == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert BUILT.eos_id == BUILT.id_of("<|im_end|>") == 2
    assert BUILT.encode("a<|im_end|>") == [BUILT.id_of("a"), 2]
    assert BUILT.chat_template == BUILT_IN["chatml"].source
    assert BUILT.id_of("no such token") is None


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_comes_back_and_offsets_cover_it(text: str) -> None:
    ids = BUILT.encode(text)
    assert BUILT._fast.decode(ids, skip_special_tokens=False) == text
    assert BUILT.encode_batch([text, "x"])[0] == ids
    ((same, offsets),) = BUILT.encode_offsets([text])
    assert same == ids
    covered = {i for a, b in offsets for i in range(a, b)}
    assert covered == set(range(len(text)))


def test_it_reads_english_better_than_bytes() -> None:
    text = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    assert len(BUILT.encode(text)) < len(text) / 3


@pytest.mark.parametrize("by", ["folder", "file"])
def test_a_local_tokenizer(tmp_path: Path, by: str) -> None:
    config = {"eos_token": {"content": "<|endoftext|>"}, "bos_token": None, "chat_template": "from config"}
    home = folder(tmp_path / "tok", config)
    live = TokenizerModel(model=str(home if by == "folder" else home / "tokenizer.json")).open()
    assert (live.eos_id, live.chat_template, live.special_tokens) == (0, "from config", {"eos_token": "<|endoftext|>"})
    assert live.encode("Hello there") == BUILT.encode("Hello there")


def test_a_bare_file_has_no_end_unless_it_is_named(tmp_path: Path) -> None:
    home = str(folder(tmp_path / "tok"))
    assert TokenizerModel(model=home).open().eos_id is None
    assert TokenizerModel(model=home, eos="<|im_end|>").open().eos_id == 2
    with pytest.raises(StepError, match="not in the tokenizer's vocabulary"):
        TokenizerModel(model=home, eos="</s>").open()


def test_where_the_template_comes_from(tmp_path: Path) -> None:
    many = {"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}
    assert find(str(folder(tmp_path / "a", many))).template == "d"
    assert find(str(folder(tmp_path / "b", many, "j"))).template == "j"
    with pytest.raises(StepError, match="chat templates tool_use and none called default"):
        find(str(folder(tmp_path / "c", {"chat_template": many["chat_template"][:1]})))


def test_truncation_and_padding_in_the_file_are_ignored(tmp_path: Path) -> None:
    home = folder(tmp_path / "tok")
    raw = json.loads((home / "tokenizer.json").read_text(encoding="utf-8"))
    raw["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    raw["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    (home / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    text = "eight words are more than four tokens here"
    assert TokenizerModel(model=str(home)).open().encode_batch([text]) == [BUILT.encode(text)]


def test_identity_follows_what_results_depend_on(tmp_path: Path) -> None:
    plain = TokenizerModel(model=str(folder(tmp_path / "a"))).identity()
    assert plain == TokenizerModel(model=str(folder(tmp_path / "b", {"model_max_length": 9}))).identity()
    others = [
        TokenizerModel(model=str(folder(tmp_path / "c", {"chat_template": "t"}))),
        TokenizerModel(model=str(folder(tmp_path / "d", {"eos_token": "<|im_end|>"}))),
        TokenizerModel(model=str(tmp_path / "a"), eos="<|im_end|>"),
    ]
    assert len({json.dumps(o.identity(), sort_keys=True) for o in others} | {json.dumps(plain, sort_keys=True)}) == 4
    assert str(tmp_path) not in json.dumps(plain)


@pytest.mark.parametrize("model", ["missing.json", "./missing", "/nowhere/tok", "a/b/c"])
def test_a_path_that_is_not_there(model: str) -> None:
    with pytest.raises(StepError, match="no tokenizer at") as caught:
        TokenizerModel(model=model).identity()
    assert "`builtin`" in caught.value.help


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StepError, match=r"no tokenizer\.json that"):
        TokenizerModel(model=str(tmp_path)).open()
    (folder(tmp_path / "x") / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(StepError, match="is no JSON"):
        find(str(tmp_path / "x"))


def test_offline_without_a_cached_copy_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StepError, match=r"`acme/nothing` is not in the local cache") as caught:
        TokenizerModel(model="acme/nothing").identity()
    assert "HF_HUB_OFFLINE" in caught.value.help
    assert "builtin" in caught.value.help


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model acme/tok in an offline hub cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--acme--tok"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    (repo / "snapshots").mkdir()
    return repo


@pytest.mark.parametrize("jinja", ["the template", None])
def test_a_cached_hub_model_is_read_offline(cache: Path, jinja: str | None) -> None:
    folder(cache / "snapshots" / COMMIT, {"eos_token": "<|im_end|>", "chat_template": "from config"}, jinja)
    live = TokenizerModel(model="acme/tok").open()
    assert (live.eos_id, live.chat_template) == (2, jinja or "from config")


def test_half_a_cached_model_is_an_error_unless_the_hub_said_that_there_is_no_more(cache: Path) -> None:
    folder(cache / "snapshots" / COMMIT)
    with pytest.raises(StepError, match="not in the local cache"):
        TokenizerModel(model="acme/tok").open()
    (cache / ".no_exist" / COMMIT).mkdir(parents=True)
    (cache / ".no_exist" / COMMIT / "tokenizer_config.json").touch()
    assert TokenizerModel(model="acme/tok").open().chat_template is None


def test_it_serves_the_protocol() -> None:
    assert TokenizerModel.serves == ("Tokenizer",)
    assert isinstance(BUILT, LiveTokenizer)
