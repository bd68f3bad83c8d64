"""Requests to a chat model: what the session costs beside a bare client, and what it loses when the server misbehaves.

    python bench.py                      all cases; `clean`, `faults`, `overload`, `kill` for some
    python bench.py clean --rows 500     a quick look

Each case starts a fresh scripted server in a process of its own, on 127.0.0.1. The bare aiohttp client runs in the same case, so ratios
hold on a busy machine too. `wall` is the whole process, `run` from its first line of work on (imports of the client included). Writes
results.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LATENCY = 0.2


@contextmanager
def server(*options: str) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "sftrecipe.testing.server",
        "--port",
        "0",
        "--latency",
        str(LATENCY),
        "--max-seconds",
        "300",
    ]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        process.wait(10)


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as answer:
        return dict(json.loads(answer.read()))


def start(client: str, url: str, rows: int, concurrency: int, store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "client.py"), client, "--url", url, "--rows", str(rows)]
    command += ["--concurrency", str(concurrency), "--store", str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(client: str, url: str, rows: int, concurrency: int, store: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    out, _ = start(client, url, rows, concurrency, store).communicate(timeout=300)
    found = dict(json.loads(out)) | {"wall_s": round(time.perf_counter() - begun, 3)}
    seen = stats(url)
    return found | {
        "span_s": seen["span"],
        "sent": seen["requests"],
        "in_flight_mean": seen["in_flight_mean"],
        "faults": seen["faults"],
    }


def case(name: str, client: str, rows: int, concurrency: int, *options: str) -> dict[str, Any]:
    with server(*options) as url, tempfile.TemporaryDirectory() as folder:
        found = run(client, url, rows, concurrency, Path(folder))
    load = round(os.getloadavg()[0], 1)
    ideal = rows * LATENCY / concurrency
    line = {
        "case": name,
        "client": client,
        "concurrency": concurrency,
        "ideal_s": round(ideal, 2),
        "load": load,
        **found,
    }
    line |= {"run_over_ideal": round(found["run_s"] / ideal, 2), "wall_over_ideal": round(found["wall_s"] / ideal, 2)}
    say(line)
    return line


def say(line: dict[str, Any]) -> None:
    keys = ("case", "client", "concurrency", "run_over_ideal", "wall_over_ideal", "span_s", "run_s", "wall_s", "cpu_s", "run_cpu_s", "start_mb",
            "peak_mb", "sent", "lost", "in_flight_mean", "faults", "load", "repeated", "same")  # fmt: skip
    sys.stdout.write("  ".join(f"{k}={line[k]}" for k in keys if k in line) + "\n")
    sys.stdout.flush()


def clean(rows: int) -> list[dict[str, Any]]:
    out = []
    for concurrency in (64, 256):
        bare = case("clean", "bare", rows, concurrency)
        own = case("clean", "ours", rows, concurrency)
        own["cpu_over_bare"] = round(own["cpu_s"] / bare["cpu_s"], 2)
        sys.stdout.write(f"    CPU over bare: {own['cpu_over_bare']}\n")
        out += [bare, own]
    return out


def faults(rows: int) -> list[dict[str, Any]]:
    none = case("no faults", "ours", rows, 64)
    mixed = case(
        "5% 429, 2% 500, 1% broken body",
        "ours",
        rows,
        64,
        "--fault",
        "429=0.05",
        "--fault",
        "500=0.02",
        "--fault",
        "bad_json=0.01",
    )
    some = case("5% 429", "ours", rows, 64, "--fault", "429=0.05")
    some["over_none"] = round(some["run_s"] / none["run_s"], 2)
    sys.stdout.write(f"    5% 429 over none: {some['over_none']}\n")
    return [none, mixed, some]


def overload(rows: int) -> list[dict[str, Any]]:
    shed = case("sheds above 40 in flight", "ours", rows, 64, "--max-in-flight", "40")
    rate = case("6,000 a minute", "ours", rows, 64, "--per-minute", "6000", "--retry-after", "1")
    plain = case("6,000 a minute, no Retry-After", "ours", rows, 64, "--per-minute", "6000")
    for line in (shed, rate, plain):
        line["extra"] = round(line["sent"] / rows - 1, 3)
        sys.stdout.write(f"    {line['case']}: extra requests {line['extra']:.1%}\n")
    return [shed, rate, plain]


def kill(rows: int) -> list[dict[str, Any]]:
    """kill -9 when the server has seen half; then the same command again."""
    out = []
    for concurrency in (64, 256):
        with server() as url, tempfile.TemporaryDirectory() as folder:
            process = start("ours", url, rows, concurrency, Path(folder))
            while stats(url)["requests"] < rows / 2:
                time.sleep(0.02)
            in_flight = stats(url)["in_flight"]
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            line = {
                "case": "kill -9 at half, again",
                "client": "ours",
                "concurrency": concurrency,
                "in_flight_at_kill": in_flight,
            }
            line |= run("ours", url, rows, concurrency, Path(folder))
        line["repeated"] = line["sent"] - rows
        say(line)
        out.append(line)
    return out


CASES = {"clean": clean, "faults": faults, "overload": overload, "kill": kill}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="none: all")
    parser.add_argument("--rows", type=int, default=2000)
    given = parser.parse_args()
    found = {name: CASES[name](given.rows) for name in given.cases or CASES}
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
