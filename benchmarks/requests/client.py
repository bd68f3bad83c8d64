"""One run of a client against a server: `ours` (ChatSession, record, limits, retries) or `bare` (aiohttp and nothing else).

    python client.py ours --url http://127.0.0.1:8399/v1 --rows 2000 --concurrency 64 --store DIR

Prints one JSON line: rows and lost rows, seconds and CPU of the loop and of the whole process, memory.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> float:
    """Peak resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def messages(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Question {i}: what is {i} + {i + 1}?"}]


def ours(url: str, rows: int, concurrency: int, store: Path) -> dict[str, Any]:
    from sftrecipe.errors import RowError
    from sftrecipe.models import ChatSession, run_rows
    from sftrecipe_models.openai import OpenAI

    provider = OpenAI(model="scripted", base_url=url, api_key="sk-not-a-key", concurrency=concurrency)
    session = ChatSession(provider, store, name="bench")

    async def work(i: int) -> str:
        return (await session.chat(messages(i), temperature=0.7, max_tokens=256))[0].text

    outcomes = run_rows(range(rows), work, 4 * concurrency)
    session.close()
    lost = [o for o in outcomes if isinstance(o, RowError)]
    digest = hashlib.sha256("\n".join(map(str, outcomes)).encode()).hexdigest()[:16]
    return {"lost": len(lost), "causes": sorted({o.code for o in lost}), "digest": digest, "usage": session.usage()}


def bare(url: str, rows: int, concurrency: int, store: Path) -> dict[str, Any]:
    import aiohttp

    async def run() -> None:
        source = iter(range(rows))
        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(
            connector=connector, headers={"Authorization": "Bearer sk-not-a-key"}
        ) as client:

            async def worker() -> None:
                for i in source:
                    body = {"model": "scripted", "messages": messages(i), "max_tokens": 256, "temperature": 0.7}
                    async with client.post(f"{url}/chat/completions", json=body) as response:
                        (await response.json())["choices"][0]["message"]["content"]

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(run())
    return {"lost": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("client", choices=["ours", "bare"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--store", type=Path, default=Path("bench-store"))
    given = parser.parse_args()
    begun, cpu_before, memory = time.perf_counter(), cpu(), resident()
    run = {"ours": ours, "bare": bare}[given.client]
    found = run(given.url, given.rows, given.concurrency, given.store)
    figures = {
        "rows": given.rows,
        "run_s": round(time.perf_counter() - begun, 3),
        "run_cpu_s": round(cpu() - cpu_before, 3),
        "cpu_s": round(cpu(), 3),
        "start_mb": round(memory),
        "peak_mb": round(resident()),
    }
    sys.stdout.write(json.dumps({**figures, **found}) + "\n")


if __name__ == "__main__":
    main()
