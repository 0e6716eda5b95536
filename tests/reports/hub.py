"""A stand-in for the Hugging Face Hub on loopback: repositories of small files, as its client speaks to them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OID = "0" * 39


@dataclass
class Hub:
    """What was sent, and who may send."""

    url: str = ""
    token: str = "hf_stand_in_for_a_token"
    read_only: bool = False
    broken: bool = False
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name: `visibility`, `files`, `commits`."""


@contextmanager
def stand_in_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._answer("GET", b"")

        def do_POST(self) -> None:
            self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, method: str, body: bytes) -> None:
            status, said = reply(hub, method, self.path.partition("?")[0], body, self.headers.get("Authorization", ""))
            data = json.dumps(said).encode()
            self.send_response(status)
            if status >= 400:
                self.send_header("X-Error-Message", str(said["error"]) if isinstance(said, dict) else "")
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(hub: Hub, method: str, path: str, body: bytes, key: str) -> tuple[int, dict[str, Any] | list[Any]]:
    if key != f"Bearer {hub.token}":
        return 401, {"error": "Invalid username or password."}
    if path == "/api/whoami-v2":
        return 200, {"name": "me", "type": "user", "orgs": []}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path == "/api/repos/create":
        return _create(hub, json.loads(body))
    name, _, rest = path.removeprefix("/api/datasets/").partition("/")
    last, _, rest = rest.partition("/")
    repo = hub.repos.get(f"{name}/{last}")
    if repo is None:
        return 404, {"error": "Repository not found"}
    if hub.broken:
        return 500, {"error": "the disks are on fire"}
    if rest.startswith("preupload/"):
        files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
        return 200, {"files": files}
    if rest.startswith("tree/"):
        return 200, [{"type": "file", "path": p, "size": len(d), "oid": OID + "1"} for p, d in repo["files"].items()]
    if rest.startswith("commit/"):
        return _commit(hub, f"{name}/{last}", repo, body)
    return 200, {
        "id": f"{name}/{last}",
        "sha": OID + "1",
        "private": repo["visibility"] == "private",
        "siblings": [{"rfilename": p} for p in repo["files"]],
        "tags": [],
    }


def _create(hub: Hub, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if hub.read_only:
        return 403, {"error": "You don't have the rights to create a dataset under this namespace"}
    name = f"{asked.get('organization') or 'me'}/{asked['name']}"
    if name in hub.repos:
        return 409, {"error": "You already created this dataset repo"}
    private = asked.get("visibility", "private" if asked.get("private") else "public")
    hub.repos[name] = {"visibility": private, "files": {}, "commits": []}
    return 200, {"url": f"{hub.url}/datasets/{name}", "name": name, "id": "1"}


def _commit(hub: Hub, name: str, repo: dict[str, Any], body: bytes) -> tuple[int, dict[str, Any]]:
    for line in body.splitlines():
        said = json.loads(line)
        value = said["value"]
        if said["key"] == "header":
            repo["commits"].append(value["summary"])
        elif said["key"] == "file":
            repo["files"][value["path"]] = base64.b64decode(value["content"])
        elif said["key"].startswith("deleted"):
            for path in [p for p in repo["files"] if p == value["path"] or p.startswith(f"{value['path']}/")]:
                del repo["files"][path]
    return 200, {"success": True, "commitUrl": f"{hub.url}/datasets/{name}/commit/{OID}2", "commitOid": f"{OID}2"}
