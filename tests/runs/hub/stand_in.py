"""A stand-in for the Hugging Face Hub: what huggingface_hub asks for to make, fill and read a repository of a model."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


class Hub(ThreadingHTTPServer):
    """Repositories by name: their files, messages of commits, and whether they are private."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.messages: dict[str, list[str]] = {}
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def sha(self, name: str) -> str:
        """A commit's hash: it changes with the content."""
        files = sorted(self.repositories[name].items())
        return hashlib.sha1(
            repr([(path, hashlib.sha1(data).digest()) for path, data in files]).encode()
        ).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The requests of huggingface_hub for models."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *what: object) -> None:
        self.server.asked.append(f"{self.command} {urlsplit(self.path).path}")

    def answer(self, body: object = b"", status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = b""
        while size := int(self.rfile.readline(), 16):
            parts += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return parts

    def do_POST(self) -> None:
        path, sent = unquote(urlsplit(self.path).path), self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "no"}, 401)
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(sent))
        if path.endswith("/preupload/main"):
            return self.answer({"files": [self.mode(file["path"]) for file in json.loads(sent)["files"]]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.answer(
                {"transfer": "basic", "objects": [self.place(o) for o in json.loads(sent)["objects"]]}
            )
        if path.endswith("/commit/main"):
            return self.commit("/".join(path.split("/")[3:5]), sent.decode())
        return self.answer({"error": path}, 404)

    def create(self, wanted: dict) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] == "somebody":
            return self.answer({"error": "not yours"}, 403)
        new = name not in self.server.repositories
        self.server.repositories.setdefault(name, {})
        if new and (wanted.get("private") or wanted.get("visibility") == "private"):
            self.server.private.add(name)
        return self.answer({"url": f"{self.server.url}/{name}"}, 200 if new else 409)

    def mode(self, path: str) -> dict:
        how = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": how, "shouldIgnore": False}

    def place(self, wanted: dict) -> dict:
        return {**wanted, "actions": {"upload": {"href": f"{self.server.url}/large/{wanted['oid']}"}}}

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.body()
        self.answer()

    def commit(self, name: str, sent: str) -> None:
        for line in map(json.loads, sent.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.setdefault(name, []).append(value["summary"])
            elif line["key"] == "file":
                self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
            else:
                self.server.repositories[name][value["path"]] = self.server.large[value["oid"]]
        sha = self.server.sha(name)
        self.answer(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"}
        )

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        name = "/".join(path[2:4] if path[0] == "api" else path[:2])
        if name not in self.server.repositories:
            return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        files, sha = self.server.repositories[name], self.server.sha(name)
        if "revision" in path:
            siblings = [{"rfilename": file} for file in files]
            return self.answer(
                {"_id": "1", "id": name, "sha": sha, "private": False, "siblings": siblings, "tags": []}
            )
        if "tree" in path:
            return self.answer([self.entry(file, data) for file, data in files.items()])
        file = "/".join(path[4:])
        if file not in files:
            return self.answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        etag = f'"{hashlib.sha256(files[file]).hexdigest()}"'
        return self.answer(files[file], ETag=etag, X_Repo_Commit=sha)

    do_HEAD = do_GET

    def entry(self, path: str, data: bytes) -> dict:
        return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@contextmanager
def served() -> Iterator[Hub]:
    """A server in a thread, while the block runs."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
