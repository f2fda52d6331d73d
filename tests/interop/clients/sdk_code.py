"""The official Python SDK acting for a person: authorization code and PKCE, with tokens without a proof.

sdk_code.py SCENE    SCENE is JSON as for sdk-code.mjs, with {"node": PROGRAM} to run the browser by

Prints one JSON line; exit 0 when all went as asked.
"""

import asyncio
import http.server
import json
import os
import sys
import threading
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

BROWSER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "browser.mjs")


class Callback:
    """The address on loopback at which a native application waits for the browser."""

    def __init__(self):
        brought = self.brought = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 - the name that the library calls
                address = urlsplit(self.path)
                if address.path == "/callback":
                    brought.append({name: values[0] for name, values in parse_qs(address.query).items()})
                self.send_response(200)
                self.send_header("content-type", "text/plain")
                self.end_headers()
                self.wfile.write(b"You can close this page.")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/callback"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Storage:
    """What an application has to keep for the SDK."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Application:
    def __init__(self, scene):
        self.scene, self.callback, self.storage = scene, Callback(), Storage()
        self.rights, self.seen = [], []

    async def ask(self, url):
        ask = {"url": url, "callback": self.callback.url, "rights": self.rights}
        given = json.dumps({"person": self.scene["person"], "ask": ask})
        pipe = asyncio.subprocess.PIPE
        browser = await asyncio.create_subprocess_exec(self.scene["node"], BROWSER, given, stdout=pipe)
        output, _ = await browser.communicate()
        seen = json.loads(output)
        if not seen["ok"]:
            raise RuntimeError(seen["error"])
        asked = parse_qs(urlsplit(url).query).get("scope", [""])[0]
        self.seen.append({"asked": asked, **seen})

    async def answer(self):
        brought = self.callback.brought.pop()
        if "error" in brought:
            raise RuntimeError(f"the authority answered {brought}")
        return AuthorizationCodeResult(code=brought["code"], state=brought["state"], iss=brought.get("iss"))

    def provider(self):
        metadata = OAuthClientMetadata(
            client_name="Desk",
            redirect_uris=[self.callback.url],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        )
        return OAuthClientProvider(
            self.scene["url"],
            metadata,
            self.storage,
            redirect_handler=self.ask,
            callback_handler=self.answer,
            client_metadata_url=self.scene["document"],
        )


async def call(client, step):
    result = await client.call_tool(step["tool"], step["arguments"])
    text = getattr(result.content[0], "text", "") if result.content else ""
    if result.is_error or step["answer"] not in text:
        raise RuntimeError(f"{step['tool']}: {text}")


async def refused(client, scene):
    try:
        return bool((await client.call_tool(scene["hidden"], scene["first"]["arguments"])).is_error)
    except Exception:  # noqa: BLE001 - any refusal is what we look for
        return True


async def outlived(application, http_client, client):
    """A token ends. There is no refresh token, so the SDK asks the person again, by itself."""
    given = {"token": application.storage.tokens.access_token, "client_id": application.storage.client.client_id}
    metadata = http_client.auth.context.oauth_metadata
    async with httpx2.AsyncClient() as other:
        (await other.post(str(metadata.revocation_endpoint), data=given)).raise_for_status()
    await call(client, application.scene["first"])
    return application.storage.tokens.access_token != given["token"]


async def run(scene, report):
    application = Application(scene)
    report["seen"] = application.seen
    first, second = scene["first"], scene["second"]
    application.rights = [first["right"]]
    async with httpx2.AsyncClient(auth=application.provider(), timeout=60) as http_client:
        transport = streamable_http_client(scene["url"], http_client=http_client)
        async with Client(transport, read_timeout_seconds=60) as client:
            await call(client, first)
            report["first"] = application.storage.tokens.scope
            report["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            report["hidden_refused"] = await refused(client, scene)
            application.rights = [first["right"], second["right"]]
            await call(client, second)
            await call(client, first)
            report["outlived"] = await outlived(application, http_client, client)
            report["second"] = application.storage.tokens.scope
            report["token_type"] = application.storage.tokens.token_type
            report["client_id"] = application.storage.client.client_id
    report["ok"] = True


def leaf(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main():
    scene = json.loads(sys.argv[1])
    report = {"client": "python", "ok": False}
    try:
        asyncio.run(asyncio.wait_for(run(scene, report), 80))
    except BaseException as error:  # noqa: BLE001 - reported, then the exit code says it
        found = leaf(error)
        report["ok"], report["error"] = False, f"{type(found).__name__}: {found}"
    print(json.dumps(report))
    sys.exit(0 if report["ok"] else 1)


main()
