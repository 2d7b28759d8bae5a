"""Weights by name from a server of our own."""

import functools
import hashlib
import http.server
import threading

import pytest

from multiposenet import registry, weights
from multiposenet.errors import UserError


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/files; Keras' cache lies in tmp_path/home, the registry is tmp_path/registry.yaml."""
    (tmp_path / "files").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "registry.yaml"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "files")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def register(tmp_path, server, sha256):
    (tmp_path / "registry.yaml").write_text(f"far:\n  url: http://127.0.0.1:{server.server_port}/far.keras\n"
                                            f"  sha256: '{sha256}'\n  size_mb: 1\n  card: none\n")


def test_a_name_is_downloaded_once(tmp_path, server, tiny_model):
    weights.save_model(tiny_model, tmp_path / "files" / "far.keras")
    content = (tmp_path / "files" / "far.keras").read_bytes()
    register(tmp_path, server, hashlib.sha256(content).hexdigest())
    path = registry.pretrained_path("far")
    assert path.read_bytes() == content and tmp_path / "home" in path.parents
    (tmp_path / "files" / "far.keras").unlink()  # the second time nothing is asked of the server
    assert weights.load_pretrained("far").config == tiny_model.config


def test_faults_are_named(tmp_path, server, monkeypatch):
    (tmp_path / "files" / "far.keras").write_bytes(b"something else")
    register(tmp_path, server, "0" * 64)
    with pytest.raises(UserError, match="far: cannot be downloaded"):
        registry.pretrained_path("far")
    (tmp_path / "files" / "far.keras").unlink()
    with pytest.raises(UserError, match="cannot be downloaded.*404.*other means"):
        registry.pretrained_path("far")
    with pytest.raises(UserError, match="near.*far, lite"):
        registry.pretrained_path("near")
    register(tmp_path, server, "short")
    with pytest.raises(UserError, match="registry.yaml, far: sha256"):
        registry.pretrained_path("far")
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(UserError, match="none.yaml"):
        registry.pretrained_path("far")


def test_our_registry_can_be_read(monkeypatch):
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    for name, entry in registry.entries().items():
        assert entry.url.endswith(".keras"), name
