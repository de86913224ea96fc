"""Pictures by checked id, and what the gallery's tab may read and change."""

import io
import json
import time
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from newbie_ui.gallery.store import Gallery
from newbie_ui.request import GenerateRequest, GenerateResult, Memory, ResolvedRequest, Timings
from newbie_ui.server.pictures import add_pictures
from newbie_ui.ui.compose import EXAMPLE
from newbie_ui.ui.shelf import Shelf

HOSTILE = "<character_1><n><img src=x onerror=alert(1)></n><appearance>${alert(2)}</appearance></character_1>"


def result(number: int, prompt: str = EXAMPLE, preset: str = "cpu") -> GenerateResult:
    request = GenerateRequest(prompt)
    resolved = ResolvedRequest(request, "system", 64, 48, 4, 4.5, 6.0, 1000 + number, preset, "Demo")
    timings = Timings(queue_s=0.5, encode_s=0.1, denoise_s=0.8, decode_s=0.1, total_s=1.5, steps=4)
    image = Image.new("RGB", (64, 48), (number * 40 % 256, 120, 200))
    return GenerateResult(f"20261122-10000{number}-000000-abcd", resolved, timings, Memory(), time.time(), {}, image)


@pytest.fixture
def gallery(tmp_path):
    with Gallery(tmp_path / "gallery") as gallery:
        yield gallery


@pytest.fixture
def ids(gallery):
    names = [EXAMPLE.replace("$character_1$", name) for name in ("Aoi", "Momo")]
    return [gallery.add(result(k, prompt)).id for k, prompt in enumerate([*names, HOSTILE])]


def test_every_address_is_written_down():
    app = FastAPI()
    add_pictures(app, None, may_edit=True, temp_dir=Path())
    page = (Path(__file__).parents[2] / "docs/gallery.md").read_text("utf-8").replace("<id>.png", "{name}")
    page = page.replace("<id>.webp", "{name}").replace("<id>", "{id}")
    made = [(*route.methods, route.path) for route in app.routes if "/openapi" not in route.path]
    asked = [f"`{method} {path}`" for method, path in (one for one in made if len(one) == 2)]
    assert [address for address in asked if address not in page] == []
    assert len(asked) > 11


def client_for(gallery, tmp_path, may_edit=True):
    app = FastAPI()
    add_pictures(app, Shelf(gallery), may_edit=may_edit, temp_dir=tmp_path)
    return TestClient(app)


@pytest.fixture
def client(gallery, tmp_path):
    return client_for(gallery, tmp_path)


def test_a_picture_is_served_as_it_was_saved_and_may_be_kept_for_ever(client, gallery, ids):
    answer = client.get(f"/pictures/{ids[0]}.png")
    assert answer.content == gallery.path(ids[0]).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert "attachment" not in answer.headers.get("content-disposition", "")


def test_without_metadata_only_the_pixels_leave(client, ids):
    answer = client.get(f"/pictures/{ids[0]}.png?plain=1&download=1")
    assert answer.headers["content-disposition"] == f'attachment; filename="{ids[0]}.png"'
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (64, 48)
    assert not {"parameters", "newbie_ui"} & set(picture.info)
    assert b"Aoi" not in answer.content


def test_a_thumbnail_is_a_small_webp(client, ids):
    answer = client.get(f"/thumbs/{ids[0]}.webp")
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"


@pytest.mark.parametrize(
    "name", ["nothing.png", "..%2f..%2fmarks.png", "%2e%2e.png", "a%00b.png", "C%3A%5Cx.png", "x" * 300 + ".png"]
)
def test_an_id_that_is_none_is_not_found_and_touches_no_file(client, ids, name):
    for path in (f"/pictures/{name}", f"/thumbs/{name.replace('.png', '.webp')}", f"/gallery/picture/{name}"):
        assert client.get(path).status_code == 404


def test_lists_are_searched_ordered_and_cut(client, ids):
    everything = client.get("/gallery/list").json()
    assert everything["total"] == 3
    assert [item["id"] for item in everything["items"]] == ids[::-1]
    assert client.get("/gallery/list?q=Momo").json()["total"] == 1
    assert client.get("/gallery/list?character=Aoi").json()["items"][0]["id"] == ids[0]
    assert client.get("/gallery/list?order=oldest&limit=1&offset=1").json()["items"][0]["id"] == ids[1]
    assert client.get("/gallery/list?order=nonsense").json()["total"] == 3


@pytest.mark.parametrize("query", ["offset=-1", "limit=many", "offset=99999999999999999999"])
def test_numbers_that_are_none_are_refused(client, query):
    answer = client.get(f"/gallery/list?{query}")
    assert answer.status_code == 400
    assert "whole number" in answer.json()["error"]


def test_a_search_that_no_database_likes_is_still_a_search(client, ids):
    for text in ('"', "'; DROP TABLE pictures; --", "*", "%", "NEAR(", "\x00", "🎨", "tag:", "x" * 5000):
        assert client.get("/gallery/list", params={"q": text}).status_code == 200
    assert client.get("/gallery/list").json()["total"] == 3


def test_the_counts_follow_what_is_there(client, ids):
    client.post("/gallery/edit", json={"ids": [ids[0]], "favourite": True, "put_in": "School  trip"})
    facets = client.get("/gallery/facets").json()
    assert (facets["all"], facets["favourites"], facets["today"]) == (3, 1, 3)
    assert facets["collections"] == [{"name": "School trip", "count": 1}]
    assert {"name": "Aoi", "count": 1} in facets["characters"]
    assert facets["presets"] == [{"name": "cpu", "count": 3}]


def test_the_detail_tells_everything_as_text(client, ids):
    detail = client.get(f"/gallery/picture/{ids[0]}").json()
    assert (detail["seed"], detail["width"], detail["preset"], detail["restorable"]) == ("1000", 64, "cpu", True)
    assert detail["timings"]["denoise_s"] == 0.8
    assert detail["blocks"][0]["name"] == "Aoi"


def test_hostile_text_arrives_as_json_and_nowhere_as_a_page(client, ids):
    for path in ("/gallery/list", f"/gallery/picture/{ids[2]}"):
        answer = client.get(path)
        assert answer.headers["content-type"] == "application/json"
    assert client.get(f"/gallery/picture/{ids[2]}").json()["blocks"][0]["name"] == "<img src=x onerror=alert(1)>"


def test_marks_are_kept(client, ids):
    client.post("/gallery/edit", json={"ids": ids[:2], "rating": 4, "favourite": True})
    client.post("/gallery/edit", json={"ids": ids[:1], "favourite": False})
    items = {item["id"]: item for item in client.get("/gallery/list").json()["items"]}
    assert (items[ids[0]]["rating"], items[ids[0]]["favourite"]) == (4, False)
    assert (items[ids[1]]["rating"], items[ids[1]]["favourite"]) == (4, True)


def test_deleting_can_be_undone(client, gallery, ids):
    client.post("/gallery/delete", json={"ids": ids[:2]})
    assert client.get("/gallery/list").json()["total"] == 1
    client.post("/gallery/undelete", json={"ids": ids[:2]})
    assert client.get("/gallery/list").json()["total"] == 3
    assert gallery.path(ids[0]).is_file()


def test_the_trash_is_listed_by_when_pictures_were_deleted(client, ids):
    for id in (ids[2], ids[0]):
        client.post("/gallery/delete", json={"ids": [id]})
    found = client.get("/gallery/list?trash=1&order=oldest").json()
    assert [item["id"] for item in found["items"]] == [ids[0], ids[2]]
    assert all(item["trashed_at"] for item in found["items"])
    facets = client.get("/gallery/facets").json()
    assert (facets["all"], facets["trash"], facets["trash_days"]) == (1, 2, 30)
    assert client.get(f"/gallery/picture/{ids[0]}").json()["trashed_at"] == found["items"][0]["trashed_at"]
    client.post("/gallery/undelete", json={"ids": ids})
    assert client.get("/gallery/list?trash=1").json()["total"] == 0
    assert client.get("/gallery/list").json()["items"][0]["trashed_at"] is None


def test_collections_are_made_renamed_and_removed_without_their_pictures(client, ids):
    client.post("/gallery/collection", json={"name": "Sea", "ids": ids[:2]})
    client.post("/gallery/rename", json={"name": "Sea", "new": "The  coast"})
    assert client.get("/gallery/facets").json()["collections"] == [{"name": "The coast", "count": 2}]
    client.post("/gallery/delete", json={"ids": ids[:1]})
    client.post("/gallery/collection", json={"name": "Hills", "ids": []})
    dropped = client.post("/gallery/drop", json={"name": "The coast"}).json()
    assert sorted(dropped["ids"]) == ids[:2]
    assert client.get("/gallery/facets").json()["collections"] == [{"name": "Hills", "count": 0}]
    assert client.get("/gallery/list").json()["total"] == 2
    client.post("/gallery/collection", json={"name": "The coast", **dropped})
    assert client.get("/gallery/list?collection=The coast").json()["total"] == 1
    assert [row["name"] for row in client.get("/gallery/facets").json()["collections"]] == ["The coast", "Hills"]
    assert client.post("/gallery/drop", json={"name": "none"}).json() == {"ids": [], "made_at": None}


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("edit", {"ids": []}, "1 to 5000"),
        ("edit", {"ids": "all"}, "1 to 5000"),
        ("edit", {"ids": ["20261122-100000-000000-abcd"], "rating": 9}, "0 to 5"),
        ("edit", {"ids": ["20261122-100000-000000-abcd"], "rating": True}, "0 to 5"),
        ("edit", {"ids": ["20261122-100000-000000-abcd"], "favourite": "yes"}, "true or false"),
        ("edit", {"ids": ["20261122-100000-000000-abcd"], "put_in": " \n "}, "1 to 80"),
        ("collection", {"name": "x" * 100, "ids": []}, "1 to 80"),
        ("collection", {"name": "Sea", "ids": [], "made_at": "long ago"}, "seconds since 1970"),
        ("collection", {"name": "Sea", "ids": [], "made_at": 10**400}, "seconds since 1970"),
        ("rename", {"name": "Sea"}, "1 to 80"),
        ("rename", {"name": "", "new": "Sea"}, "1 to 80"),
        ("drop", {"name": 7}, "1 to 80"),
        ("delete", {"ids": ["20200101-000000-000000-none"]}, "not in the gallery"),
        ("delete", [1, 2], "JSON object"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_with_a_sentence(client, ids, path, body, sentence):
    answer = client.post(f"/gallery/{path}", content=json.dumps(body))
    assert answer.status_code in (400, 404)
    assert sentence in answer.json()["error"]


def test_guests_may_look_but_not_change(gallery, ids, tmp_path):
    client = client_for(gallery, tmp_path, may_edit=False)
    assert client.get("/gallery/list").json()["total"] == 3
    assert client.get("/gallery/list?trash=1").status_code == 403
    assert client.get("/gallery/zip?trash=1").status_code == 403
    for path in ("edit", "delete", "undelete", "collection", "rename", "drop"):
        answer = client.post(f"/gallery/{path}", json={"ids": ids, "favourite": True, "name": "x", "new": "y"})
        assert answer.status_code == 403
    assert client.get("/gallery/list").json()["total"] == 3


def test_several_pictures_come_as_zip_and_leave_nothing_behind(client, gallery, ids, tmp_path):
    answer = client.get("/gallery/zip", params={"ids": ",".join(ids[:2])})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.namelist() == [*(f"{id}.png" for id in ids[:2]), "pictures.jsonl"]
    assert archive.read(f"{ids[0]}.png") == gallery.path(ids[0]).read_bytes()
    plain = zipfile.ZipFile(io.BytesIO(client.get("/gallery/zip", params={"character": "Aoi", "plain": "1"}).content))
    assert plain.namelist() == [f"{ids[0]}.png"]
    assert b"Aoi" not in plain.read(f"{ids[0]}.png")
    assert list(Path(tmp_path).glob("zip-*")) == []


def test_an_empty_zip_is_refused(client):
    assert "Choose 1 to 1000" in client.get("/gallery/zip").json()["error"]


def test_a_bug_shows_a_reference_and_not_its_text(client, ids, monkeypatch, caplog):
    monkeypatch.setattr(Shelf, "facets", lambda self: 1 / 0)
    answer = client.get("/gallery/facets")
    assert answer.status_code == 500
    assert "division" not in answer.text
    reference = answer.json()["error"].rsplit(" ", 1)[-1].rstrip(".")
    assert reference in caplog.text


def test_a_picture_from_elsewhere_is_taken_once(client, gallery, ids, tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "JPEG")
    first = client.post("/gallery/import", content=stream.getvalue()).json()
    again = client.post("/gallery/import", content=stream.getvalue()).json()
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    assert client.get("/gallery/list").json()["total"] == 4
    answer = client.get(f"/pictures/{first['id']}.png")
    assert answer.headers["content-type"] == "image/jpeg"
    assert list(tmp_path.glob("import-*")) == []


@pytest.mark.parametrize(
    "content", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n" + b"x" * 50, b"GIF89a" + b"\0" * 50]
)
def test_what_is_no_picture_is_refused_with_a_sentence(client, content, tmp_path):
    answer = client.post("/gallery/import", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert list(tmp_path.glob("import-*")) == []
    assert client.get("/gallery/list").json()["total"] == 0


def test_a_refusal_says_the_name_that_people_know(client):
    for name, said in (("my cat.gif", "'my cat.gif'"), ("../x" * 99, "'../x"), ("", "''")):
        answer = client.post("/gallery/import", params={"name": name}, content=b"GIF89a" + b"\0" * 50)
        assert answer.json()["error"].startswith(said)
        assert answer.json()["error"].endswith("is not a PNG, WebP or JPEG picture. Choose one of these.")
        assert len(answer.json()["error"]) < 200
    assert "'this file' is not" in client.post("/gallery/import", content=b"GIF89a").json()["error"]


def test_guests_may_not_import(gallery, tmp_path):
    assert client_for(gallery, tmp_path, may_edit=False).post("/gallery/import", content=b"x").status_code == 403
