"""Temporary files go by age, then by quota; nothing else goes."""

import os

from newbie_ui.server.janitor import Janitor, sweep

NOW = 1_000_000.0


def put(folder, name, age_s, size=10):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def test_old_files_are_deleted_and_young_ones_stay(tmp_path):
    old, young = put(tmp_path, "a/old", 100), put(tmp_path, "b/young", 10)
    result = sweep(tmp_path, max_age_s=60, quota_bytes=1000, now=NOW)
    assert not old.exists()
    assert young.exists()
    assert (result.deleted, result.freed_bytes, result.kept_bytes) == (1, 10, 10)


def test_over_the_quota_the_oldest_go_first(tmp_path):
    files = [put(tmp_path, f"{age}", age, size=40) for age in (30, 20, 10)]
    sweep(tmp_path, max_age_s=60, quota_bytes=85, now=NOW)
    assert [path.exists() for path in files] == [False, True, True]


def test_empty_old_folders_go_and_the_folder_itself_stays(tmp_path):
    empty = tmp_path / "x" / "y"
    empty.mkdir(parents=True)
    for folder in (empty, empty.parent):
        os.utime(folder, (NOW - 100, NOW - 100))
    sweep(tmp_path, max_age_s=60, quota_bytes=0, now=NOW)
    assert not empty.exists()
    assert tmp_path.exists()


def test_a_link_is_removed_but_what_it_points_to_is_not(tmp_path):
    outside = put(tmp_path, "outside/keep", 1000)
    temp = tmp_path / "temp"
    temp.mkdir()
    (temp / "link").symlink_to(outside.parent)
    sweep(temp, max_age_s=-(10**10), quota_bytes=0, now=NOW)
    assert outside.exists()
    assert not (temp / "link").exists()


def test_the_thread_sweeps_and_stops(tmp_path):
    old = put(tmp_path / "temp", "old", age_s=NOW)
    janitor = Janitor(tmp_path / "temp", max_age_s=60, quota_bytes=1000, every_s=0.01)
    janitor.start()
    for _ in range(200):
        if not old.exists():
            break
        janitor._stop.wait(0.02)
    janitor.stop()
    assert not old.exists()
    assert not janitor._thread.is_alive()
