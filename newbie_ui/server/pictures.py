"""Pictures by checked id, and the gallery's own small HTTP interface, which its tab uses.

    GET  /pictures/<id>.png     the file as saved; ?plain=1 without metadata, ?download=1 as a download
    GET  /thumbs/<id>.webp      a small one
    GET  /gallery/list          a page of results, ?q= ?order= ?favourite= ?today= ?collection= ?character= ?preset=,
                                or of the trash, ?trash=1
    GET  /gallery/facets        how many there are of each
    GET  /gallery/picture/<id>  everything about one
    GET  /gallery/zip           several files, by ids or by the same filters
    POST /gallery/edit, delete, undelete, import
    POST /gallery/collection, rename, drop      make a collection, name it anew, forget it

An id names a picture only if the gallery knows it; no path of a request ever reaches the disk. Files never change under
their id, so they are cached for ever. What changes pictures needs `may_edit`, as does the trash: on a shared page it
is refused.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from newbie_ui.errors import NewbieError, PictureError, UserError
from newbie_ui.gallery.layout import is_id
from newbie_ui.ui.shelf import MAX_ZIP, Query, Shelf

log = logging.getLogger(__name__)

FOREVER = "private, max-age=31536000, immutable"
MAX_PAGE = 200
MAX_IDS = 5000
MAX_QUERY = 300


class Refused(UserError):
    """A request to the gallery that is not done. `status` is the HTTP answer."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status

    def __reduce__(self):
        return type(self), (str(self), self.status)


def add_pictures(app: FastAPI, shelf: Shelf, *, may_edit: bool, temp_dir: Path) -> None:
    """Add the routes to the application."""
    routes = Routes(shelf, may_edit, temp_dir)
    for path, handler in (
        ("/pictures/{name}", routes.picture),
        ("/thumbs/{name}", routes.thumb),
        ("/gallery/list", routes.listing),
        ("/gallery/facets", routes.facets),
        ("/gallery/picture/{id}", routes.detail),
        ("/gallery/zip", routes.zip),
    ):
        app.add_api_route(path, answering(handler), methods=["GET"], response_model=None, include_in_schema=False)
    for path, handler in (
        ("/gallery/edit", routes.edit),
        ("/gallery/delete", routes.delete),
        ("/gallery/undelete", routes.undelete),
        ("/gallery/collection", routes.collection),
        ("/gallery/rename", routes.rename),
        ("/gallery/drop", routes.drop),
        ("/gallery/import", routes.add),
    ):
        app.add_api_route(path, answering(handler), methods=["POST"], response_model=None, include_in_schema=False)


def answering(handler: Callable) -> Callable:
    """Run a handler in a thread and turn what goes wrong into one sentence; the text of bugs stays in the log."""

    async def route(request: Request) -> Response:
        body = await request.body() if request.method == "POST" else b""
        try:
            return await run_in_threadpool(handler, request, body)
        except Refused as error:
            return JSONResponse({"error": str(error)}, error.status)
        except PictureError as error:
            return JSONResponse({"error": str(error)}, 404 if request.method == "GET" else 400)
        except NewbieError as error:
            return JSONResponse({"error": str(error)}, 400)
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("gallery request failed, reference %s", reference)
            return JSONResponse({"error": f"This did not work. The log has the reason under {reference}."}, 500)

    return route


class Routes:
    """The handlers. Each takes the request and its body and returns a response."""

    def __init__(self, shelf: Shelf, may_edit: bool, temp_dir: Path):
        self.shelf, self.may_edit, self.temp_dir = shelf, may_edit, temp_dir

    # ---- files -------------------------------------------------------------------------------------------------

    def picture(self, request: Request, _: bytes) -> Response:
        id = known_id(request.path_params["name"].removesuffix(".png"))
        headers = {"cache-control": FOREVER}
        if request.query_params.get("download"):
            name = f"{id}.png" if request.query_params.get("plain") else self.shelf.file(id).name
            headers["content-disposition"] = f'attachment; filename="{name}"'
        if request.query_params.get("plain"):
            return Response(self.shelf.plain(id), media_type="image/png", headers=headers)
        return FileResponse(self.shelf.file(id), media_type=self.shelf.media_type(id), headers=headers)

    def thumb(self, request: Request, _: bytes) -> Response:
        id = known_id(request.path_params["name"].removesuffix(".webp"))
        return FileResponse(self.shelf.thumb(id), media_type="image/webp", headers={"cache-control": FOREVER})

    def zip(self, request: Request, _: bytes) -> Response:
        ids = self._zip_ids(request)
        path = self.temp_dir / f"zip-{secrets.token_hex(8)}"
        try:
            with path.open("wb") as file:
                count = self.shelf.zip(ids, file, plain=bool(request.query_params.get("plain")))
        except NewbieError:
            path.unlink(missing_ok=True)
            raise
        clean_up = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename=f"newbie_ui-{count}.zip", background=clean_up)

    def _zip_ids(self, request: Request) -> list[str]:
        given = request.query_params.get("ids")
        if given:
            return [known_id(id) for id in given.split(",")[: MAX_ZIP + 1]]
        total, items = self.shelf.list(self._query(request), 0, MAX_ZIP)
        if total > MAX_ZIP:
            raise Refused(f"{total} pictures match; {MAX_ZIP} fit into one ZIP. Narrow the search.")
        return [item["id"] for item in items]

    # ---- reading -----------------------------------------------------------------------------------------------

    def listing(self, request: Request, _: bytes) -> Response:
        offset = whole(request, "offset", 0, 10**7)
        limit = whole(request, "limit", 60, MAX_PAGE)
        total, items = self.shelf.list(self._query(request), offset, limit)
        return fresh({"total": total, "items": items})

    def facets(self, request: Request, _: bytes) -> Response:
        return fresh(self.shelf.facets())

    def detail(self, request: Request, _: bytes) -> Response:
        return fresh(self.shelf.detail(known_id(request.path_params["id"])))

    def _query(self, request: Request) -> Query:
        query = query_of(request)
        if query.trash:
            self._may()
        return query

    # ---- changing ----------------------------------------------------------------------------------------------

    def edit(self, request: Request, body: bytes) -> Response:
        data = self._change(body)
        favourite, rating = data.get("favourite"), data.get("rating")
        if favourite is not None and not isinstance(favourite, bool):
            raise Refused("favourite is true or false.")
        if rating is not None and (isinstance(rating, bool) or rating not in range(6)):
            raise Refused("A rating is a whole number from 0 to 5.")
        names = {key: collection_name(data[key]) for key in ("put_in", "take_out") if data.get(key) is not None}
        self.shelf.edit(ids_of(data), favourite=favourite, rating=rating, **names)
        return fresh({})

    def delete(self, request: Request, body: bytes) -> Response:
        self.shelf.delete(ids_of(self._change(body)))
        return fresh({})

    def undelete(self, request: Request, body: bytes) -> Response:
        self.shelf.undelete(ids_of(self._change(body)))
        return fresh({})

    def collection(self, request: Request, body: bytes) -> Response:
        data = self._change(body)
        ids = ids_of(data, empty=True)
        self.shelf.make_collection(collection_name(data.get("name")), ids, data.get("made_at"))
        return fresh({})

    def rename(self, request: Request, body: bytes) -> Response:
        data = self._change(body)
        self.shelf.rename_collection(collection_name(data.get("name")), collection_name(data.get("new")))
        return fresh({})

    def drop(self, request: Request, body: bytes) -> Response:
        return fresh(self.shelf.drop_collection(collection_name(self._change(body).get("name"))))

    def add(self, request: Request, body: bytes) -> Response:
        """One picture file is the body. What it is, its bytes say; its name is only said again in a refusal."""
        self._may()
        path = self.temp_dir / f"import-{secrets.token_hex(8)}"
        try:
            path.write_bytes(body)
            return fresh(self.shelf.add(path))
        except PictureError as error:
            name = request.query_params.get("name", "this file")[:80]
            raise PictureError(str(error).replace(repr(path.name), repr(name))) from error
        finally:
            path.unlink(missing_ok=True)

    def _change(self, body: bytes) -> dict[str, Any]:
        self._may()
        return json_object(body)

    def _may(self) -> None:
        if not self.may_edit:
            raise Refused("This page is shared: pictures can be looked at, but not changed.", 403)


def fresh(data: Any) -> Response:
    return JSONResponse(data, headers={"cache-control": "no-store"})


def known_id(text: Any) -> str:
    """An id by its form; whether there is such a picture only the gallery knows."""
    if not is_id(text):
        raise Refused("This picture is not here any more.", 404)
    return text


def ids_of(data: dict[str, Any], empty: bool = False) -> list[str]:
    ids = data.get("ids")
    if not isinstance(ids, list) or len(ids) > MAX_IDS or not (ids or empty):
        raise Refused(f"ids must be a list of 1 to {MAX_IDS} picture ids.")
    return [known_id(id) for id in ids]


def collection_name(value: Any) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not 1 <= len(text) <= 80 or not text.isprintable():
        raise Refused("A collection needs a name of 1 to 80 characters.")
    return text


def query_of(request: Request) -> Query:
    """What is searched for. Whatever does not make sense is left out."""
    given = {key: value[:MAX_QUERY] for key, value in request.query_params.items()}
    return Query(
        text=given.get("q", ""),
        order=given.get("order", "newest"),
        favourite=given.get("favourite") == "1",
        today=given.get("today") == "1",
        collection=given.get("collection", ""),
        character=given.get("character", ""),
        preset=given.get("preset", ""),
        trash=given.get("trash") == "1",
    )


def whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refused(f"{name} {text[:20]!r} is not a whole number. Use 0 to {most}.")
    return min(int(text), most)


def json_object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise Refused("The body must be a JSON object.")
    return data
