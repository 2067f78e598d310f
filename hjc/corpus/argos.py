"""Argos Translate packages as a back end: the models of a folder, run by CTranslate2 without the argos program.

A package (``translate-pl_en-1_9.argosmodel``, a zip, or its unpacked folder) has ``metadata.json`` with ``from_code``
and ``to_code``, ``sentencepiece.model`` and ``model/`` for CTranslate2. Packages are listed at
https://www.argosopentech.com/argospm/index/; hjc downloads none.
"""

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hjc.corpus.translate import Translation, file_fingerprint
from hjc.errors import name_some
from hjc.files import read_json


@dataclass
class _Package:
    folder: Path
    source: str
    target: str
    prefix: str
    fingerprint: str
    tokenizer: Any = None
    model: Any = None


class ArgosTranslator:
    """All Argos packages of a folder. A pair without a package of its own goes through ``pivot``, if both halves exist.

    Args:
        folder: with packages, zipped or unpacked; or one package.
        beam_size: hypotheses kept while decoding (Argos itself uses 4).
        max_tokens: longest segment, and longest translation.
        pivot: language between two others; "" for none.
        threads: of CTranslate2 (0: its default).

    Raises:
        FileNotFoundError: no package in the folder. ValueError: a damaged package. ImportError: without the extra.
    """

    def __init__(
        self, folder: str | Path, *, beam_size: int = 4, max_tokens: int = 200, pivot: str = "en", threads: int = 0
    ) -> None:
        try:
            import ctranslate2
            import sentencepiece
        except ImportError as error:
            raise ImportError(
                f"Argos packages need the extra translate: pip install 'hjc[translate]' ({error})"
            ) from None
        self._ctranslate2, self._sentencepiece = ctranslate2, sentencepiece
        self.name = f"argos {folder}"
        self.max_tokens = max_tokens
        self._beam_size, self._pivot, self._threads = beam_size, pivot, threads
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        self._packages = {(p.source, p.target): p for p in self._find(Path(folder))}
        if not self._packages:
            raise FileNotFoundError(f"{folder}: no Argos package (*.argosmodel, or a folder with metadata.json)")
        prints = sorted(p.fingerprint for p in self._packages.values())
        self.fingerprint = f"argos {beam_size} {max_tokens} {pivot} {' '.join(prints)}"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Languages from and to, of the packages themselves."""
        return sorted(self._packages)

    def _find(self, folder: Path) -> list[_Package]:
        if not folder.exists():
            raise FileNotFoundError(f"no folder {folder}")
        if folder.is_file():
            return [self._open(self._unpack(folder))]
        if (folder / "metadata.json").is_file():
            return [self._open(folder)]
        inside = sorted(folder.iterdir())
        found = [self._open(p) for p in inside if p.is_dir() and (p / "metadata.json").is_file()]
        return found + [self._open(self._unpack(p)) for p in inside if p.suffix == ".argosmodel"]

    def _unpack(self, path: Path) -> Path:
        """A zipped package in a temporary folder, which goes when the translator does."""
        if self._unpacked is None:
            self._unpacked = tempfile.TemporaryDirectory(prefix="hjc-argos-")
        target = Path(self._unpacked.name) / path.stem
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)  # zipfile takes ".." and absolute paths out of names
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: not an Argos package ({error})") from None
        found = sorted(target.glob("**/metadata.json"))
        if not found:
            raise ValueError(f"{path}: not an Argos package (no metadata.json in it)")
        return found[0].parent

    def _open(self, folder: Path) -> _Package:
        try:
            meta = read_json(folder / "metadata.json")
            source, target = str(meta["from_code"]), str(meta["to_code"])
        except (ValueError, KeyError) as error:
            raise ValueError(f"{folder / 'metadata.json'}: no from_code and to_code ({error})") from None
        names = ["sentencepiece.model", *(f"model/{p.name}" for p in sorted((folder / "model").glob("*")))]
        if missing := [n for n in ("sentencepiece.model", "model/model.bin") if not (folder / n).is_file()]:
            raise ValueError(f"{folder}: an Argos package without {name_some(missing)}")
        return _Package(folder, source, target, str(meta.get("target_prefix") or ""), file_fingerprint(folder, names))

    def _route(self, source: str, target: str) -> list[_Package]:
        if (direct := self._packages.get((source, target))) is not None:
            return [direct]
        halves = [self._packages.get((source, self._pivot)), self._packages.get((self._pivot, target))]
        return [p for p in halves if p is not None] if all(halves) else []

    def supports(self, source: str, target: str) -> bool:
        return bool(self._route(source, target))

    def _ready(self, package: _Package) -> _Package:
        if package.model is None:
            package.tokenizer = self._sentencepiece.SentencePieceProcessor(
                model_file=str(package.folder / "sentencepiece.model")
            )
            package.model = self._ctranslate2.Translator(
                str(package.folder / "model"), device="cpu", intra_threads=self._threads
            )
        return package

    def count_tokens(self, texts: Sequence[str], source: str, target: str) -> list[int]:
        first = self._ready(self._route(source, target)[0])
        return [len(pieces) for pieces in first.tokenizer.encode(list(texts), out_type=str)]

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        out = [Translation(text) for text in texts]
        for package in map(self._ready, self._route(source, target)):
            tokens = package.tokenizer.encode([t.text for t in out], out_type=str)
            # What the first half of a pivot made longer than the model takes is cut, and says so.
            whole = [len(pieces) <= self.max_tokens for pieces in tokens]
            prefix = [[package.prefix]] * len(out) if package.prefix else None
            try:
                found = package.model.translate_batch(
                    [pieces[: self.max_tokens] for pieces in tokens],
                    target_prefix=prefix,
                    beam_size=self._beam_size,
                    max_decoding_length=self.max_tokens + 1,
                    replace_unknowns=True,
                    length_penalty=0.2,
                )
            except RuntimeError as error:  # CTranslate2's only kind: positions beyond the model's, for one
                raise ValueError(
                    f"{package.folder}: {error}; max_tokens (--max-tokens) is {self.max_tokens}, try a smaller one"
                ) from error
            made = [result.hypotheses[0] for result in found]
            texts_now = [
                "".join(pieces[1:] if package.prefix and pieces[:1] == [package.prefix] else pieces) for pieces in made
            ]
            out = [
                Translation(text.replace("▁", " ").strip(), before.complete and fits and len(pieces) <= self.max_tokens)
                for text, before, fits, pieces in zip(texts_now, out, whole, made, strict=True)
            ]
        return out
