"""The gallery's promises: nothing lost, everything found."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from newbie_ui.errors import PictureError, SettingsError
from newbie_ui.gallery import index, scan, upkeep
from newbie_ui.gallery.layout import INDEX, MARKS, day_of, is_day, is_id, new_id
from newbie_ui.gallery.query import Filters
from newbie_ui.gallery.store import Gallery
from tests.gallery.making import DATA, TWO, request, result

NOW = time.time()


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path) as opened:
        yield opened


def add(gallery: Gallery, number: int = 1, **changes) -> str:
    """Store a small picture made `number` seconds after a fixed time."""
    asked = request(**{key: changes.pop(key) for key in ("prompt", "negative_prompt") if key in changes})
    one = result(id=f"2026-{number:04d}", created_at=NOW + number - 10_000, asked=asked, size=(16, 16), **changes)
    return gallery.add(one).id


def ids(gallery: Gallery, text: str = "", order: str = "oldest", **filters) -> list[str]:
    return [card.id for card in gallery.page(Filters(text=text, **filters), order=order).cards]


# ---- adding -------------------------------------------------------------------------------------------------------


def test_an_added_picture_is_on_the_disk_and_comes_back_with_its_path_and_without_pixels(gallery):
    made = gallery.add(result())
    assert made.image is None
    assert Path(made.path).is_file()
    assert Path(made.path) == gallery.folder / "pictures" / day_of(made.created_at) / f"{made.id}.png"
    entry = gallery.get(made.id)
    assert entry.info.record.resolved == made.resolved
    assert (entry.card.title, entry.card.seed, entry.characters) == ("Aoi, pink hair", "9007199254740993", ("Aoi",))
    assert entry.card.seconds == pytest.approx(3.85)


def test_an_id_that_is_taken_or_impossible_is_replaced_and_nothing_is_overwritten(gallery):
    names = [gallery.add(result(id=id, colour=colour)).id for id, colour in [("same", "red"), ("same", "blue")]]
    names.append(gallery.add(result(id="../../etc/passwd")).id)
    assert names[0] == "same"
    assert len(set(names)) == 3
    assert all(is_id(name) for name in names)
    assert gallery.page().total == 3
    assert {path.stem for path in gallery.folder.rglob("*.png")} == set(names)


def test_a_picture_without_pixels_is_refused(gallery):
    with pytest.raises(PictureError, match="no pixels"):
        gallery.add(replace(result(), image=None))


def test_a_full_disk_is_raised_and_leaves_nothing(gallery, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        gallery.add(result())
    monkeypatch.undo()
    assert gallery.page().total == 0
    assert [path for path in gallery.folder.rglob("*") if path.is_file() and "cache" not in str(path)] == []


def test_trouble_with_the_index_loses_no_picture(gallery, monkeypatch):
    def locked(*_):
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(gallery._index, "put", locked)
        made = gallery.add(result())
    assert Path(made.path).is_file()
    gallery.catch_up()
    assert ids(gallery) == [made.id]


def test_an_index_that_turns_to_garbage_loses_no_picture(gallery):
    first = add(gallery, 1)
    for path in (gallery.folder / INDEX).parent.glob("index.*"):
        with path.open("r+b") as file:
            file.write(b"garbage " * (path.stat().st_size // 8))
    second = add(gallery, 2)
    assert ids(gallery) == [first, second]
    assert gallery.facets().total == 2


def test_an_index_that_cannot_be_asked_loses_no_picture(gallery, monkeypatch):
    def fail(*_):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(gallery._index, "get", fail)
        patch.setattr(gallery._index, "put", fail)
        made = gallery.add(result())
    assert Path(made.path).is_file()


def test_a_disk_without_room_for_the_index_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(index.Index, "_prepare", full)
    with pytest.raises(SettingsError, match=r"No index of the pictures can be kept in .* \(database or disk is full\)"):
        Gallery(tmp_path)


def test_a_gallery_whose_index_can_take_nothing_new_opens(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with Gallery(tmp_path) as gallery:
        made = add(gallery)
        gallery._index.drop_places([gallery.path(made).relative_to(tmp_path).as_posix()])
    with monkeypatch.context() as patch:
        patch.setattr(index.Index, "put", full)
        with Gallery(tmp_path) as gallery:
            assert ids(gallery) == []
    assert "cannot take what is new (database or disk is full)" in caplog.text
    with Gallery(tmp_path) as gallery:
        assert ids(gallery) == [made]


def test_ids_sort_by_time_and_hold_nothing_else(monkeypatch):
    made = [new_id(1e9 + number / 7) for number in range(200)]
    assert made == sorted(made)
    assert len({new_id(1e9) for _ in range(1000)}) == 1000  # two alike: one run in two million
    assert not any(is_id(text) for text in ("", "../x", "a/b", "a.png", "-x", "a" * 81, "ä", "x\n", None, 5))
    assert is_id(new_id(float("nan")))
    assert not is_day("2026-13-01")


# ---- finding ------------------------------------------------------------------------------------------------------


def test_pages_follow_each_other_by_cursor_and_by_number_in_every_order(gallery):
    for number in range(7):
        add(gallery, number)
    gallery.set_rating(["2026-0003", "2026-0005"], 4)
    for order in ("newest", "oldest", "rating", "fastest", "slowest"):
        whole = [card.id for card in gallery.page(order=order).cards]
        assert len(whole) == 7
        parts, after = [], ""
        while True:
            page = gallery.page(order=order, limit=3, after=after)
            assert page.total == 7
            parts += [card.id for card in page.cards]
            if not page.after:
                break
            after = page.after
        assert parts == whole
        assert [card.id for card in gallery.page(order=order, limit=3, offset=3).cards] == whole[3:6]
    assert ids(gallery, order="newest")[0] == "2026-0006"
    assert ids(gallery, order="rating")[:2] == ["2026-0005", "2026-0003"]
    assert [card.id for card in gallery] == ids(gallery)
    with pytest.raises(PictureError, match="'sideways'"):
        gallery.page(order="sideways")


PROMPTS = {
    1: TWO,
    2: "1girl, dark_blue_hair, (red eyes:1.2), café",
    3: "<character_1><n>初音ミク</n><gender>1girl</gender><appearance>青い髪</appearance></character_1>",
    4: "a long caption about a Lighthouse, by night",
    5: "<character_1><n>aris_\\(blue archive\\)</n><gender>1girl</gender></character_1>",
}

SEARCHES = [
    ("", [1, 2, 3, 4, 5]),
    ("blue_hair", [1, 2]),
    ("blue hair", [1, 2]),
    ('"blue hair"', [1, 2]),
    ('"hair blue"', []),
    ("tag:blue_hair", [1]),
    ('tag:"blue hair"', [1]),
    ("tag:red_eyes", [2]),
    ("-tag:blue_hair", [2, 3, 4, 5]),
    ("blue -dark", [1, 5]),
    ("lightho", [4]),
    ("LIGHTHOUSE", [4]),
    ("cafe", [2]),
    ("CAFÉ", [2]),
    ("ミク", [3]),
    ("初音", [3]),
    ("青い髪", [3]),
    ("音初", []),
    ("character:aoi", [1]),
    ("character:AOI", [1]),
    ('character:"aris (blue archive)"', [5]),
    ("appearance", []),
    ("lowres", []),
    ("100%", []),
    ("nosuchthing", []),
    ("blue, hair", [1, 2]),
    ("nosuchkey:x", []),
    ("blue_hair,café", [2]),
    ("blue_hair、café", [2]),
    ("is:nonsense", []),
    ("size:wide", []),
    ("rating:many", []),
    ("rating:>=0", [1, 2, 3, 4, 5]),
    (">_<", [1]),
    ("-😀", [1, 2, 3, 4, 5]),
    ("😀", []),
    ("ink", [1, 2, 3, 4, 5]),
]


@pytest.fixture(params=["fts5", "plain"], scope="module")
def searchable(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(index, "has_fts5", lambda connection: False)
        with Gallery(tmp_path_factory.mktemp(request.param)) as opened:
            assert opened._index.searches_words == (request.param == "fts5")
            for number, prompt in PROMPTS.items():
                add(opened, number, prompt=prompt)
            yield opened


@pytest.mark.parametrize(("text", "wanted"), SEARCHES)
def test_what_is_typed_finds_what_is_meant_with_and_without_full_text_search(searchable, text, wanted):
    assert ids(searchable, text) == [f"2026-{number:04d}" for number in wanted]


@pytest.mark.parametrize(
    "text",
    [
        '"',
        '""',
        "'",
        "OR",
        "AND NOT",
        "NEAR(",
        "words:",
        "*",
        "a*",
        "(",
        "^x",
        "-",
        "--",
        "tag:",
        "seed:",
        "x" * 5000,
        "�",
        "\x00",
        "'; DROP TABLE pictures; --",
        "%",
        "_",
        "!",
        "a " * 500,
        "is:",
        "rating:x",
        "size:1",
        "date:x",
        "tag:�",
        "collection:'",
        'character:"',
        "😀",
        "seed:" + "9" * 100,
    ],
)
def test_nothing_that_is_typed_is_an_accident(searchable, text):
    for filters in (Filters(text=text), Filters(tag=text, collection=text, character=text, preset=text, seed=text)):
        searchable.page(filters)
    assert searchable.page().total == 5


def test_every_filter_narrows(gallery):
    first, second = add(gallery, 1, seed=42, preset="quality"), add(gallery, 2, seed=43, preset="economy")
    gallery.set_favourite([first], True)
    gallery.set_rating([second], 3)
    gallery.collect("Night scenes", [second])
    today = day_of(NOW - 10_000)
    for text, filters, wanted in [
        ("seed:42", {}, [first]),
        ("", {"seed": "43"}, [second]),
        ("is:favourite", {}, [first]),
        ("", {"favourite": True}, [first]),
        ("rating:3", {}, [second]),
        ("rating:>=4", {}, []),
        ("-rating:3", {}, [first]),
        ("", {"rating": 2}, [second]),
        ("preset:quality", {}, [first]),
        ("", {"preset": "economy"}, [second]),
        ('collection:"Night scenes"', {}, [second]),
        ("", {"collection": "Night scenes", "favourite": True}, []),
        ("model:demo", {}, [first, second]),
        ("lora:ink", {}, [first, second]),
        ("program:newbie_ui", {}, [first, second]),
        ("size:16x16", {}, [first, second]),
        (today, {}, [first, second]),
        (f"date:{today[:7]}", {}, [first, second]),
        ("date:1999-01", {}, []),
        ("", {"since": today, "until": today}, [first, second]),
        ("", {"until": "2000-01-01"}, []),
        ("", {"trashed": True}, []),
    ]:
        assert ids(gallery, text, **filters) == wanted, (text, filters)


def test_facets_count_what_the_navigation_shows(gallery):
    names = [add(gallery, number) for number in range(3)]
    gallery.set_favourite(names[:2], True)
    gallery.collect("Trip", names[:2])
    gallery.collect("Empty")
    gallery.delete(names[:1])
    found = gallery.facets()
    assert (found.total, found.favourites, found.trashed) == (2, 1, 1)
    assert found.collections == (("Trip", 1), ("Empty", 0))
    assert (found.characters, found.presets, found.programs) == (
        (("Aoi", 2),),
        (("balanced", 2),),
        (("newbie_ui", 2),),
    )


@pytest.mark.parametrize("id", ["", "nosuch", "../x", "a/b", "x" * 200, "\0", None])
def test_an_unknown_id_is_a_sentence_and_never_a_path(gallery, id):
    add(gallery)
    assert gallery.card(id) is None
    for ask in (gallery.path, gallery.get, gallery.thumbnail, lambda i: gallery.delete([i])):
        with pytest.raises(PictureError, match="not in the gallery"):
            ask(id)


# ---- marks --------------------------------------------------------------------------------------------------------


def marked(gallery: Gallery) -> tuple:
    cards = gallery.page(order="oldest").cards
    inside = {name: ids(gallery, collection=name) for name in gallery.collections()}
    return [(card.id, card.favourite, card.rating) for card in cards], inside


def test_marks_survive_a_rebuild_a_restart_and_a_lost_index(tmp_path):
    with Gallery(tmp_path) as gallery:
        one, two = add(gallery, 1), add(gallery, 2)
        gallery.set_favourite([one, two], True)
        gallery.set_favourite([two], False)
        gallery.set_rating([two], 5)
        gallery.collect("A", [one, two])
        gallery.uncollect("A", [one])
        gallery.collect("B", [one])
        gallery.rename_collection("B", "Früh ☕")
        gallery.collect("gone", [one])
        gallery.drop_collection("gone")
        back, made_at = gallery.drop_collection("A")
        gallery.collect("A", back, made_at)
        before = marked(gallery)
        assert before == ([(one, True, 0), (two, False, 5)], {"A": [two], "Früh ☕": [one]})
        assert gallery.collections() == ("A", "Früh ☕")
        gallery.rebuild()
        assert marked(gallery) == before
    (tmp_path / INDEX).unlink()
    with Gallery(tmp_path) as gallery:
        assert marked(gallery) == before
        assert gallery.collections() == ("A", "Früh ☕")


def test_renaming_into_another_collection_joins_the_two(gallery):
    one, two = add(gallery, 1), add(gallery, 2)
    gallery.collect("A", [one, two])
    gallery.collect("B", [two])
    gallery.rename_collection("A", "B")
    assert gallery.collections() == ("B",)
    assert ids(gallery, collection="B") == [one, two]


def test_a_torn_or_foreign_line_costs_only_itself(tmp_path):
    with Gallery(tmp_path) as gallery:
        one = add(gallery)
        gallery.set_favourite([one], True)
    with open(tmp_path / MARKS, "ab") as file:
        file.write(
            b'{"do": "from the future", "ids": ["x"]}\n[1]\n\xff\xfe\n{"do":"rating","ids":5,"value":"x"}\n'
            + b'{"do":"collection","name":"odd","value":1%s,"at":NaN}\n' % (b"0" * 400)
            + b'{"do": "rat'
        )
    with Gallery(tmp_path) as gallery:
        gallery.set_rating([one], 2)
        assert marked(gallery)[0] == [(one, True, 2)]
        gallery.rebuild()
        assert marked(gallery)[0] == [(one, True, 2)]


def test_a_replaced_journal_is_applied_from_its_start(tmp_path):
    with Gallery(tmp_path) as gallery:
        one = add(gallery)
        gallery.set_favourite([one], True)
        old = (tmp_path / MARKS).read_bytes()
        gallery.set_favourite([one], False)
        gallery.set_rating([one], 4)
    (tmp_path / MARKS).write_bytes(old)
    with Gallery(tmp_path) as gallery:
        assert marked(gallery)[0] == [(one, True, 0)]


def test_a_mark_is_durable_before_it_counts(gallery, monkeypatch):
    one = add(gallery)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        gallery.set_favourite([one], True)
    assert not gallery.card(one).favourite


@pytest.mark.parametrize("rating", [-1, 6, True, "3", None, 2.5])
def test_ratings_go_from_nought_to_five(gallery, rating):
    with pytest.raises(PictureError, match="Use 0 to 5"):
        gallery.set_rating([add(gallery)], rating)


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, None, "a\x07b"])
def test_a_collection_needs_a_name(gallery, name):
    with pytest.raises(PictureError, match="Use 1 to 80"):
        gallery.collect(name, [])


# ---- deleting -----------------------------------------------------------------------------------------------------


def test_deleting_moves_to_the_trash_and_can_be_undone_with_all_marks(gallery):
    one, two = add(gallery, 1), add(gallery, 2)
    gallery.set_favourite([one], True)
    gallery.collect("A", [one])
    place = gallery.path(one)
    assert gallery.delete([one]) == [one]
    assert gallery.delete([one]) == []
    assert not place.exists()
    assert ids(gallery) == [two]
    assert ids(gallery, trashed=True) == [one]
    assert gallery.path(one).parent.parent.name == "trash"
    gallery.rebuild()
    assert ids(gallery, trashed=True) == [one]
    assert gallery.undelete([one]) == [one]
    assert gallery.path(one) == place
    assert marked(gallery) == ([(one, True, 0), (two, False, 0)], {"A": [one]})


def test_the_trash_is_purged_by_age_and_takes_marks_with_it(gallery):
    one, two = add(gallery, 1), add(gallery, 2)
    gallery.collect("A", [one])
    thumb = gallery.thumbnail(one)
    gallery.delete([one])
    assert gallery.purge(max_age_days=30) == 0
    assert gallery.purge(max_age_days=0) == 1
    assert not thumb.exists()
    assert [path.stem for path in gallery.folder.rglob("*.png")] == [two]
    assert list((gallery.folder / "trash").iterdir()) == []
    gallery.rebuild()
    assert ids(gallery, collection="A") == []
    with pytest.raises(PictureError):
        gallery.undelete([one])


def test_old_trash_is_known_by_its_folder_after_a_rebuild(gallery):
    one = add(gallery)
    gallery.delete([one])
    path = gallery.path(one)
    old = gallery.folder / "trash" / "2001-01-01"
    old.mkdir()
    path.rename(old / path.name)
    gallery.rebuild()
    assert gallery.clean() == 1


# ---- the index and the files --------------------------------------------------------------------------------------


def test_files_that_came_went_moved_or_changed_are_learnt_at_the_next_start(tmp_path):
    with Gallery(tmp_path) as gallery:
        gone, moved, changed = add(gallery, 1), add(gallery, 2), add(gallery, 3)
        paths = {id: gallery.path(id) for id in (gone, moved, changed)}
    paths[gone].unlink()
    (tmp_path / "pictures" / "2020-02-02").mkdir()
    paths[moved].rename(tmp_path / "pictures" / "2020-02-02" / paths[moved].name)
    paths[changed].write_bytes((DATA / "01_a1111_basic.png").read_bytes())
    (tmp_path / "pictures" / "2020-02-02" / "new.png").write_bytes(
        (DATA / "09_novelai_v45_two_characters.png").read_bytes()
    )
    with Gallery(tmp_path) as gallery:
        assert set(ids(gallery)) == {moved, changed, "new"}
        assert gallery.path(moved).parent.name == "2020-02-02"
        assert gallery.card(changed).program == "A1111"
        assert ids(gallery, "tag:red_scarf") == ["new"]


def test_what_is_no_picture_of_ours_is_left_alone(tmp_path, caplog):
    day = tmp_path / "pictures" / "2026-01-01"
    day.mkdir(parents=True)
    (day / "broken.png").write_bytes(b"no picture")
    (day / "notes.txt").write_text("keep me")
    (day / "bad name.png").write_bytes(b"x")
    (day / "link.png").symlink_to("/etc/passwd")
    (tmp_path / "pictures" / "other").mkdir()
    (tmp_path / "pictures" / "2026-99-99").mkdir()
    with Gallery(tmp_path) as gallery:
        assert gallery.page().total == 0
    assert len(list(day.iterdir())) == 4
    assert "broken.png" in caplog.text


@pytest.mark.parametrize("damage", ["text", "cut", "header", "newer", "older"])
def test_a_broken_index_is_put_aside_and_made_again(tmp_path, damage):
    with Gallery(tmp_path) as gallery:
        made = [add(gallery, number) for number in range(30)]
        gallery.set_favourite(made[:1], True)
    path = tmp_path / INDEX
    data = path.read_bytes()
    if damage == "text":
        path.write_text("this is not a database at all, not in the least")
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "header":
        path.write_bytes(b"\0" * 200 + data[200:])
    else:
        with sqlite3.connect(path) as connection:
            if damage == "newer":
                connection.execute("INSERT INTO migrations VALUES ('9999_future', 0)")
            else:
                connection.execute("DELETE FROM migrations WHERE name > '0001_z'")
    with Gallery(tmp_path) as gallery:
        assert ids(gallery) == made
        assert gallery.card(made[0]).favourite


def test_an_index_that_breaks_while_in_use_is_mended(tmp_path, monkeypatch):
    with Gallery(tmp_path) as gallery:
        made = add(gallery)
        calls = []

        def break_once(connection):
            calls.append(1)
            if len(calls) == 1:
                raise sqlite3.DatabaseError("database disk image is malformed")
            return connection.execute("SELECT count(*) FROM pictures").fetchone()[0]

        assert gallery._ask(break_once) == 1
        assert ids(gallery) == [made]

        def broken(connection):
            raise sqlite3.DatabaseError("database disk image is malformed")

        with pytest.raises(sqlite3.DatabaseError):
            gallery._ask(broken)
        assert ids(gallery) == [made]


def test_an_interrupted_migration_is_done_again(tmp_path, monkeypatch):
    def fail(connection):
        connection.execute("CREATE TABLE half (x)")
        raise KeyboardInterrupt

    real = index.MIGRATIONS
    for stop in range(len(real)):
        folder = tmp_path / str(stop)
        monkeypatch.setattr(index, "MIGRATIONS", (*real[:stop], ("x_fail", fail)))
        with pytest.raises(KeyboardInterrupt):
            Gallery(folder)
        monkeypatch.setattr(index, "MIGRATIONS", real)
        with Gallery(folder) as gallery:
            add(gallery)
            assert gallery.page().total == 1


def test_many_new_files_are_read_in_the_background_while_the_gallery_is_used(tmp_path, monkeypatch):
    before = threading.active_count()
    with Gallery(tmp_path) as gallery:
        made = [add(gallery, number) for number in range(12)]
    (tmp_path / INDEX).unlink()
    monkeypatch.setattr("newbie_ui.gallery.store.FOREGROUND", 5)
    monkeypatch.setattr(scan, "PORTION", 2)
    with Gallery(tmp_path) as gallery:
        made.append(add(gallery, 99))
        assert gallery._upkeep.wait(20)
        assert not gallery.catching_up
        assert ids(gallery) == made
    (tmp_path / INDEX).unlink()
    with Gallery(tmp_path, wait=True, upkeep=False) as gallery:
        assert ids(gallery) == made
        assert threading.active_count() == before


def test_old_trash_goes_in_the_background(tmp_path, monkeypatch):
    with Gallery(tmp_path) as gallery:
        one = add(gallery)
        gallery.delete([one])
        path = gallery.path(one)
    old = tmp_path / "trash" / "2001-01-01"
    old.mkdir()
    path.rename(old / path.name)
    monkeypatch.setattr(upkeep, "FIRST_AFTER_S", 0.01)
    with Gallery(tmp_path) as gallery:
        for _ in range(200):
            if not old.exists():
                break
            time.sleep(0.05)
        assert gallery.facets().trashed == 0


def test_small_pictures_are_made_kept_and_bounded(gallery):
    made = [add(gallery, number) for number in range(3)]
    gallery.thumbnail(made[0]).unlink()
    again = gallery.thumbnail(made[0])
    assert again.read_bytes()[8:12] == b"WEBP"
    gallery.thumbs.max_bytes = again.stat().st_size + 1
    assert gallery.thumbs.clean() == 2
    assert gallery.thumbnail(made[1]).is_file()


def test_cleaning_removes_what_a_crash_left(gallery):
    add(gallery)
    left = gallery.folder / "pictures" / ".x.png.12345678.part"
    left.write_bytes(b"half")
    assert gallery.clean() == 0
    os.utime(left, (1, 1))
    assert gallery.clean() == 1
    assert gallery.page().total == 1
    assert gallery.free_bytes() > 0


# ---- several at once ----------------------------------------------------------------------------------------------


def test_many_threads_may_do_everything_at_once(gallery):
    failures = []

    def work(number):
        try:
            for step in range(4):
                id = add(gallery, number * 100 + step)
                gallery.set_favourite([id], True)
                gallery.collect("all", [id])
                gallery.page(Filters(text="blue"), limit=5)
                gallery.facets()
                if step % 2:
                    gallery.delete([id])
                    gallery.undelete([id])
                gallery.thumbnail(id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert gallery.facets().favourites == gallery.page(Filters(collection="all")).total == 24


def test_two_galleries_over_one_folder_lose_nothing(tmp_path):
    with Gallery(tmp_path) as one, Gallery(tmp_path) as two:
        first, second = one.add(result(id="same")).id, two.add(result(id="same", colour="red")).id
        assert first != second
        one.set_favourite([first], True)
        two.set_rating([first], 3)
        for gallery in (one, two):
            card = gallery.card(first)
            assert (gallery.page().total, card.favourite, card.rating) == (2, True, 3)


CHILD = """
import sys
sys.path[:0] = [{root!r}]
from newbie_ui.gallery.store import Gallery
from tests.gallery.making import result
gallery = Gallery({folder!r})
number = int({start!r})
while True:
    number += 1
    made = gallery.add(result(id=f"r{{number:06d}}", size=(64, 64)))
    gallery.set_favourite([made.id], True)
    print(made.id, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_announced(tmp_path):
    root = str(Path(__file__).parents[2])
    announced: list[str] = []
    for round in range(4):
        code = CHILD.format(root=root, folder=str(tmp_path), start=str(round * 1000))
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            lines = [child.stdout.readline() for _ in range(3 + 2 * round)]
            child.kill()
            lines += child.stdout.read().splitlines(keepends=True)
        announced += [line.strip() for line in lines if line.endswith("\n")]
    assert len(announced) >= 24
    with Gallery(tmp_path) as gallery:
        cards = {card.id: card for card in gallery}
        assert set(announced) <= set(cards)
        assert all(cards[id].favourite for id in announced)
        on_disk = {path.stem for path in (tmp_path / "pictures").rglob("*.png")}
        assert on_disk == set(cards)
        for id in cards:
            assert gallery.get(id).info.record is not None
