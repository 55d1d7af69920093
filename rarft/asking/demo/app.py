"""The web server of the demo: the page, its clips, uploads and questions."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, BeforeValidator, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rarft.asking.demo.offer import Model, Video
from rarft.schema import Crop, without_surrogates
from rarft.system.errors import VideoError
from rarft.video import Clip, GuardedReader, frame_uri

HERE = Path(__file__).parent
PAGES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
LARGEST_UPLOAD = 200_000_000  # bytes
FRAMES, FRAME_PIXELS = 12, 96  # of a frame strip: their number, and the longer side of each in pixels
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def _clean(value: Any) -> Any:
    return without_surrogates(value).strip() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_clean)]


class AskRequest(BaseModel, extra="forbid"):
    """A question from the page."""

    clip: Text
    query: Text = Field(min_length=1, max_length=500)


def make_app(models: Sequence[Model], videos: dict[str, Video], reader: GuardedReader, hosts: Sequence[str]) -> FastAPI:
    """Make the web application.

    Args:
        videos: the initial clips by name; uploads are added to it.
        hosts: the host names that requests may use. Others are rejected, so that web pages elsewhere cannot send
            requests through their visitors' browsers.
    """
    app = FastAPI(title="rarft demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    uploads = tempfile.TemporaryDirectory(prefix="rarft-demo-")
    app.state.uploads = uploads  # removed with the application

    @app.middleware("http")
    async def secured(request: Request, answer):
        response = await answer(request)
        response.headers.update(SECURITY)
        return response

    for route, name in PAGES.items():
        app.add_api_route(route, _file(HERE / name), methods=["GET"])

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/clips")
    def clips() -> dict[str, Any]:
        known = [{"name": name, "title": video.title, "queries": video.queries} for name, video in videos.items()]
        return {"models": [model.name for model in models], "clips": known}

    @app.get("/frames/{name}")
    def frames(name: str) -> dict[str, Any]:
        try:
            return strip(_read(reader, _known(videos, name).crop))
        except VideoError as error:
            raise HTTPException(422, str(error)) from error

    @app.post("/upload")
    async def upload(request: Request, title: str = "your video") -> dict[str, str]:
        name = uuid.uuid4().hex
        path = Path(uploads.name) / f"{name}.mp4"  # of any format: the reader detects it
        size = 0
        with open(path, "wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > LARGEST_UPLOAD:
                    break
                file.write(part)
        try:
            if size > LARGEST_UPLOAD:
                raise HTTPException(413, f"the file has more than {LARGEST_UPLOAD // 10**6} MB; cut or scale it first")
            _read(reader, Crop(str(path)))
        except VideoError as error:
            path.unlink()
            raise HTTPException(422, str(error).replace(str(path), title)) from error
        except HTTPException:
            path.unlink()
            raise
        videos[name] = Video(Crop(str(path)), title[:80])
        return {"name": name}

    @app.post("/ask")
    def ask(question: AskRequest) -> list[dict[str, Any]]:
        video = _known(videos, question.clip)
        try:
            return [model.ask(video.crop, question.query) for model in models]
        except VideoError as error:
            raise HTTPException(422, str(error)) from error

    return app


def _file(path: Path):
    """An endpoint that returns a file."""
    return lambda: FileResponse(path)


def _read(reader: GuardedReader, crop: Crop) -> Clip:
    return reader(crop.video, start=crop.start, end=crop.end, max_frames=FRAMES)


def _known(videos: dict[str, Video], name: str) -> Video:
    if name not in videos:
        raise HTTPException(404, "no such clip; reload the page")
    return videos[name]


def strip(clip: Clip) -> dict[str, Any]:
    """The frames of a clip as data URIs, with their seconds, and the duration."""
    height, width = clip.frames.shape[1:3]
    scale = min(1.0, FRAME_PIXELS / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = [
        {"second": float(second), "picture": frame_uri(frame, size)}
        for frame, second in zip(clip.frames, clip.seconds, strict=True)
    ]
    return {"duration": clip.duration, "frames": pictures}
