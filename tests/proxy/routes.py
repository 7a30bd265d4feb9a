"""Every route of the proxy: what is asked for, who answers, and what that service sees of it."""

from __future__ import annotations

from dataclasses import dataclass

SERVICES = {
    "weppcloud": 8000, "status": 9002, "preflight": 9001, "browse": 9009, "webpush": 9003,
    "elevationquery": 8002, "wmesque": 8003, "wmesque2": 8030, "metquery": 8004,
    "rq-engine": 8042, "cap": 3000, "download": 9011, "query-engine": 8041, "dtale": 9010, "weppcloudr": 8050,
    "shape-converter": 8060, "rq-dashboard": 9181, "profile-playback": 8070,
}  # fmt: skip
RUN = "/weppcloud/runs/abc-def/cfg"


@dataclass(frozen=True)
class Route:
    """asked: the path; seen: the service's path; prefix: X-Forwarded-Prefix; wait: read timeout in seconds, 0 none."""

    asked: str
    service: str
    seen: str
    prefix: str = "/weppcloud"
    wait: int = 0

    def __str__(self) -> str:
        return self.asked


def both(prefix: str, service: str, wait: int = 0) -> list[Route]:
    """A prefix that is removed: the name alone, and a path below it."""
    return [
        Route(prefix, service, "/", prefix, wait),
        Route(f"{prefix}/a/b.c", service, "/a/b.c", prefix, wait),
    ]


def kept(prefix: str, service: str, wait: int = 0) -> list[Route]:
    """A prefix that the service has in its own routes."""
    return [Route(path, service, path, prefix, wait) for path in (prefix, f"{prefix}/a/b.c")]


def in_run(rest: str, service: str, wait: int) -> Route:
    """A path of a run that is passed on unchanged."""
    return Route(f"{RUN}/{rest}", service, f"{RUN}/{rest}", "/weppcloud", wait)


ROUTES = [
    Route("/health", "weppcloud", "/health"),
    Route("/weppcloud/health", "weppcloud", "/health"),
    Route("/weppcloud/", "weppcloud", "/"),
    Route("/weppcloud/login", "weppcloud", "/login"),
    Route("/weppcloud/runs/abc-def/cfg/", "weppcloud", "/runs/abc-def/cfg/"),
    Route("/weppcloud/static/js/x.js", "weppcloud", "/static/js/x.js"),
    Route("/weppcloud/usersum/static/x.css", "weppcloud", "/usersum/static/x.css"),
    Route("/usersum/static/x.css", "weppcloud", "/usersum/static/x.css"),
    Route("/favicon.ico", "weppcloud", "/static/favicon.ico"),
    *both("/weppcloud-microservices/status", "status"),
    *both("/weppcloud-microservices/preflight", "preflight"),
    *both("/weppcloud-microservices/webpush", "webpush"),
    *both("/webservices/elevationquery", "elevationquery", 180),
    *both("/webservices/metquery", "metquery"),
    *both("/webservices/wmesque2", "wmesque2", 180),
    *both("/webservices/wmesque", "wmesque", 180),
    *both("/rq-engine", "rq-engine", 600),
    *both("/query-engine", "query-engine", 180),
    *both("/weppcloudr", "weppcloudr"),
    *both("/profile-playback", "profile-playback", 6000),
    *both("/browse", "browse", 180),
    *kept("/cap", "cap"),
    *kept("/dtale", "dtale", 300),
    *kept("/rq-dashboard", "rq-dashboard"),
    Route("/weppcloud/cap/key/siteverify", "cap", "/cap/key/siteverify", "/weppcloud/cap"),
    Route("/weppcloud/dtale", "dtale", "/dtale", "/weppcloud/dtale", 300),
    Route("/weppcloud/dtale/main/1", "dtale", "/dtale/main/1", "/weppcloud/dtale", 300),
    Route("/download/health", "download", "/health", "/download"),
    Route("/utils/shape-converter/", "shape-converter", "/", "/utils/shape-converter", 130),
    Route("/utils/shape-converter/api/x", "shape-converter", "/api/x", "/utils/shape-converter", 130),
    in_run("elevationquery", "elevationquery", 180),
    in_run("elevationquery/", "elevationquery", 180),
    Route(f"{RUN}/download/features/published/x.zip", "weppcloud",
          "/runs/abc-def/cfg/download/features/published/x.zip"),
    Route(f"{RUN}/download/features/published/x/", "weppcloud", "/runs/abc-def/cfg/download/features/published/x/"),
    in_run("download/archives/abc.20260101.zip", "download", 1800),
    in_run("download/archives/old/abc.ZIP", "download", 1800),
    in_run("download/archives/notes.txt", "browse", 180),
    in_run("download/features/published/x/y", "browse", 180),
    *(
        in_run(f"{kind}{rest}", "browse", 180)
        for kind in ("browse", "schema", "dtale", "download", "files")
        for rest in ("", "/", "/wepp/output/a.parquet")
    ),
    in_run("aria2c.spec", "browse", 180),
    in_run("gdalinfo/dem/dem.tif", "browse", 180),
    Route(f"{RUN}/gdalinfo", "weppcloud", "/runs/abc-def/cfg/gdalinfo"),
    *(
        Route(path, "browse", path, "/weppcloud", 180)
        for group in ("culverts/0b1c", "batch/spring")
        for rest in ("browse", "browse/a/", "schema/a.parquet", "download/a.csv", "dtale/a.parquet", "gdalinfo/a.tif")
        for path in (f"/weppcloud/{group}/{rest}",)
    ),
    Route("/weppcloud/batch/spring/files", "weppcloud", "/batch/spring/files"),
]  # fmt: skip

UNKNOWN = [
    "/nothing", "/healthXYZ", "/health/x", "/capXYZ", "/rq-engineXYZ/x", "/dtaleXYZ", "/rq-dashboardXYZ",
    "/weppcloudXYZ", "/weppcloud-microservices", "/weppcloud-microservices/statusXYZ", "/webservices/",
    "/webservices/wmesque3/x", "/utils/", "/utils/shape-converterXYZ", "/gitXYZ", "/git", "/favicon.icon",
    "/usersum", "/static/js/x.js", "/download", "/download/runs/x",
    "/weppcloud-microservices/status/metrics", "/weppcloud-microservices/preflight//%6Detrics",
]  # fmt: skip
