# SPDX-License-Identifier: Apache-2.0
"""The trials of a package tell which step failed, and reach Debian's mirror alone."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.package import mirror
from tests.package.steps import step

ROOT = Path(__file__).resolve().parents[2]


def test_a_step_that_fails_is_named_and_ends_the_trial(capsys: pytest.CaptureFixture[str]) -> None:
    with step("the first"):
        pass
    with pytest.raises(SystemExit) as ended, step("the second"):
        raise AssertionError("what the command said")
    assert ended.value.code == "failed: the second"  # which Python prints, and exits with 1
    told = capsys.readouterr()
    assert [line.split(" s  ")[1] for line in told.out.splitlines()] == ["the first", "FAILED: the second"]
    assert "what the command said" in told.err


@pytest.mark.parametrize("word", ["try", "quickstart"])
def test_a_trial_without_a_package_says_what_makes_one(word: str) -> None:
    told = subprocess.run([ROOT / "scripts/package", word, "no.deb"], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "no package at 'no.deb': scripts/package builds one" in told.stderr


def test_machines_reach_the_mirror_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.deb").write_text("a package")
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *asked: SimpleHTTPRequestHandler(*asked, directory=str(tmp_path))
    )
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(mirror, "MIRROR", url)
    thread = Thread(target=server.serve_forever)
    thread.start()
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{listener.getsockname()[1]}"})
    ask = urllib.request.build_opener(proxy).open
    with mirror.mirror_proxy(listener, tmp_path / "kept"):
        assert ask(f"{url}/a.deb").read() == b"a package"
        for wrong, code in ((f"{url}/b.deb", 404), ("http://127.0.0.1:1/a.deb", 403)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(wrong)
            assert refused.value.code == code
            refused.value.close()
        server.shutdown()
        server.server_close()
        thread.join()
        assert ask(f"{url}/a.deb").read() == b"a package", "it is kept for the next machine"
