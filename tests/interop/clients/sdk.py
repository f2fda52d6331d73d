"""The official Python SDK as a client. Prints one JSON line; exit 0 when all went as asked.

sdk.py --stdio COMMAND ...      over stdio, through `attorn connect`
sdk.py --url URL                over HTTP, without credentials (`attorn connect --listen`)
"""

import argparse
import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--call")
    parser.add_argument("--arguments", default="{}")
    parser.add_argument("--hidden")
    parser.add_argument("--hidden-arguments", default="{}")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--stdio", nargs=argparse.REMAINDER)
    return parser.parse_args()


def transport(given):
    if given.stdio:
        return stdio_client(StdioServerParameters(command=given.stdio[0], args=given.stdio[1:]))
    return streamable_http_client(given.url)


async def hidden_is_refused(client, name, given):
    try:
        return bool((await client.call_tool(name, given)).is_error)
    except Exception:  # noqa: BLE001 - any refusal is what we look for
        return True


async def run(given, report):
    async with Client(transport(given), mode=given.mode, read_timeout_seconds=20) as client:
        report["version"] = getattr(client, "protocol_version", None)
        report["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        if given.call:
            result = await client.call_tool(given.call, json.loads(given.arguments))
            text = getattr(result.content[0], "text", "") if result.content else ""
            report["call"] = {"is_error": bool(result.is_error), "text": text[:120]}
            if result.is_error:
                raise RuntimeError("the call came back as an error")
        if given.hidden:
            report["hidden_listed"] = given.hidden in report["tools"]
            hidden = json.loads(given.hidden_arguments)
            report["hidden_refused"] = await hidden_is_refused(client, given.hidden, hidden)
            if report["hidden_listed"] or not report["hidden_refused"]:
                raise RuntimeError("a hidden tool was reached")
    report["ok"] = True


def leaf(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main():
    given = arguments()
    report = {"client": "python", "mode": given.mode, "ok": False}
    try:
        asyncio.run(asyncio.wait_for(run(given, report), 60))
    except BaseException as error:  # noqa: BLE001 - reported, then the exit code says it
        found = leaf(error)
        report["error"] = f"{type(found).__name__}: {found}"
    print(json.dumps(report))
    sys.exit(0 if report["ok"] else 1)


main()
