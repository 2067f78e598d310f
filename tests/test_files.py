"""Files are replaced whole or not at all; what a user names is followed, what a stranger planted is not."""

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from hjc.files import (
    BusyError,
    destination,
    is_special,
    locked,
    new_folder,
    open_replacing,
    replacing,
    write_bytes,
    write_text,
)


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "a", "old\r\n")
    with pytest.raises(type(error)), open_replacing(tmp_path / "a") as stream:
        stream.write(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old\r\n" and names(tmp_path) == ["a"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    folder, scratch = tmp_path / "model", tmp_path / "model.training"
    write_text(tmp_path / "x", "")
    scratch.mkdir()
    write_text(scratch / "resume", "from here")
    with pytest.raises(KeyboardInterrupt), new_folder(folder, scratch) as part:
        write_text(part / "half", "")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["model.training", "x"] and "resume" in names(scratch)
    with new_folder(folder, scratch) as part:
        assert names(part) == []  # what was left there is gone
        write_text(part / "whole", "")
    assert names(tmp_path) == ["model", "x"] and names(folder) == ["whole"]
    with pytest.raises(FileExistsError, match="give another name"), new_folder(folder, scratch) as part:
        write_text(part / "other", "")
    assert names(folder) == ["whole"] and names(scratch / "finished.part") == ["other"]


def test_writers_that_choose_their_own_mode_do_not_matter(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "private", sync=True) as part:
            part.unlink()
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        with open_replacing(tmp_path / "x.npz") as stream:
            np.savez(stream, a=np.arange(3))
        write_bytes(tmp_path / "plain", b"x")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o640}
    assert np.load(tmp_path / "x.npz")["a"].tolist() == [0, 1, 2]


def test_links_are_followed_only_for_names_of_users(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "real").write_text("old")
    (outside / "real").chmod(0o600)
    (inside / "link").symlink_to("second")
    (inside / "second").symlink_to(outside / "real")
    write_text(inside / "link", "new", follow=True)
    assert (outside / "real").read_text() == "new" and (inside / "link").is_symlink()
    assert stat.S_IMODE((outside / "real").stat().st_mode) == 0o600  # a private file stays private
    write_text(inside / "link", "newer")
    assert (outside / "real").read_text() == "new" and not (inside / "link").is_symlink()
    (inside / "dangling").symlink_to(outside / "not_yet")
    write_text(inside / "dangling", "made", follow=True)
    assert (outside / "not_yet").read_text() == "made"
    (inside / "loop").symlink_to("loop")
    with pytest.raises((ValueError, OSError)):
        write_text(inside / "loop", "x", follow=True)
    with pytest.raises(IsADirectoryError, match="name of a file"):
        write_text(outside, "x")
    assert destination(outside / "real") == outside / "real"


def test_special_files_are_written_into(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    assert is_special(fifo) and is_special("/dev/null") and not is_special(tmp_path) and not is_special("/none")
    got = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_text(fifo, "through", follow=True)
    reader.join(10)
    assert got == [b"through"] and is_special(fifo)
    write_text("/dev/null", "gone", follow=True)
    assert is_special("/dev/null")
    write_text(fifo, "a file now")  # not named by a user: no write may block or reach another process
    assert fifo.read_text() == "a file now" and names(tmp_path) == ["pipe"]


def test_parallel_writers_do_not_mix(tmp_path):
    texts = [str(i) * 50_000 for i in range(8)]
    threads = [threading.Thread(target=write_text, args=(tmp_path / "a", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts and names(tmp_path) == ["a"]


def test_the_second_holder_of_a_lock_is_told(tmp_path):
    lock = tmp_path / ".lock"
    code = (
        "import sys, time\nfrom hjc.files import locked\n"
        "with locked(sys.argv[1], ''):\n print('held', flush=True)\n time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=r"^wait for it$"), locked(lock, "wait for it"):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locked(lock, "a killed process holds nothing"), pytest.raises(BusyError), locked(lock, "nor twice in one"):
        pass
    assert names(tmp_path) == []
    (tmp_path / "victim").write_text("kept")
    lock.symlink_to(tmp_path / "victim")
    with pytest.raises(BusyError, match="no lock file"), locked(lock, ""):
        pass
    assert (tmp_path / "victim").read_text() == "kept"
