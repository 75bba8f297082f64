"""A local Hub server that stores what `huggingface_hub` pushes, commit by commit."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml


LARGE = 10_000  # bytes; longer files go through LFS, as binary ones do
ADDRESS = re.compile(
    r"/(?:api/)?(?:(?P<kind>models|datasets|spaces)/)?(?P<repo>[\w.-]+/[\w.-]+?)(?:\.git)?"
    r"/(?P<what>resolve|preupload|commit|tree|revision|info/lfs/objects/batch)(?:/(?P<revision>[^/]+)(?:/(?P<path>.*))?)?"
)


class Repository:
    """`files` by commit and path; `messages` are those of the commits, oldest first."""

    def __init__(self):
        self.head = "0" * 40
        self.commits: dict[str, dict[str, bytes]] = {self.head: {}}
        self.messages: list[str] = []

    def files(self, revision: str = "main") -> dict[str, bytes] | None:
        return self.commits.get(self.head if revision == "main" else revision)

    def commit(self, message: str, files: dict[str, bytes], deleted: set[str]) -> str:
        tree = {path: data for path, data in self.files().items() if path not in deleted} | files
        self.head = hashlib.sha1(f"{self.head}{message}{sorted(tree)}".encode()).hexdigest()
        self.commits[self.head] = tree
        self.messages.append(message)
        return self.head


class Hub:
    """Repositories by kind and name, e.g. `repositories["models", "me/voice"]`; `token` must come with every change."""

    token = "hf_only_for_tests"

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status: int, body=b"", **headers) -> None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, X_Error_Code=code)

    def found(self) -> tuple[Repository, re.Match] | None:
        """The repository and what is asked of it; answers if there is none."""
        match = ADDRESS.fullmatch(unquote(urlsplit(self.path).path))
        kind = match and (match["kind"] or "models")
        repository = self.hub.repositories.get((kind, match["repo"])) if match else None
        if repository is None:
            self.refuse(404, "RepoNotFound")
            return None
        return repository, match

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path.startswith("/large/"):
            self.answer(200, self.hub.large[self.path.removeprefix("/large/")])
            return
        if (found := self.found()) is None:
            return
        repository, match = found
        revision, path = match["revision"], match["path"]
        files = repository.files(revision)
        if files is None:
            self.refuse(404, "RevisionNotFound")
        elif match["what"] == "revision":
            names = [{"rfilename": name} for name in sorted(files)]
            self.answer(200, {"id": match["repo"], "sha": repository.head, "siblings": names, "tags": []})
        elif match["what"] == "tree":
            inside = [name for name in sorted(files) if not path or name.startswith(f"{path}/")]
            if path and not inside:
                self.refuse(404, "EntryNotFound")
                return
            entries = [{"type": "file", "path": n, "size": len(files[n]), "oid": blob_id(files[n])} for n in inside]
            self.answer(200, entries)
        elif path not in files:
            self.refuse(404, "EntryNotFound")
        else:
            commit = repository.head if revision == "main" else revision
            self.answer(200, files[path], ETag=f'"{blob_id(files[path])}"', X_Repo_Commit=commit)

    def do_PUT(self):
        data = self.body()
        oid = self.path.removeprefix("/large/")
        if hashlib.sha256(data).hexdigest() != oid:
            self.refuse(400, "BadRequest")
            return
        self.hub.large[oid] = data
        self.answer(200, ETag=f'"{oid}"')

    def do_POST(self):
        body = self.body()
        if self.path == "/api/validate-yaml":
            self.answer(200, validate(json.loads(body)["content"]))
            return
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.refuse(401, "Unauthorized")
            return
        if self.path == "/api/repos/create":
            self.create(json.loads(body))
            return
        if (found := self.found()) is None:
            return
        repository, match = found
        if match["what"] == "preupload":
            self.answer(200, {"files": [upload_mode(file) for file in json.loads(body)["files"]]})
        elif match["what"] == "commit":
            files, deleted, message = self.read_commit(repository, body)
            commit = repository.commit(message, files, deleted)
            self.answer(200, {"commitUrl": f"{self.hub.url}/{match['repo']}/commit/{commit}", "commitOid": commit})
        else:  # LFS
            objects = json.loads(body)["objects"]
            for item in objects:
                if item["oid"] not in self.hub.large:
                    item["actions"] = {"upload": {"href": f"{self.hub.url}/large/{item['oid']}"}}
            self.answer(200, {"transfer": "basic", "objects": objects})

    def body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        chunks = []  # files that are uploaded come in pieces of unknown number
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def create(self, wanted: dict) -> None:
        kind = f"{wanted.get('type') or 'model'}s"
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        url = {"url": f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{name}", "id": name, "name": name}
        if (kind, name) in self.hub.repositories:
            self.answer(409, url | {"error": "exists"})
            return
        self.hub.repositories[kind, name] = Repository()
        self.answer(200, url)

    def read_commit(self, repository: Repository, body: bytes) -> tuple[dict[str, bytes], set[str], str]:
        files, deleted, message = {}, set(), ""
        for line in body.splitlines():
            key, value = (json.loads(line)[name] for name in ("key", "value"))
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                deleted.add(value["path"])
            else:  # deletedFolder
                deleted |= {path for path in repository.files() if path.startswith(value["path"].rstrip("/") + "/")}
        return files, deleted, message


def blob_id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def upload_mode(file: dict) -> dict:
    sample = base64.b64decode(file["sample"])
    large = file["size"] > LARGE or b"\0" in sample
    return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}


def validate(card: str) -> dict:
    """As the Hub's: the header must be a mapping in YAML, and results must name their task, dataset and figures."""
    try:
        header = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
    except yaml.YAMLError as error:
        return {"errors": [{"message": str(error)}], "warnings": []}
    errors = [] if isinstance(header, dict) else [{"message": "the header is no mapping"}]
    for model in [] if errors else header.get("model-index", []):
        for result in model["results"]:
            wanted = [("task", "type"), ("dataset", "type"), ("dataset", "name")]
            missing = [f"{part}.{key}" for part, key in wanted if key not in result.get(part, {})]
            missing += [f"metrics.{key}" for one in result["metrics"] for key in ("type", "value") if key not in one]
            errors += [{"message": f"model-index lacks {name}"} for name in missing]
    return {"errors": errors, "warnings": []}


@contextmanager
def running_hub():
    """A [`Hub`] that listens at its `url` until the context ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
