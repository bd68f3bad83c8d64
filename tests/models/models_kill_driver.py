"""Asks for ROWS answers with a session and a pull, then writes them: what the kill tests kill.

python models_kill_driver.py URL STORE ROWS CONCURRENCY OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sftrecipe.models import ChatSession, run_rows
from sftrecipe_models.openai import OpenAI

url, store, rows, concurrency, out = sys.argv[1:]
provider = OpenAI(model="scripted", base_url=url, concurrency=int(concurrency), api_key="sk-kill-test")
session = ChatSession(provider, Path(store), name="judge")


async def work(i: int) -> str:
    first, second = await session.chat([{"role": "user", "content": f"row {i}"}], n=2)
    return f"{first.text} / {second.text}"


answers = run_rows(range(int(rows)), work)
session.close()
Path(out).write_text(json.dumps(answers))
