"""The record of answers: committed before seen, shared, and repaired by asking again."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest

from sftrecipe.errors import StepError
from sftrecipe.models.cache import Answer, Cache, DeadLetter, Spent


def answer(n, text="hello"):
    return Answer(bytes([n]) * 32, "m", f'{{"asked":{n}}}', f'{{"text":"{text}"}}', 3, 4, 0.5)


def letter(n, code="server_error"):
    return DeadLetter(bytes([n]) * 32, "m", code, "it broke", "{}", 5, "raw")


def put(cache, *answers):
    async def run():
        await asyncio.gather(*(cache.put(a) for a in answers))

    asyncio.run(run())


def test_an_answer_is_on_disk_when_put_returns(tmp_path):
    cache = Cache(tmp_path / "requests.sqlite")
    put(cache, answer(1))
    other = sqlite3.connect(tmp_path / "requests.sqlite")  # as another process sees it, with the first still open
    assert other.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    other.close()
    assert cache.get(b"\1" * 32) == {"text": "hello"}
    assert cache.get(b"\2" * 32) is None
    cache.close()
    cache.close()


def test_what_arrives_in_one_turn_is_one_transaction(tmp_path):
    cache = Cache(tmp_path / "r.sqlite")
    seen = []
    cache._db.set_trace_callback(lambda text: seen.append(text) if text.startswith("BEGIN") else None)
    put(cache, *(answer(n) for n in range(50)))
    assert len(seen) == 1
    assert all(cache.get(bytes([n]) * 32) for n in range(50))
    cache.close()


def test_long_answers_are_zipped_and_come_back(tmp_path):
    cache = Cache(tmp_path / "r.sqlite")
    put(cache, answer(1, "x" * 100_000))
    assert cache.get(b"\1" * 32) == {"text": "x" * 100_000}
    assert (tmp_path / "r.sqlite-wal").stat().st_size < 50_000
    cache.close()


def test_two_caches_over_one_file_share_answers(tmp_path):
    one, two = Cache(tmp_path / "r.sqlite"), Cache(tmp_path / "r.sqlite")
    put(one, answer(1))
    put(two, answer(2))
    assert one.get(b"\2" * 32) and two.get(b"\1" * 32)
    one.close()
    two.close()


def test_a_cancelled_row_does_not_take_its_answer_with_it(tmp_path):
    cache = Cache(tmp_path / "r.sqlite")

    async def run():
        task = asyncio.ensure_future(cache.put(answer(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(run())
    assert cache.get(b"\1" * 32)
    cache.close()


def test_close_commits_what_waits(tmp_path):
    cache = Cache(tmp_path / "r.sqlite")

    async def run():
        task = asyncio.ensure_future(cache.put(answer(1)))
        await asyncio.sleep(0)
        cache.close()
        await task

    asyncio.run(run())
    again = Cache(tmp_path / "r.sqlite")
    assert again.get(b"\1" * 32)
    again.close()


@pytest.mark.parametrize("damage", [b"this is no database at all" * 50, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_put_aside(tmp_path, damage, caplog):
    path = tmp_path / "r.sqlite"
    path.write_bytes(damage)
    cache = Cache(path)
    assert cache.get(b"\1" * 32) is None
    put(cache, answer(1))
    assert cache.get(b"\1" * 32)
    assert (tmp_path / "r.sqlite.damaged").read_bytes() == damage
    assert "damaged" in caplog.text
    cache.close()


@pytest.mark.parametrize("reply", [b"\x78\x01broken", "{not json", "[1]", None])
def test_a_damaged_answer_is_a_miss(tmp_path, reply):
    cache = Cache(tmp_path / "r.sqlite")
    put(cache, answer(1), answer(2))
    if reply is None:
        reply = 7
    cache._db.execute("UPDATE answers SET reply = ? WHERE key = ?", (reply, b"\1" * 32))
    assert cache.get(b"\1" * 32) is None
    assert cache.get(b"\2" * 32)
    cache.close()


def test_dead_letters_are_kept_until_the_request_is_answered(tmp_path):
    async def run():
        cache = Cache(tmp_path / "r.sqlite")
        await cache.bury(letter(1))
        await cache.bury(letter(2, "content_filter"))
        cache.close()
        again = Cache(tmp_path / "r.sqlite")
        assert [(d.code, d.attempts, d.raw) for d in again.dead_letters("m")] == [("server_error", 5, "raw"), ("content_filter", 5, "raw")]
        await again.put(answer(1))
        assert [d.code for d in again.dead_letters()] == ["content_filter"]
        assert list(again.dead_letters("other")) == []
        again.close()

    asyncio.run(run())


def test_spending_is_counted_with_the_answer_it_paid_for(tmp_path):
    async def run(cache):
        await asyncio.gather(*(cache.put(answer(n), ("recipe:judge", Spent(1, 7, 0.25))) for n in range(4)))
        await cache.put(answer(9), ("recipe:teacher", Spent(1, 1, 1.0)))

    cache = Cache(tmp_path / "r.sqlite")
    asyncio.run(run(cache))
    cache.close()
    cache = Cache(tmp_path / "r.sqlite")
    assert cache.spent("recipe:judge") == Spent(4, 28, 1.0)
    assert cache.spent("nobody") == Spent()
    assert cache.seconds("m") == [0.5] * 5
    cache.close()


def test_forgotten_answers_are_asked_again(tmp_path):
    cache = Cache(tmp_path / "r.sqlite")
    put(cache, answer(1), answer(2))
    asyncio.run(cache.forget(b"\1" * 32))
    assert cache.get(b"\1" * 32) is None
    assert cache.get(b"\2" * 32)
    cache.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StepError, match="record of answers") as told:
        Cache(tmp_path / "file" / "r.sqlite")
    assert told.value.code == "R627"
    assert "--requests off" in told.value.help


def test_a_full_disk_is_an_error_and_no_half_answer(tmp_path):
    cache = Cache(tmp_path / "r.sqlite")
    put(cache, answer(1))
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages + 2}")  # SQLite's own "disk is full"
    noise = os.urandom(40_000).hex()
    with pytest.raises(StepError, match="full"):
        put(cache, answer(2, noise), answer(3))
    assert cache.get(b"\2" * 32) is None
    assert cache.get(b"\3" * 32) is None
    assert cache.get(b"\1" * 32)
    cache.close()
