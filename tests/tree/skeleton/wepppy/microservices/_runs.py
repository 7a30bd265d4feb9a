"""What browse and download share: who may read a run, and which of its files a path means."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request

from wepppy.weppcloud.utils import auth_tokens
from wepppy.weppcloud.utils.helpers import get_wd

COOKIE = "wepp_browse_jwt"


class RunError(Exception):
    """A request that is refused: its status, its code and why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    @property
    def body(self) -> dict[str, object]:
        """The answer's document."""
        return {"error": {"message": str(self), "code": self.code}}


def run_folder(request: Request) -> Path:
    """Return the folder of the run in the path; raise RunError when it is not there or not the visitor's."""
    runid = request.path_params["runid"]
    try:
        folder = Path(get_wd(runid))
    except ValueError as error:
        raise RunError(400, "validation_error", str(error)) from error
    if not folder.is_dir():
        raise RunError(404, "run_not_found", f"Run {runid} not found")
    if not (folder / "PUBLIC").exists():
        _authorize(request, runid)
    return folder


def _authorize(request: Request, runid: str) -> None:
    token = request.cookies.get(COOKIE) or request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        claims = auth_tokens.decode(token, "browse")
    except auth_tokens.TokenError as error:
        raise RunError(401, "unauthorized", str(error)) from error
    if claims.get("runid") != runid:
        raise RunError(403, "forbidden", "The token is for another run")


def path_below(folder: Path, relative: str) -> Path:
    """Return an existing path of a run; raise RunError when it leaves the run or is hidden."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RunError(400, "path_outside_root", f"{relative} is outside of the run")
    if any(part.startswith((".", "_logs")) for part in path.relative_to(folder.resolve()).parts):
        raise RunError(403, "forbidden_path", f"{relative} is not for visitors")
    if not path.exists():
        raise RunError(404, "path_not_found", f"{relative} not found")
    return path
