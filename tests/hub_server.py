"""A model hub for tests: what the real client asks of one, kept in memory, on a port of this machine."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """Repositories: name -> branch or commit -> its files. ``asked``: every request, method and path."""

    address: str = ""
    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def commit(self, repo: str, branch: str, files: dict[str, bytes]) -> str:
        versions = self.repos.setdefault(repo, {})
        whole = {**versions.get(branch, {}), **files}
        number = hashlib.sha1(repr(sorted(whole.items())).encode()).hexdigest()
        versions[branch] = versions[number] = whole
        return number

    def sha(self, repo: str, revision: str) -> str | None:
        versions = self.repos.get(repo, {})
        files = versions.get(revision)
        return next((n for n, f in versions.items() if f is files and len(n) == 40), None) if files else None


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def as_json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def missing(self, what: str) -> None:
            self.answer(404, b"{}", X_Error_Code=what, X_Error_Message="not here")

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(f"{self.command} {path}")
            api = path.startswith("api/models/")
            parts = path.removeprefix("api/models/").split("/")
            repo = "/".join(parts[:2])
            if repo not in hub.repos:
                return self.missing("RepoNotFound")
            kind, revision = parts[2], parts[3]
            sha = hub.sha(repo, revision)
            if sha is None:
                return self.missing("RevisionNotFound")
            files = hub.repos[repo][sha]
            if api and kind == "revision":
                names = [{"rfilename": name} for name in files]
                return self.as_json({"id": repo, "modelId": repo, "sha": sha, "siblings": names})
            if api and kind == "tree":
                oid = hashlib.sha1(revision.encode()).hexdigest()
                return self.as_json([{"type": "file", "path": n, "size": len(b), "oid": oid} for n, b in files.items()])
            body = files.get("/".join(parts[4:]))
            if body is None:
                return self.missing("EntryNotFound")
            etag = f'"{hashlib.sha1(body).hexdigest()}"'
            return self.answer(200, body, ETag=etag, X_Repo_Commit=sha, Accept_Ranges="bytes")

        do_HEAD = do_GET

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(f"POST {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = path.removeprefix("api/models/").split("/")
            repo = "/".join(parts[:2])
            if path == "api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                hub.repos.setdefault(name, {})
                hub.private[name] = asked.get("private", asked.get("visibility") == "private")
                return self.as_json({"url": f"{hub.address}/{name}"})
            if path == "api/validate-yaml":
                return self.as_json({"errors": [], "warnings": []})
            if parts[2] == "branch":
                hub.commit(repo, parts[3], {})
                return self.as_json({})
            if parts[2] == "preupload":
                asked_files = json.loads(body)["files"]
                return self.as_json(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked_files
                        ]
                    }
                )
            assert parts[2] == "commit", path
            lines = [json.loads(line)["value"] for line in body.splitlines() if json.loads(line)["key"] == "file"]
            number = hub.commit(repo, parts[3], {v["path"]: base64.b64decode(v["content"]) for v in lines})
            url = f"{hub.address}/{repo}/commit/{number}"
            return self.as_json({"success": True, "commitUrl": url, "commitOid": number})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
