"""Choosing rows: embeddings, tags, diversity, and the selections built on them.

There is no `tag.verbs` (root verb and direct object of an instruction, as in Self-Instruct's wheel). It needs a
dependency parse, and no light, well-kept library brings one from the package index: spaCy and Stanza fetch their models
from elsewhere (on the index there are only unofficial copies of spaCy's), NLTK fetches its tagger's data and has no
parser, and word lists take the first verb for the root ("Given a list, find ..."). Who has spaCy and a model writes it
as an outside plugin in ten lines: a `Tag` with `tag_row`. `tag.judge` labels any language.
"""
