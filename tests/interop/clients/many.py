"""Many clients of the official Python SDK at once. Prints one JSON line; exit 0 when every call was answered.

many.py FILE    the file holds {"tool": T, "sessions": [{"command": [..], "environment": {..}, "calls": [..]}]}

Every session is open before the first call is made; then all calls of all sessions are made at once. The
report has, for each session, what each of its calls was answered.
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client


async def call(client, tool, arguments):
    result = await client.call_tool(tool, arguments)
    text = getattr(result.content[0], "text", "") if result.content else ""
    return {"is_error": bool(result.is_error), "text": text}


async def session(given, tool, ready):
    program, *arguments = given["command"]
    environment = given.get("environment")
    parameters = StdioServerParameters(command=program, args=arguments, env=environment)
    async with Client(stdio_client(parameters), read_timeout_seconds=40) as client:
        await ready.wait()
        calls = [call(client, tool, arguments) for arguments in given["calls"]]
        return {"version": client.protocol_version, "answers": await asyncio.gather(*calls)}


async def run(given):
    ready = asyncio.Barrier(len(given["sessions"]))
    sessions = [session(one, given["tool"], ready) for one in given["sessions"]]
    return await asyncio.wait_for(asyncio.gather(*sessions), 80)


def leaf(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    try:
        report = {"ok": True, "sessions": asyncio.run(run(given))}
    except BaseException as error:  # noqa: BLE001 - reported, then the exit code says it
        found = leaf(error)
        report = {"ok": False, "error": f"{type(found).__name__}: {found}"}
    print(json.dumps(report))
    sys.exit(0 if report["ok"] else 1)


main()
