""".ci/audit.py against a service of advisories that runs here: what it names, and that silence is no answer."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CANARY = {("jinja2", "2.10"): "PYSEC-2019-217"}

pytest.importorskip("pip_audit", reason="pip-audit is not installed")


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Service(BaseHTTPRequestHandler):
    """Answers as OSV does; its server knows the advisories, and which requests it refuses."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pin = (asked["package"]["name"], asked["version"])
        server: Any = self.server
        if pin in server.refused:
            self.send_error(500)
            return
        events = [{"introduced": "0"}, {"fixed": "9.9"}]
        affected = {"package": asked["package"], "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        advisories = (
            [{"id": server.known[pin], "summary": "bad", "affected": [affected]}] if pin in server.known else []
        )
        body = json.dumps({"vulns": advisories} if advisories else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.known, server.refused = dict(CANARY), set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A file as make lock writes it, with two versions of a package."""
    path = tmp_path / "pinned.txt"
    path.write_text(
        "# made up\n--only-binary :all:\n\nsolid==1.0 \\\n    --hash=sha256:00\n    # via edgeinfer\n"
        "torn==1.5 ; python_full_version < '3.11' \\\n    --hash=sha256:00\n"
        "torn==2.0 ; python_full_version >= '3.11' \\\n    --hash=sha256:00\n"
    )
    return path


def asked_of(service: Any, tmp_path: Path) -> list[str]:
    """pip-audit's arguments."""
    url = f"http://127.0.0.1:{service.server_address[1]}/"
    return ["--", "-s", "osv", "--osv-url", url, "--cache-dir", str(tmp_path / "cache")]


def test_an_advisory_is_named_whichever_python_the_release_is_pinned_for(
    audit: ModuleType, service: Any, requirements: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known["torn", "1.5"] = "PYSEC-2026-1"
    assert audit.main([str(requirements), *asked_of(service, tmp_path)]) == 1
    assert capsys.readouterr().out == (
        "torn 1.5: PYSEC-2026-1, mended in 9.9\naudit: 3 of 3 releases answered for, 1 advisories\n"
    )


def test_a_service_that_knows_no_advisory_against_an_old_release_has_audited_nothing(
    audit: ModuleType, service: Any, requirements: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known.clear()
    assert audit.main([str(requirements), *asked_of(service, tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "audit: nothing was audited: expected the advisories against jinja2 2.10, got none: "
        "the service knows the release, and none of them\n"
    )


def test_what_a_service_that_fails_said_is_shown(
    audit: ModuleType, service: Any, requirements: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.refused.update(CANARY)
    assert audit.main([str(requirements), *asked_of(service, tmp_path)]) == 2
    assert "got none: pip_audit._service.interface.ServiceError" in capsys.readouterr().err


def test_a_release_that_the_service_does_not_know_was_not_audited(
    audit: ModuleType, requirements: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known: dict[tuple[str, str], list[str]] = {pin: ["an advisory"] for pin in CANARY}
    known |= {("solid", "1.0"): [], ("torn", "1.5"): []}
    monkeypatch.setattr(
        audit, "answers", lambda asked, _: ({pin: known[pin] for pin in asked if pin in known}, "not found on PyPI")
    )
    assert audit.main([str(requirements)]) == 2
    said = capsys.readouterr()
    assert said.out == "audit: 2 of 3 releases answered for, 0 advisories\n"
    assert said.err == "audit: no answer for torn 2.0: not found on PyPI\n"


def test_no_advisory_against_what_is_pinned_is_the_good_end(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        audit, "answers", lambda asked, _: ({pin: ["it"] if pin in CANARY else [] for pin in asked}, "")
    )
    assert audit.main(sorted(map(str, (ROOT / "requirements").glob("*.txt")))) == 0
    answered, _, pinned = capsys.readouterr().out.partition(" of ")
    assert int(answered.rpartition(" ")[2]) == int(pinned.partition(" ")[0]) >= 100
