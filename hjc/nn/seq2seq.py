"""Local Hugging Face sequence-to-sequence models as a back end of ``translate``: opus-mt, NLLB, M2M100, T5.

The folder needs config.json, model.safetensors and the tokenizer's files. Decoding is beam search without sampling:
the same model and text give the same translation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hjc.corpus.translate import Translation, file_fingerprint
from hjc.errors import name_some

#: ISO 639-1 -> the code of NLLB-200 for the languages of the EU and its neighbours
NLLB_CODES = {
    "bg": "bul_Cyrl", "bs": "bos_Latn", "ca": "cat_Latn", "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn",
    "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn", "et": "est_Latn", "fi": "fin_Latn", "fr": "fra_Latn",
    "ga": "gle_Latn", "hr": "hrv_Latn", "hu": "hun_Latn", "is": "isl_Latn", "it": "ita_Latn", "lt": "lit_Latn",
    "lv": "lvs_Latn", "mk": "mkd_Cyrl", "mt": "mlt_Latn", "nb": "nob_Latn", "nl": "nld_Latn", "nn": "nno_Latn",
    "no": "nob_Latn", "pl": "pol_Latn", "pt": "por_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "sk": "slk_Latn",
    "sl": "slv_Latn", "sq": "als_Latn", "sr": "srp_Cyrl", "sv": "swe_Latn", "tr": "tur_Latn", "uk": "ukr_Cyrl",
}  # fmt: skip
_SUFFIXES = (".json", ".safetensors", ".spm", ".model", ".txt")


class Seq2SeqTranslator:
    """A model of a folder.

    Args:
        folder: as ``save_pretrained`` writes it.
        pair: languages of a model for one pair; None asks the tokenizer (opus-mt names its pair), and a model that
            names none translates whatever it is asked to.
        codes: ISO 639-1 code -> what the model calls the language (``{"pl": "pol"}``); NLLB's names are known.
        prefix: put before every text, for T5: ``"translate {source} to {target}: "``.
        beam_size, max_tokens: of decoding; max_tokens is also the longest segment (prefix and special tokens included).
        device: of PyTorch; None takes CUDA when it is there.

    Raises:
        FileNotFoundError: no model in the folder. ValueError: weights that are not safetensors.
    """

    def __init__(
        self, folder: str | Path, *, pair: tuple[str, str] | None = None, codes: Mapping[str, str] | None = None,
        prefix: str = "", beam_size: int = 4, max_tokens: int = 200, device: str | None = None,
    ) -> None:  # fmt: skip
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder}: no config.json; a folder with a Hugging Face model is needed")
        if not list(folder.glob("*.safetensors")):
            raise ValueError(
                f"{folder}: no model.safetensors; load pytorch_model.bin once where you trust it and write it again "
                "with save_pretrained"
            )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model: Any = model.eval().to(self.device)
        self.name = f"seq2seq {folder}"
        positions = getattr(model.config, "max_position_embeddings", None)  # T5 has none: its positions are relative
        self.max_tokens = min(max_tokens, positions) if positions else max_tokens
        self._beam_size, self._prefix, self._codes = beam_size, prefix, dict(codes or {})
        own = (getattr(self.tokenizer, "source_lang", None), getattr(self.tokenizer, "target_lang", None))
        self._tags = [str(c) for c in getattr(self.tokenizer, "supported_language_codes", ())]
        self._pair = pair or ((str(own[0]), str(own[1])) if all(own) and not self._tags else None)
        files = [p.name for p in folder.iterdir() if p.suffix in _SUFFIXES]
        self.fingerprint = file_fingerprint(
            folder, files, beam_size, self.max_tokens, prefix, sorted(self._codes.items())
        )

    def supports(self, source: str, target: str) -> bool:
        if self._pair is not None:
            return self._pair == (source, target)
        if self._tags:
            return self._tag(target) is not None
        if self._many:
            return self._language(source) is not None and self._language(target) is not None
        return True

    @property
    def _many(self) -> bool:
        """Whether the tokenizer is told the languages (NLLB, M2M100, mBART)."""
        return hasattr(self.tokenizer, "src_lang")

    def _names(self, language: str) -> list[str]:
        return [n for n in (self._codes.get(language), language, NLLB_CODES.get(language)) if n]

    def _tag(self, target: str) -> str | None:
        """The mark of the target language that opus-mt models with several targets want: ``>>pol<<``."""
        return next((f">>{n}<<" for n in self._names(target) if f">>{n}<<" in self._tags), None)

    def _language(self, language: str) -> tuple[str, int] | None:
        """What the tokenizer calls a language, and its token."""
        for name in self._names(language):
            for token in (name, f"__{name}__"):  # M2M100 writes __pl__
                number = self.tokenizer.convert_tokens_to_ids(token)
                # also a special token: "no" may be an ordinary piece of the vocabulary
                if number is not None and number != self.tokenizer.unk_token_id and (
                    token != name or number in self.tokenizer.all_special_ids or "_" in name
                ):  # fmt: skip
                    return name, int(number)
        return None

    def _prepare(self, texts: Sequence[str], source: str, target: str) -> tuple[list[str], dict[str, Any]]:
        """Texts as the model wants them, and arguments for ``generate``; tells the tokenizer the languages."""
        start = self._prefix.format(source=source, target=target)
        arguments: dict[str, Any] = {}
        if self._tags and (tag := self._tag(target)) is not None:
            start = f"{tag} {start}"
        elif self._many:
            found = self._language(source), self._language(target)
            if found[0] is None or found[1] is None:
                missing = [lang for lang, f in zip((source, target), found, strict=True) if f is None]
                raise ValueError(f"{self.name}: does not know {name_some(missing)}; say what it calls them (codes)")
            self.tokenizer.src_lang, self.tokenizer.tgt_lang = found[0][0], found[1][0]
            arguments["forced_bos_token_id"] = found[1][1]
        return [start + text for text in texts], arguments

    def count_tokens(self, texts: Sequence[str], source: str, target: str) -> list[int]:
        prepared, _ = self._prepare(texts, source, target)
        return [len(ids) for ids in self.tokenizer(prepared, verbose=False)["input_ids"]]

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        prepared, arguments = self._prepare(texts, source, target)
        batch = self.tokenizer(prepared, return_tensors="pt", padding=True).to(self.device)
        batch.pop("token_type_ids", None)
        made = self.model.generate(
            **batch, **arguments, num_beams=self._beam_size, do_sample=False, max_length=None,
            max_new_tokens=self.max_tokens - 1,  # one position is the start token's
        )  # fmt: skip
        ends = self.model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        # A forced end at the last position is a cut, too.
        complete = [bool(ends & set(row[1 : self.max_tokens - 1].tolist())) for row in made.cpu()]
        # Not every tokenizer counts its languages among the special tokens that decoding skips.
        made = made[:, 2:] if "forced_bos_token_id" in arguments else made
        decoded = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        return [Translation(text.strip(), done) for text, done in zip(decoded, complete, strict=True)]
