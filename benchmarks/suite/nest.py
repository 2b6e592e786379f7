"""A nest whose services are always awake at one address: python -m suite.nest SOCKET ADDRESS."""

import asyncio
import sys

from dormouse_control.nest import lines


async def _serve(path: str, address: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (asked := await lines.read(reader)) is not None:
            if "id" in asked:
                found = {"id": asked["id"], "ok": True, "address": address, "cold_start_ms": None}
                writer.write(lines.encode(found))

    server = await asyncio.start_unix_server(serve, path, limit=lines.MAX_LINE)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
