"""A cache in the hub's layout, and servers that answer as the hub does."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill_cache(cache: Path, name: str, folder: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """Put a model folder into a cache as the hub's client does; returns its snapshot."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    snapshot.mkdir(parents=True)
    for ref in ("main", "v1"):
        (repository / "refs" / ref).write_text(COMMIT)
    for number, file in enumerate(sorted(folder.iterdir())):
        if file.name not in leave_out:
            blob = repository / "blobs" / f"{number:040x}"
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
    return snapshot


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let the hub's client ask at this address, whatever the offline mode."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@contextmanager
def refusing_hub(status: int, **headers: str) -> Iterator[str]:
    """Address of a server that answers everything with this status and these headers."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _running(Refusal) as address:
        yield address


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving_hub(
    name: str, folder: Path, token: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Address of a server that holds one model, and the names of the files fetched from it."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    fetched: list[str] = []
    api = f"/api/models/{name}"

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if token is not None and self.headers.get("Authorization") != f"Bearer {token}":
                self.answer(401, b"", {"X-Error-Code": "GatedRepo"})
            elif path.startswith(f"{api}/revision/"):
                self.answer(200, json.dumps({"id": name, "sha": COMMIT}).encode(), {})
            elif path.startswith(f"{api}/tree/{COMMIT}"):
                tree = [
                    {
                        "type": "file",
                        "path": file,
                        "size": len(content),
                        "oid": f"{len(content):040x}",
                    }
                    for file, content in files.items()
                ]
                self.answer(200, json.dumps(tree).encode(), {})
            elif path.startswith(f"/{name}/resolve/{COMMIT}/"):
                file = path.removeprefix(f"/{name}/resolve/{COMMIT}/")
                if self.command == "GET":
                    fetched.append(file)
                head = {"ETag": f'"{hashlib.sha1(file.encode()).hexdigest()}"'}
                self.answer(200, files[file], {**head, "X-Repo-Commit": COMMIT})
            else:
                self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _running(Hub) as address:
        yield address, fetched
