"""Trains the tokenizer that ships with sftrecipe: plugins/sftrecipe_format/builtin_tokenizer.json.

    python benchmarks/make_builtin_tokenizer.py DATA [OUT]

DATA is a folder with general/gpteacher_roleplay.json.gz, math/gsm8k_train.jsonl.gz and zh/crosswoz_val_messages.jsonl.gz (see
plugins/sftrecipe_format/builtin_tokenizer.md for where they are from). Byte-level BPE, 4,096 entries. One thread and a fixed order
of texts: the same bytes every time.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

SIZE = 4096
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHINESE_DIALOGUES = 60
OUT = Path(__file__).parents[1] / "plugins" / "sftrecipe_format" / "builtin_tokenizer.json"


def texts(data: Path) -> Iterator[str]:
    """Every text to learn from, in the order of the files."""
    with gzip.open(data / "general" / "gpteacher_roleplay.json.gz", "rt", encoding="utf-8") as file:
        for row in json.load(file):
            yield from (row["instruction"], row["input"], row["response"])
    with gzip.open(data / "math" / "gsm8k_train.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield from (row["question"], row["answer"])
    with gzip.open(data / "zh" / "crosswoz_val_messages.jsonl.gz", "rt", encoding="utf-8") as file:
        for line, _ in zip(file, range(CHINESE_DIALOGUES), strict=False):
            yield from (m["content"] for m in json.loads(line)["messages"])


def train(data: Path) -> str:
    """The tokenizer as JSON text."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        show_progress=False,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts(data), trainer)
    return tokenizer.to_str(pretty=False)


def main() -> None:
    """Writes the file."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUT
    text = train(data)
    out.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{out}: {len(text.encode()):,} bytes\n")


if __name__ == "__main__":
    main()
