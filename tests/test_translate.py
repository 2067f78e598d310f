"""Translation: segments, cache, resume, both back ends on real formats, the command."""

import csv
import sqlite3
import sys
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.apply.translation import TranslationPlan, base_language, translate_column
from hjc.cli import main
from hjc.corpus.argos import ArgosTranslator
from hjc.corpus.cache import AnswerCache
from hjc.corpus.translate import Translation, split_segments, translate_texts

from .tiny_translators import DICTIONARY, argos_package, m2m100, marian


class Upper:
    """Translates to upper case; a token is a word."""

    name, fingerprint, max_tokens = "upper", "1", 4

    def __init__(self, stop_after: int = 10**9):
        self.batches: list[list[str]] = []
        self.stop_after = stop_after

    def supports(self, source, target):
        return source == "pl"

    def count_tokens(self, texts, source, target):
        return [len(t.split()) for t in texts]

    def translate(self, texts, source, target):
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        assert all(len(t.split()) <= self.max_tokens for t in texts)
        self.batches.append(list(texts))
        return [Translation(t.upper(), "długi" not in t) for t in texts]


def words(texts):
    return [len(t.split()) for t in texts]


@given(st.text(alphabet=st.sampled_from("ab1 \n\t.!"), max_size=60), st.integers(1, 5))
def test_segments_put_together_are_the_text_and_fit(text, limit):
    pieces = split_segments(text, words, limit)
    assert "".join(piece for piece, _ in pieces) == text
    for piece, wanted in pieces:
        assert not wanted or (len(piece.split()) <= limit and piece == piece.strip() and any(map(str.isalpha, piece)))
        assert wanted or not any(map(str.isalpha, piece))
    # a model that changes nothing gives the text back; one that changes letters changes all of them
    assert translate_texts([text], Upper(), "pl", "en")[0].text == text.upper()


def test_sentences_before_words_before_letters():
    assert split_segments("a b. c d e", words, 3) == [("a b.", True), (" ", False), ("c d e", True)]
    assert split_segments("- a\n\n 12%", words, 3) == [("- a", True), ("\n\n", False), (" 12%", False)]
    letters = split_segments("abcdef", lambda texts: [len(t) for t in texts], 2)
    assert "".join(p for p, _ in letters) == "abcdef" and max(len(p) for p, _ in letters) == 2


def test_batches_repeats_cache_and_resume(tmp_path):
    texts = ["b b", "a", "b b", "c c c. d d d", "a"]
    with AnswerCache(tmp_path / "c.sqlite") as cache:
        stopped = Upper(stop_after=1)
        with pytest.raises(KeyboardInterrupt):
            translate_texts(texts, stopped, "pl", "en", cache=cache, batch_size=2)
        assert stopped.batches == [["a", "b b"]] and len(cache) == 2
    with AnswerCache(tmp_path / "c.sqlite") as cache:  # what the first run did is on disk
        again = Upper()
        found = translate_texts(texts, again, "pl", "en", cache=cache, batch_size=2)
        assert [t.text for t in found] == ["B B", "A", "B B", "C C C. D D D", "A"]
        assert again.batches == [["d d d", "c c c."]]
        other = Upper()
        other.fingerprint = "2"
        translate_texts(["a"], other, "pl", "en", cache=cache)
        translate_texts(["a"], other, "pl", "de", cache=cache)
        assert len(other.batches) == 2  # another model, another language: not the cached one
    with pytest.raises(ValueError, match="does not translate from 'xx'"):
        translate_texts(["a"], Upper(), "xx", "en")
    with pytest.raises(ValueError, match="batch_size"):
        translate_texts(["a"], Upper(), "pl", "en", batch_size=0)
    (tmp_path / "no.sqlite").write_text("this is not a database, it is longer than a hundred bytes " * 9)
    with pytest.raises(ValueError, match="not a cache"):
        AnswerCache(tmp_path / "no.sqlite")
    assert sqlite3.connect(tmp_path / "c.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_statuses():
    texts = ["kucharz", None, " ", "cook", "a", "x", "długi a", "nan"]
    languages = ["pl", "pl", "pl", "en", "de", "", "pl", "pl"]
    out, status = translate_column(texts, languages, "en", [Upper()], AnswerCache())
    assert out == ["KUCHARZ", None, None, "cook", None, None, "DŁUGI A", None]
    assert status[:6] == ["ok", "empty", "empty", "same language", "no model from de to en", "no language"]
    assert status[6].startswith("cut") and status[7] == "empty"
    assert [base_language(x) for x in ("PL", "pl-PL", "pt_BR", None, "nan")] == ["pl", "pl", "pt", "", ""]
    with pytest.raises(ValueError, match="say the language"):
        TranslationPlan(("t",), ("en",))


# ---------------------------------------------------------------------------------------------- the back ends


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return marian(tmp_path_factory.mktemp("models") / "opus-mt-pl-en")


def test_opus_mt(checkpoint):
    from hjc.nn.seq2seq import Seq2SeqTranslator

    model = Seq2SeqTranslator(checkpoint, beam_size=2, device="cpu")
    assert model.supports("pl", "en") and not model.supports("en", "pl") and model.max_tokens == 60
    found = translate_texts(["kucharz\n 12\ninżynier", *DICTIONARY], model, "pl", "en", batch_size=3)
    assert [t.text for t in found] == ["cook\n 12\nengineer", *DICTIONARY.values()]
    assert all(t.complete for t in found)
    long = translate_texts([" ".join(["kierowca"] * 300)], model, "pl", "en")[0]
    assert max(model.count_tokens(["kierowca " * 9], "pl", "en")) > 9 and long.text
    again = Seq2SeqTranslator(checkpoint, beam_size=3, device="cpu")
    assert again.fingerprint != model.fingerprint
    short = Seq2SeqTranslator(checkpoint, beam_size=1, max_tokens=3, device="cpu")
    assert not short.translate(["kucharz"], "pl", "en")[0].complete or short.count_tokens(["cook"], "pl", "en")[0] < 3


def test_model_that_is_told_the_languages(tmp_path):
    from hjc.nn.seq2seq import Seq2SeqTranslator

    model = Seq2SeqTranslator(m2m100(tmp_path / "m2m"), beam_size=1, max_tokens=12, device="cpu")
    assert model.supports("pl", "de") and not model.supports("pl", "xx")
    texts, arguments = model._prepare(["kucharz"], "pl", "de")
    assert texts == ["kucharz"] and model.tokenizer.src_lang == "pl"
    assert arguments["forced_bos_token_id"] == model.tokenizer.convert_tokens_to_ids("__de__")
    assert model.tokenizer(texts)["input_ids"][0][0] == model.tokenizer.convert_tokens_to_ids("__pl__")
    (found,) = model.translate(["kucharz"], "pl", "de")
    assert "__de__" not in found.text
    with pytest.raises(ValueError, match="does not know 'xx'"):
        model.translate(["a"], "pl", "xx")
    named = Seq2SeqTranslator(tmp_path / "m2m", codes={"xx": "pl"}, device="cpu")
    assert named.supports("xx", "de") and named.fingerprint != model.fingerprint
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        Seq2SeqTranslator(tmp_path)
    (tmp_path / "m2m" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="safetensors"):
        Seq2SeqTranslator(tmp_path / "m2m")


def test_argos_packages(checkpoint, tmp_path):
    pytest.importorskip("ctranslate2")
    direct = argos_package(tmp_path / "packages" / "pl_en", "pl", "en", checkpoint)
    model = ArgosTranslator(tmp_path / "packages", max_tokens=40, threads=1)
    assert model.pairs == [("pl", "en")] and not model.supports("pl", "de")
    # these pieces came without an end mark in Argos, with one in Marian: the marked text is what was learned
    assert model.count_tokens(["kucharz"], "pl", "en") == [1]
    (found,) = model.translate(["kucharz"], "pl", "en")
    assert found.text and isinstance(found.complete, bool)
    # zipped, as it is published, and a second one that makes a pivot
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    with zipfile.ZipFile(zipped / "translate-pl_en-1_0.argosmodel", "w") as archive:
        for path in direct.rglob("*"):
            archive.write(path, f"pl_en/{path.relative_to(direct)}")
    packed = ArgosTranslator(zipped, max_tokens=40, threads=1)
    assert packed.translate(["kucharz"], "pl", "en") == [found]
    argos_package(tmp_path / "packages" / "en_de", "en", "de", checkpoint)
    both = ArgosTranslator(tmp_path / "packages", max_tokens=40, threads=1)
    assert both.supports("pl", "de") and not both.supports("de", "pl")
    assert len(both.translate(["kucharz"], "pl", "de")) == 1
    with pytest.raises(FileNotFoundError, match="no Argos package"):
        ArgosTranslator(tmp_path)
    (zipped / "bad.argosmodel").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"bad\.argosmodel: not an Argos package"):
        ArgosTranslator(zipped)


def test_command(checkpoint, tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hjc", "data", "translate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().err

    ads = tmp_path / "ads.csv"
    ads.write_text("id,title,lang\n1,kucharz,pl\n2,kierowca,pl-PL\n3,cook,en\n4,,pl\n5,Koch,de\n", encoding="utf-8")
    out = tmp_path / "out.csv"
    model = ["--hf", checkpoint, "--beam-size", 1]
    code, err = call(ads, "-o", out, "-t", "title", "--to", "en", "--language-column", "lang", *model)
    assert code == 0 and "2 segments translated" in err
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [r["title_en"] for r in rows] == ["cook", "driver", "cook", "", ""]
    assert [r["title"] for r in rows] == ["kucharz", "kierowca", "cook", "", "Koch"]
    assert rows[4]["title_en_status"] == "no model from de to en" and rows[3]["title_en_status"] == "empty"
    code, err = call(ads, "-o", out, "-t", "title", "--to", "en", "--language-column", "lang", *model, "--overwrite")
    assert code == 0 and " 0 segments translated" in err  # all from the cache
    code, err = call(ads, "-o", out, "-t", "title", "--to", "en", "--from", "pl")
    assert code == 2 and "--argos FOLDER or --hf FOLDER" in err
    code, err = call(ads, "-o", out, "-t", "title", "--to", "en", *model)
    assert code == 2 and "say the language" in err
    none = ["--from", "pl", "--to", "en", "--hf", tmp_path / "none"]
    code, err = call(ads, "-o", out, "-t", "title", *none)
    assert code == 2 and "out.csv exists" in err
    code, err = call(ads, "-o", tmp_path / "new.csv", "-t", "titel", *none)
    assert code == 2 and "'titel'" in err  # before any model is looked for
    code, err = call(ads, "-o", tmp_path / "new.csv", "-t", "title", *none)
    assert code == 2 and "config.json" in err and not list(tmp_path.glob("new.csv*"))
    code, err = call(ads, "-o", out, "-t", "title", *none, "--overwrite")
    assert code == 2 and len(list(csv.DictReader(out.open(encoding="utf-8")))) == 5  # what was there stays
