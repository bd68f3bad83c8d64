"""Types and names of expressions: what fits, what is refused and where, what is known before a run."""

from __future__ import annotations

import pytest

from sftrecipe.expressions import BUILTIN, Argument, ExpressionError, Function, check

COLUMNS = {
    "response": "text", "source": "text", "passed": "bool", "helpful": "float", "n": "int", "m": "int", "tags": "list[text]",
    "scores": "list[float]", "flags": "list[bool]", "candidates": "candidates", "messages": "messages", "extra": "json", "vec": "vector",
    "ids": "tokens", "u": "any", "us": "list[any]", "dropped": "counts",
}  # fmt: skip
PARAMS = {
    "size": 3,
    "names": ["a", "b"],
    "rate": 0.5,
    "deep": {"x": {"y": 2}},
    "none": None,
    "mixed": [1, "a"],
    "flag": True,
    "nested": [[1]],
    "big": 2**70,
}


def typed(text, **more):
    return check(text, COLUMNS, params=PARAMS, **more)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("n", "int"), ("helpful", "float"), ("response", "text"), ("extra", "json"), ("passed", "bool"), ("tags", "list[text]"), ("u", "any"),
        ("n + m", "int"), ("n - 1", "int"), ("n * m", "int"), ("n % 2", "int"), ("n / m", "float"), ("n + 0.5", "float"), ("-n", "int"),
        ("n + u", "float"), ("-u", "float"), ("response + source", "text"), ("response + u", "text"), ("extra + response", "text"),
        ("n > 3", "bool"), ("1 < n <= 3", "bool"), ("u == 3", "bool"), ("u == u", "bool"), ("not passed", "bool"), ("passed and u", "bool"),
        ("passed == true", "bool"), ("n in [1, 2]", "bool"), ("n in [1, 2.5]", "bool"), ("source in params.names", "bool"), ("n in [m, 3]", "bool"),
        ('"x" in response', "bool"), ('"x" in tags', "bool"), ("2 in scores", "bool"), ("n in ids", "bool"), ('"tool" in messages.role', "bool"),
        ("1 if passed else 0", "int"), ("1 if passed else 0.5", "float"), ("n if passed else null", "int"), ("null if passed else null", "any"),
        ("u if passed else n", "int"), ("params.size", "int"), ("params.rate", "float"), ("params.names", "list[text]"), ("params.deep.x.y", "int"),
        ('params.names[0]', "text"), ("params.none", "any"), ("extra.a.b", "any"), ("extra['a-b'][0]", "any"), ("extra.a + 1", "float"), ("u.a", "any"),
        ("candidates.score", "list[float]"), ("candidates.passed", "list[bool]"), ("candidates[0].text", "text"), ("candidates.text[-1]", "text"),
        ("messages.role", "list[text]"), ("messages[0].content", "text"), ("messages.tool_calls.x", "list[any]"), ("tags[0]", "text"),
        ("vec[0]", "float"), ('tags == "x"', "list[bool]"), ("candidates.score > 0.5", "list[bool]"), ("candidates.score * 2 + 1", "list[float]"),
        ("any(candidates.score > 0.5 and candidates.passed)", "bool"), ('all(messages.role in ["user", "assistant"])', "bool"),
        ("max(candidates.score)", "float"), ("max(ids)", "int"), ("max(n, m)", "int"), ("max(n, helpful)", "float"), ("sum(candidates.passed)", "int"),
        ("mean(ids)", "float"), ("sum(scores)", "float"), ("first(tags)", "text"), ("last(scores)", "float"), ("len(response)", "int"), ("len(tags)", "int"),
        ("len(candidates)", "int"), ("len(u)", "int"), ("chars(messages.content)", "list[int]"), ("max(words(messages.content))", "int"),
        ("coalesce(passed, helpful >= 4, false)", "bool"), ("coalesce(n, 0.5)", "float"), ("coalesce(u, n)", "int"), ("coalesce(null, u)", "any"),
        ("coalesce(candidates.score, 0)", "list[float]"), ("is_null(tags)", "bool"), ("is_null(null)", "bool"), ("turns()", "int"), ("turns(messages)", "int"),
        ("role()", "text"), ("role(0)", "text"), ("bucket(source, 10)", "int"), ("round(helpful)", "int"), ("round(helpful, 2)", "float"),
        ("round(n, 2)", "int"), ("abs(n)", "int"), ("abs(u)", "float"), ("log(n)", "float"), ("log(n, 2)", "float"), ("contains(response, params.names)", "bool"),
        ("contains(messages.content, 'x')", "list[bool]"), ("count(flags)", "int"), ('count(response, "x")', "int"), ('count(tags == "x")', "int"),
        ("dropped > 3", "bool"), ("dropped.too_short + 1", "int"), ("dropped", "int"), ("[]", "list[any]"), ("n in []", "bool"), ("null", "any"),
        ("any(us)", "bool"), ("lower(extra.name)", "text"), ("'x' in u", "bool"), ("'x' in extra.list", "bool"), ("messages", "messages"),
    ],
)  # fmt: skip
def test_types(text, type_):
    assert str(typed(text).type) == type_


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("respnse == 'x'", "R520", "respnse"),
        ("n > 3 and foo", "R520", "foo"),
        ("turns() > 1", None, ""),
        ("wrds(response)", "R521", "wrds"),
        ("n(3)", "R521", "n"),
        ("params.sise", "R522", "sise"),
        ("params", "R522", "params"),
        ("params.deep", "R522", "params.deep"),
        ("params.deep.z", "R522", "z"),
        ("params.size.x", "R522", "x"),
        ("params.nested", "R522", "params.nested"),
        ("params.big", "R522", "params.big"),
        ("words()", "R523", "words()"),
        ("words(response, 3)", "R523", "words(response, 3)"),
        ("1 + contains(response)", "R523", "contains(response)"),
        ("role(0, messages, 3)", "R523", "role(0, messages, 3)"),
        ("words(n)", "R524", "n"),
        ("any(n)", "R524", "n"),
        ("any(tags)", "R524", "tags"),
        ("len(messages.content) > len(n)", "R524", "n"),
        ("words(messages)", "R524", "messages"),
        ("coalesce(n, source)", "R524", "coalesce(n, source)"),
        ("coalesce(tags, response)", "R531", "response"),
        ("turns(tags)", "R524", "tags"),
        ("n and passed", "R525", "n"),
        ("not response", "R525", "response"),
        ("1 if n else 2", "R525", "n"),
        ("source > 3", "R525", "source > 3"),
        ("passed and source == 3", "R525", "source == 3"),
        ("n < source < 3", "R525", "n < source"),
        ("passed > false", "R525", "passed > false"),
        ("passed == 1", "R525", "passed == 1"),
        ('n + "x"', "R525", 'n + "x"'),
        ("response * 3", "R525", "response"),
        ("passed + 1", "R525", "passed"),
        ("-response", "R525", "response"),
        ("null + 1", "R525", "null"),
        ("1 if passed else 'x'", "R525", "1 if passed else 'x'"),
        ('n in [1, "a"]', "R525", '[1, "a"]'),
        ('n in ["a"]', "R525", 'n in ["a"]'),
        ("n in response", "R525", "n in response"),
        ("n in tags", "R525", "n in tags"),
        ("3 in n", "R525", "3 in n"),
        ("'x' in messages", "R525", "'x' in messages"),
        ("source in params.mixed", "R525", "params.mixed"),
        ("source == null", "R527", "null"),
        ("null != n", "R527", "null"),
        ("n in [1, null]", "R527", "[1, null]"),
        ("null in [1]", "R527", "null"),
        ("matches(response, source)", "R528", "source"),
        ("bucket(source, n)", "R528", "n"),
        ("round(helpful, n)", "R528", "n"),
        ('matches(response, "(")', "R529", '"("'),
        ('matches(response, "(?=a)")', "R529", '"(?=a)"'),
        (f'matches(response, "{"a" * 501}")', "R529", f'"{"a" * 501}"'),
        ("bucket(source, 0)", "R529", "0"),
        ("round(helpful, 16)", "R529", "16"),
        ("log(n, 1)", "R529", "1"),
        ("max(n)", "R529", "max(n)"),
        ("max(scores, n)", "R529", "max(scores, n)"),
        ("contains(response, tags)", "R529", "contains(response, tags)"),
        ("contains(response, [])", "R529", "contains(response, [])"),
        ("first(messages)", "R529", "first(messages)"),
        ("count(response)", "R529", "count(response)"),
        ("count(flags, 'x')", "R529", "count(flags, 'x')"),
        ("candidates.scor", "R530", "scor"),
        ("messages[0].rol == 'x'", "R530", "rol"),
        ('messages["rol"]', "R530", '"rol"'),
        ("response.x", "R514", "response.x"),
        (r'extra["a\\b"]', "R514", r'"a\\b"'),
        ("n[0]", "R514", "n[0]"),
        ('"a".upper', "R514", '"a".upper'),
        ("candidates[0]", "R514", "candidates[0]"),
        ("messages[0][1]", "R514", "messages[0][1]"),
        ("candidates == 'x'", "R525", "candidates == 'x'"),
        ("tags.x", "R514", "tags.x"),
        ("any(candidates.score > helpful)", "R531", "helpful"),
        ("any(scores > vec)", "R531", "scores > vec"),
        ("tags == ['a']", "R531", "['a']"),
        ("tags in [tags]", None, ""),
        ("messages.role in tags", "R531", "messages.role"),
        ("words(messages.content) > n", "R531", "n"),
        ("tags if passed else tags", "R531", "passed"),
        ("params.names == source", "R531", "params.names"),
        ("is_null([n, m])", "R531", "[n, m]"),
    ],
)
def test_refusals(text, code, shown):
    if code is None:
        typed(text)
        return
    with pytest.raises(ExpressionError) as caught:
        typed(text)
    error = caught.value
    assert (error.code, text[error.start : error.end]) == (code, shown)


@pytest.mark.parametrize(
    ("text", "want", "help_"),
    [
        ("n", "bool", "compare it: x > 0"),
        ("words(response)", "bool", "compare it: x > 0"),
        ("response", "bool", 'compare it: x != ""'),
        ('tags == "x"', "bool", "one value for each item: wrap it in any(...) or all(...)"),
        ("passed", "number", "write 1 if x else 0"),
        ("response", "number", "count it: words(x) or len(x)"),
        ("n", "text", ""),
        ("tags", "text", ""),
        ("null", "bool", ""),
    ],
)
def test_what_is_wanted(text, want, help_):
    with pytest.raises(ExpressionError) as caught:
        typed(text, want=want)
    error = caught.value
    assert (error.code, error.start, error.end, error.help) == ("R526", 0, len(text), help_)


@pytest.mark.parametrize(
    ("text", "want"),
    [("u", "bool"), ("u", "number"), ("extra.x", "text"), ("extra", "text"), ("n", "number"), ("dropped", "number")],
)
def test_what_may_stand_there(text, want):
    typed(text, want=want)


@pytest.mark.parametrize(
    ("text", "help_"),
    [
        ("respons", "did you mean `response`?"),
        ("words > 3", "`words` is a function: words(text)"),
        ("size > 3", "for the parameter write params.size"),
        ("source == wildchat", 'for text use quotes: "wildchat"'),
        ("lenght(response)", "did you mean `len`?"),
        ("source(3)", "`source` is a column: write it without brackets"),
        ("params.siz", "did you mean `size`?"),
        ("candidates.scor", "did you mean `score`?"),
        ("source == 3", 'text needs quotes: "3"'),
        ('n == "3"', "numbers have no quotes"),
        ("source == null", "write is_null(x)"),
        ("source != null", "write not is_null(x)"),
    ],
)
def test_help(text, help_):
    with pytest.raises(ExpressionError) as caught:
        typed(text)
    assert caught.value.help == help_


def test_what_is_known():
    known = typed("turns() > 1 and contains(lower(response), 'x')")
    assert known.columns == ("messages", "response")
    assert dict(known.functions) == {"contains": 1, "lower": 1, "turns": 1}
    assert list(known.functions) == sorted(known.functions)
    assert str(known.type) == "bool"


def test_unknown_column_types_go_anywhere():
    any_columns = dict.fromkeys(COLUMNS, "any")
    for text in (
        "n > 3 and passed",
        "words(response) > 3",
        "any(tags)",
        "n + helpful > 2",
        "len(tags)",
        "response + source",
        "max(n, 3)",
        "sum(scores)",
        "n in [1]",
        "lower(u)",
    ):
        check(text, any_columns)


def test_functions_of_others():
    shout = Function(
        "shout", "Loud.", (Argument("text", "text"),), "text", lambda x: x.str.to_uppercase() + "!", version=3
    )
    known = check("shout(response)", COLUMNS, functions={**BUILTIN, "shout": shout})
    assert (str(known.type), dict(known.functions)) == ("text", {"shout": 3})
    assert shout.signature == "shout(text)"
    with pytest.raises(ExpressionError) as caught:
        check("words(response)", COLUMNS, functions={"shout": shout})
    assert caught.value.code == "R521"


def test_functions_are_looked_up_only_when_named():
    class Lazy(dict):
        def __missing__(self, name):
            raise KeyError(name)

        def __getitem__(self, name):
            loaded.append(name)
            return BUILTIN[name]

    loaded = []
    check("words(response) > len(source)", COLUMNS, functions=Lazy.fromkeys(BUILTIN))
    assert sorted(set(loaded)) == ["len", "words"]


def test_every_function_says_what_it_is():
    for name, function in BUILTIN.items():
        assert function.name == name
        assert function.doc.endswith(".")
        assert function.signature.startswith(f"{name}(")
        assert not any(a.many for a in function.arguments[:-1])
