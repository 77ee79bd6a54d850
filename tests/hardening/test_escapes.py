"""External data never lead out of the model's folder: what the system was asked to open says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .builds import planted
from .escapes import opened, search, ways

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def test_no_way_leads_out_of_the_folder_and_nothing_outside_is_opened() -> None:
    count, files, wrong = search()
    assert wrong == []
    assert count == len(ways(Path())) >= 25
    assert files > count  # each model's own file at least


@pytest.mark.parametrize(
    ("sound", "broken", "says"),
    [
        ('getattr(os, "O_NOFOLLOW", 0)', "0", "linked folder: it loads"),
        ('part in ("", ".", "..")', 'part in ("",)', "parent: it loads"),
        (
            "_check_plain(os.stat(parts[-1], dir_fd=handles[-1], follow_symlinks=False), what, location)",
            *("pass", "hardlink.bin"),
        ),
    ],
    ids=["links are followed", "parents are not refused", "opened before it is looked at"],
)
def test_a_planted_hole_is_found(sound: str, broken: str, says: str, tmp_path: Path) -> None:
    _, _, wrong = search(planted(tmp_path, "onnx_file/external.py", sound, broken))
    assert any(says in what for what in wrong)


def test_only_what_was_opened_between_the_marks_counts() -> None:
    trace = """\
7 openat(AT_FDCWD</a>, "before", O_RDONLY) = 3</a/before>
7 newfstatat(AT_FDCWD</a>, "/hardening-begins", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
7 openat(3</a>, "link", O_RDONLY|O_NOFOLLOW) = -1 ELOOP (Too many levels of symbolic links)
7 openat(3</a>, "b", O_RDONLY) = 4</elsewhere/b>
7 newfstatat(AT_FDCWD</a>, "/hardening-ends", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
7 openat(AT_FDCWD</a>, "behind", O_RDONLY) = 3</a/behind>
"""
    assert list(opened(trace)) == ["/elsewhere/b"]
