"""The embedded default embedder: terms, the fit, what vectors may not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sftrecipe_diversity import tfidf
from sftrecipe_diversity.tfidf import Tfidf, directions, fit_tfidf, terms, weigh

TEXTS = [
    "Add two numbers in Python",
    "Write a Python function that adds two numbers",
    "How do I bake sourdough bread at home?",
    "What flour is best for baking bread?",
    "请用中文解释光合作用的过程",
    "光合作用需要哪些条件？",
    "Translate this sentence into French",
    "把这句话翻译成英文",
]


def cosines(texts: list[str], **params: int) -> np.ndarray:
    model = Tfidf(**params).open()
    vectors = model.embed(texts, model.fit(texts))
    return vectors @ vectors.T


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two words", ["two", "words", "two words"]),
        ("光合作用", ["光", "合", "作", "用", "光合", "合作", "作用"]),
        ("用Python写", ["用", "python", "写"]),
        ("ＦＵＬＬ width", ["full", "width", "full width"]),
        ("a, b", ["a", "b", "a b"]),
        ("\u2026 !? ", []),
        ("", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert sorted(terms(text)) == sorted(expected)


def test_vectors_are_units_and_neighbours_are_near() -> None:
    near = cosines(TEXTS)
    assert np.allclose(np.diag(near), 1, atol=1e-6)
    np.fill_diagonal(near, -1)
    assert near[0].argmax() == 1
    assert near[2].argmax() == 3
    assert near[4].argmax() == 5


def test_matches_scikit_learn_but_for_the_faint_part() -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    weighted = TfidfVectorizer(analyzer=terms, sublinear_tf=True).fit_transform(TEXTS)
    expected = normalize(TruncatedSVD(5, n_iter=7, random_state=0).fit_transform(weighted))
    model = Tfidf(dims=6).open()
    made = model.embed(TEXTS, model.fit(TEXTS))
    assert made.shape == (8, 6)
    assert np.abs(made[:, 5]).max() < 0.1
    assert np.allclose(normalize(made[:, :5]) @ normalize(made[:, :5]).T, expected @ expected.T, atol=1e-4)


def test_weights_equal_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    reference = TfidfVectorizer(analyzer=terms, sublinear_tf=True).fit(TEXTS)
    index = {str(t): k for k, t in enumerate(reference.get_feature_names_out())}
    made = weigh(TEXTS, index, [*reference.idf_.tolist(), 1.0], 2)
    assert np.allclose(made.toarray()[:, :-2], reference.transform(TEXTS).toarray(), atol=1e-6)
    assert not made.toarray()[:, -2:].any()


def test_the_vocabulary_is_cut_by_frequency_then_name() -> None:
    state = fit_tfidf(["b a", "b c", "b d"], dims=4, max_features=3)
    assert state["vocabulary"] == ["a", "b", "b a"]  # b is in all; of those in one text the first by name
    assert state["idf"].tolist() == pytest.approx([1 + np.log(4 / 2), 1.0, 1 + np.log(4 / 2), 1 + np.log(4)])


def test_a_text_like_no_other_has_a_vector_of_its_own() -> None:
    texts = [f"topic {k % 3} word{k % 5} of many" for k in range(60)] + ["\u5149\u5408\u4f5c\u7528"]
    for max_features in (1000, 12):  # within the vocabulary, and cut from it
        model = Tfidf(dims=16, max_features=max_features).open()
        made = model.embed(texts, model.fit(texts))
        assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
        assert np.abs(made[:-1] @ made[-1]).max() < 0.2


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_directions_are_those_of_the_singular_value_decomposition(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(1)
    matrix = csr_matrix(draw.random(shape) * (draw.random(shape) < 0.3))
    expected = np.linalg.svd(matrix.toarray())[2][:6]
    exact = directions(matrix, 6)
    monkeypatch.setattr(tfidf, "_EXACT", 0)
    near = directions(matrix, 6)
    assert np.allclose(np.abs((exact * expected).sum(1)), 1, atol=1e-9)
    assert np.allclose((exact * near).sum(1), 1, atol=1e-3)  # the randomised road ends at the same place, sign included


@pytest.mark.parametrize("shape", [(300, 500), (500, 300)])
def test_the_randomised_road_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    from sklearn.decomposition import TruncatedSVD

    draw = np.random.default_rng(4)
    matrix = csr_matrix((draw.random(shape) * (draw.random(shape) < 0.05)).astype(np.float32))
    expected = TruncatedSVD(20, n_iter=4, random_state=0).fit(matrix)
    values, vectors = tfidf._randomised(matrix, 20)
    assert np.allclose(values, expected.singular_values_, rtol=1e-5)
    assert np.allclose(np.abs((vectors * expected.components_).sum(axis=1)), 1, atol=1e-4)


@pytest.mark.parametrize("exact", [1000, 0])
def test_signs_are_fixed(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "_EXACT", exact)
    components = fit_tfidf(TEXTS, dims=8, max_features=100)["components"][:-1, :-1].T
    largest = np.abs(components).argmax(axis=1)
    assert (components[np.arange(len(components)), largest] > 0).all()


def test_state_is_small_plain_and_repeatable() -> None:
    first, second = (fit_tfidf(TEXTS, dims=4, max_features=50) for _ in range(2))
    assert first["components"].shape == (51, 4)
    assert first["components"].dtype == first["idf"].dtype == np.float32
    assert first["vocabulary"] == second["vocabulary"]
    assert (first["components"] == second["components"]).all()


def test_noise_directions_are_left_out() -> None:
    state = fit_tfidf(["one two three"] * 5 + ["four five"] * 4, dims=8, max_features=100)
    assert state["components"].shape == (8 + 1, 2 + 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS, "unknown words", "", "\n"]), min_size=1, max_size=20), st.integers(1, 19))
def test_a_vector_does_not_depend_on_its_batch(texts: list[str], at: int) -> None:
    model = Tfidf(dims=6).open()
    state = model.fit(TEXTS)
    whole = model.embed(texts, state)
    parts = [model.embed(part, state) for part in (texts[:at], texts[at:])]
    assert (np.vstack(parts) == whole).all()


def test_a_text_without_words_gets_zeros() -> None:
    model = Tfidf(dims=6).open()
    state = model.fit(TEXTS)
    assert model.embed(["zzz qqq", "", "\u2026 !?"], state).any(axis=1).tolist() == [True, False, False]


@pytest.mark.parametrize("texts", [[], [""], ["!!!", " "]])
def test_nothing_to_learn(texts: list[str]) -> None:
    model = Tfidf(dims=16).open()
    state = model.fit(texts)
    assert state["vocabulary"] == []
    made = model.embed(["some text", "some text", "other words", ""], state)
    assert made.any(axis=1).tolist() == [True, True, True, False]
    assert made[0] @ made[1] == pytest.approx(1)
    assert model.embed([], state).shape == (0, made.shape[1])


def test_embedding_before_the_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="fitted first"):
        Tfidf().open().embed(["text"])


def test_a_new_state_replaces_the_old_one() -> None:
    model = Tfidf(dims=3).open()
    first = model.fit(["alpha beta", "gamma delta", "alpha gamma"])
    second = model.fit(["one two three four", "two three", "three four"])
    old = model.embed(["alpha"], first)
    assert model.embed(["alpha"], second).shape == old.shape
    assert not np.allclose(model.embed(["alpha"], second), old)
    assert (model.embed(["alpha"], first) == old).all()


def test_identity_names_what_vectors_depend_on() -> None:
    assert Tfidf(dims=8).identity() != Tfidf(dims=9).identity()
    assert Tfidf().identity() == {"model": "tfidf", "dims": 256, "max_features": 20_000, "sample": 20_000}
