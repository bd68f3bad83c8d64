"""The language guess: what it gets right on real rows and plain sentences, and what it admits not to know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.rows import Rows
from sftrecipe_clean.language import LANGUAGES, Language, TagLanguage, guess, letters_by_script, word_scores
from sftrecipe_clean.stopwords import SCRIPT_OF, SCRIPT_RANGES, STOP_WORDS
from sftrecipe_clean.words import word_table

DATA = Path(__file__).parents[1] / "data" / "clean" / "texts.jsonl"
REAL = [row for row in map(json.loads, DATA.read_text("utf-8").splitlines()) if row["language"] in ("en", "zh")]

SENTENCES = {
    "en": ["The train was late again, and nobody told us why.", "You can mix the flour with water before you add the salt.", "I have never seen a river that was so wide."],
    "de": ["Der Zug war wieder zu spät, und niemand hat uns gesagt, warum.", "Du kannst das Mehl mit dem Wasser mischen.", "Ich habe noch nie einen so breiten Fluss gesehen, und er ist nicht tief."],
    "fr": ["Le train était encore en retard et personne ne nous a dit pourquoi.", "Vous pouvez mélanger la farine avec de l'eau.", "Je ne suis pas sûr que cette rivière soit plus large dans le sud."],
    "es": ["El tren llegó tarde otra vez y nadie nos dijo por qué.", "Puedes mezclar la harina con el agua para hacer una masa.", "Nunca he visto un río que sea más ancho, pero hay otros muy largos."],
    "it": ["Il treno era di nuovo in ritardo e non ci hanno detto perché.", "Puoi mescolare la farina con un po' di acqua per fare il pane.", "Non ho mai visto un fiume che sia più largo di questo."],
    "pt": ["O trem chegou atrasado e ninguém nos disse por que não avisaram.", "Você pode misturar a farinha com um pouco de água.", "Eu já vi um rio que é mais largo, mas não foi no Brasil."],
    "nl": ["De trein was weer te laat en niemand heeft ons gezegd waarom.", "Je kan het meel met water mengen voor je het zout erbij doet.", "Ik heb nog nooit een rivier gezien die zo breed is."],
    "sv": ["Tåget var sent och ingen sade till oss varför det var så.", "Du kan blanda mjölet med vatten och sedan är det klart.", "Jag har inte sett en flod som är så bred under hela året."],
    "pl": ["Pociąg znowu się spóźnił i nikt nam nie powiedział, jak to jest.", "Można wymieszać mąkę z wodą, aby ciasto było już gotowe.", "Nie ma rzeki, która jest tak szeroka, ale są dłuższe."],
    "tr": ["Tren yine çok geç geldi ve bu nasıl oldu diye kimse söylemedi.", "Unu su ile karıştırmak için bir kap gerekir ama tuz da var.", "Bu nehir kadar geniş olan bir nehir daha görmedim."],
    "vi": ["Tàu lại đến muộn và không có ai nói cho tôi biết.", "Bạn có thể trộn bột với nước để làm bánh.", "Đây là một trong những con sông rất dài của thế giới."],
    "id": ["Kereta itu terlambat dan tidak ada yang memberi tahu kita.", "Anda bisa mencampur tepung dengan air untuk membuat roti ini.", "Sungai ini adalah yang paling lebar dan juga panjang."],
    "ru": ["Поезд опять опоздал, и никто не сказал нам, что это было.", "Вы можете смешать муку с водой, а если надо, то и с солью.", "Я не видел реки, которая была бы так широка."],
    "uk": ["Потяг знову запізнився, і ніхто не сказав, що це було.", "Ви можете змішати борошно з водою, а якщо треба, то і з сіллю.", "Це річка, яка була тут вже для всіх."],
    "bg": ["Влакът пак закъсня и никой не ни каза какво е това.", "Може да смесите брашното с вода, но ако е нужно, и със сол.", "Това е река, която беше тук и за нас, но не е дълбока."],
    "ar": ["تأخر القطار مرة أخرى لم يخبرنا أحد عن هذا بعد أن كان في المحطة.", "يمكن خلط الدقيق مع الماء في هذا الوعاء ثم تركه.", "هذا هو النهر الذي كان من أكبر الأنهار في العالم."],
    "fa": ["قطار باز هم دیر آمد و هیچ کس به ما نگفت که چرا این شد.", "آرد را با آب مخلوط کنید تا خمیر برای نان باشد و نمک هم اگر بود.", "این رود از همه پهن تر است و آن را در نقشه می بینید."],
    "ur": ["ٹرین پھر دیر سے آئی اور کسی نے ہم کو نہیں بتایا کہ یہ کیوں ہوا۔", "آٹے کو پانی میں ملائیں اور اس پر نمک بھی ڈالیں۔", "یہ دریا سب سے چوڑا ہے اور اس کے پاس ایک شہر ہے۔"],
    "zh": ["火车又晚点了，没有人告诉我们原因。", "你可以先把面粉和水混合。", "我从来没有见过这么宽的河。"],
    "ja": ["電車がまた遅れて、誰も理由を教えてくれなかった。", "小麦粉と水を混ぜてください。", "こんなに広い川は見たことがない。"],
    "ko": ["기차가 또 늦었는데 아무도 이유를 말해 주지 않았다.", "밀가루와 물을 섞으세요.", "이렇게 넓은 강은 처음 봅니다."],
    "el": ["Το τρένο άργησε πάλι και κανείς δεν μας είπε γιατί."],
    "he": ["הרכבת איחרה שוב ואף אחד לא אמר לנו למה."],
    "hi": ["ट्रेन फिर से देर से आई और किसी ने हमें नहीं बताया।"],
    "bn": ["ট্রেন আবার দেরিতে এসেছে এবং কেউ আমাদের বলেনি।"],
    "ta": ["ரயில் மீண்டும் தாமதமாக வந்தது, யாரும் சொல்லவில்லை."],
    "th": ["รถไฟมาสายอีกแล้วและไม่มีใครบอกเรา"],
}  # fmt: skip


def run(texts):
    series = pl.Series(texts, dtype=pl.String)
    return guess(letters_by_script(series), word_scores(word_table(series)))


def bound(cls, **params):
    operator = cls(**params)
    operator.text = pl.col("response")
    return operator


def rows_of(texts):
    return Rows(pl.DataFrame({"response": texts}, schema={"response": pl.String}))


@pytest.mark.parametrize("language", SENTENCES)
def test_plain_sentences(language):
    assert run(SENTENCES[language])[0] == [language] * len(SENTENCES[language])


def test_every_language_is_tried():
    assert sorted(SENTENCES) == list(LANGUAGES)
    assert set(STOP_WORDS) <= set(LANGUAGES)
    assert set(SCRIPT_OF) == set(SCRIPT_RANGES)


def test_real_rows():
    found, confidence = run([row["text"] for row in REAL])
    right = [guessed == row["language"] for guessed, row in zip(found, REAL, strict=True)]
    wrong = [guessed for guessed, row in zip(found, REAL, strict=True) if guessed not in (row["language"], "und")]
    assert len(REAL) > 60
    assert sum(right) >= 0.98 * len(REAL)
    assert wrong == []
    assert np.median(confidence[right]) > 0.8


@pytest.mark.parametrize("text", ["", None, "42", "3 * 4 = 12", "Paris", "!!!", "x = y", "def f(x):\n    pass", "ⴰⵣⵓⵍ"])
def test_what_shows_no_language(text):
    found, confidence = run([text])
    assert (found, confidence.tolist()) == (["und"], [0.0])


def test_mixed_scripts_lower_the_confidence():
    pure, mixed = run(["我从来没有见过这么宽的河。", "我从来没有见过这么宽的河 and some English words"])[1]
    assert pure == 1.0
    assert 0.5 < mixed < 1.0


def test_chinese_about_english_is_chinese():
    assert run(["Python 是一种编程语言，你可以用 print 打印文字。"])[0] == ["zh"]


def test_han_with_a_little_kana_is_chinese():
    assert run(["这家店的招牌上写着の字，很多人都觉得很可爱，也有人问是什么意思。"])[0] == ["zh"]


def test_words_of_one_language_do_not_hide_in_a_tie():
    assert run(["in in in"])[0] == ["und"]  # as much Dutch as English


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=8))
def test_rows_do_not_see_each_other(texts):
    found, confidence = run(texts)
    alone = [run([text]) for text in texts]
    assert found == [one[0][0] for one in alone]
    assert confidence.tolist() == [one[1][0] for one in alone]
    assert all(0 <= c <= 1 for c in confidence)


@given(st.lists(st.text(max_size=30), max_size=6))
def test_letters_are_counted_by_script(texts):
    names = list(SCRIPT_RANGES)

    def script(char):
        if char.isascii():
            return "latin" if char.isalpha() else None
        return next((n for n, ranges in SCRIPT_RANGES.items() if any(a <= ord(char) <= b for a, b in ranges)), None)

    expected = [[sum(script(c) == name for c in text) for name in names] for text in texts]
    assert letters_by_script(pl.Series(texts, dtype=pl.String)).tolist() == expected


def test_script_ranges_hold_letters_and_do_not_overlap():
    seen: set[int] = set()
    for ranges in SCRIPT_RANGES.values():
        for first, last in ranges:
            codes = set(range(first, last + 1))
            assert not codes & seen
            assert any(chr(c).isalpha() for c in codes)
            seen |= codes


def test_filter_codes():
    texts = ["The train was late again, and nobody told us why.", "Der Zug war wieder zu spät, und das ist nicht gut.", "42", None]
    kept = bound(Language, languages=["en", "zh"]).keep(rows_of(texts))
    assert {code: mask.to_list() for code, (mask, _) in kept.items()} == {
        "wrong_language": [True, False, True, None],
        "unsure_language": [True, True, True, None],
    }
    strict = bound(Language, languages=["en"], unknown="drop").keep(rows_of(texts))
    assert strict["unknown_language"].to_list() == [True, True, False, None]


def test_filter_confidence():
    texts = ["我从来没有见过这么宽的河。", "我见过 many rivers and they are wide, 很宽的河流在这里有很多条"]
    kept = bound(Language, languages=["zh"], min_confidence=0.9).keep(rows_of(texts))
    assert kept["wrong_language"][0].to_list() == [True, True]
    mask, values = kept["unsure_language"]
    assert mask.to_list() == [True, False]
    assert 0.3 < values[1] < 0.9


def test_filter_cjk_share():
    kept = bound(Language, max_cjk=0.05).keep(rows_of(["words only", "one 中 in words", "中文", "", None]))
    assert list(kept) == ["too_much_cjk"]
    mask, values = kept["too_much_cjk"]
    assert mask.to_list() == [True, False, False, True, None]
    assert values.tolist()[1:3] == [1 / 14, 1.0]


def test_tag():
    operator = bound(TagLanguage, into="lang", confidence="sure")
    made = operator.tag(rows_of(["我从来没有见过这么宽的河。", None, "42"]))
    assert {n: c.to_list() for n, c in made.items()} == {"lang": ["zh", None, "und"], "sure": [1.0, None, 0.0]}
    assert operator.flow({"messages": "messages"}).writes == {"lang": "text", "sure": "float"}
    assert TagLanguage().flow({"messages": "messages"}).writes == {"language": "text"}


@pytest.mark.parametrize(("params", "problem"), [({}, "give `languages`"), ({"languages": ["english"]}, "english"), ({"languages": ["en", "xx"]}, "xx")])
def test_problems(params, problem):
    assert [problem in text for text in Language(**params).check()] == [True]
    assert list(Language(languages=["en"]).check()) == list(Language(max_cjk=0.05).check()) == []


def tagged(texts):
    operator = TagLanguage(text="response")
    operator.text = pl.col("response")
    return operator.tag(Rows(pl.DataFrame({"response": pl.Series(texts, dtype=pl.String)})))["language"].to_list()


def test_one_letter_names_are_no_language():
    code = ["let x = 4;\nlet y = 9;\nlet z = x > y ? x : y;", "while y :\n  x , y = y , x % y", "int a , b ;\nz = a + b ;\nz = z + a ;"]
    assert tagged(code) == ["und"] * 3


def test_short_sentences_with_punctuation():
    texts = ["Ich weiß nicht, was das ist.", "(This, that); and the other.", "« Où est-il ? » - Il est là, dans la cour.", "42.", "", None]
    texts[1] = texts[1].replace(";", ",")
    assert tagged(texts) == ["de", "en", "fr", "und", "und", None]
