"""Operators for the bad recipes."""

from sftrecipe import Filter, Measure, Param, Score, Tag, Dataset, Into, Flow


class Toxic(Score):
    """Needs something that nobody has."""

    needs = ("no_such_package_anywhere",)
    into: Into = Param("toxicity", doc="The column written.")


class Until(Filter):
    """Takes an operator as value."""

    reads = ("response",)
    verify: Score = Param(doc="Decides.")

    def keep_row(self, row):
        return True


class Compare(Measure):
    """Has a side port."""

    against: Dataset

    def measure(self, inputs):
        return {}


class Odd(Tag):
    """Declares a type that there is not."""

    writes = {"odd": "string"}

    def tag(self, rows):
        return {}


class Raises(Tag):
    """Breaks while it is checked."""

    writes = {"odd": "text"}

    def check(self):
        raise ZeroDivisionError("division by zero")

    def flow(self, columns):
        return Flow()


class Rewrites(Tag):
    """Rewrites the answer."""

    reads = ("messages",)
    writes = {"messages": "messages"}
    rewrites = ("response",)

    def tag(self, rows):
        return {}
