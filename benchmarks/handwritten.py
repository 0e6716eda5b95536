"""What a careful user would write instead: one asyncio program on aiohttp, row by row, and nothing kept for later.

python -m benchmarks.handwritten URL INPUT OUTPUT IN_FLIGHT [--uvloop]
"""

from __future__ import annotations

import asyncio
import sys
from typing import BinaryIO

import aiohttp
import orjson

from benchmarks.chains import Facts, Verdict


def call_body(model: type, prompt: str) -> bytes:
    schema = {"name": model.__name__, "schema": SCHEMAS[model], "strict": True}
    return orjson.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": prompt}],
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
    )


SCHEMAS = {Facts: Facts.model_json_schema(), Verdict: Verdict.model_json_schema()}


async def ask(session: aiohttp.ClientSession, url: str, model: type, prompt: str) -> dict:
    async with session.post(url, data=call_body(model, prompt), headers={"Content-Type": "application/json"}) as reply:
        answer = orjson.loads(await reply.read())
    return orjson.loads(answer["choices"][0]["message"]["content"])


async def main(url: str, source: str, target: str, in_flight: int) -> None:
    connector = aiohttp.TCPConnector(limit=in_flight)
    jar = aiohttp.DummyCookieJar()
    with open(source, "rb") as rows, open(target, "wb") as out:  # noqa: ASYNC230 (local files, as a script would)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
            await asyncio.gather(*(work(session, url, rows, out) for _ in range(in_flight)))


async def work(session: aiohttp.ClientSession, url: str, rows: BinaryIO, out: BinaryIO) -> None:
    for line in rows:
        row = orjson.loads(line)
        facts = await ask(session, url, Facts, f"Extract the facts.\n\n{row['text']}")
        prompt = f"Judge {facts['product']}, {facts['sentiment']}, {facts['rating']}."
        verdict = await ask(session, url, Verdict, prompt)
        out.write(orjson.dumps({**row, **facts, **verdict}) + b"\n")


if __name__ == "__main__":
    url, source, target, in_flight = sys.argv[1:5]
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.install()
    asyncio.run(main(f"{url}/chat/completions", source, target, int(in_flight)))
