"""What is the least a Flask service could cost here?

It decodes the whole body to dicts, as `request.get_json()` would with the fastest parser there is,
and answers that it has nothing to say. The same Flask, the same gunicorn workers, threads and
options as the service; only the application is another.
"""

from __future__ import annotations

import os
import sys

import msgspec
from flask import Flask, Response, request

from cds_service.server import Server
from cds_service.settings import Settings
from cds_service.tenants import read_tenants


def create_null() -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:  # noqa: ARG001
        msgspec.json.decode(request.get_data(cache=False))
        return Response(b'{"cards":[]}', content_type="application/json")

    @app.get("/readyz")
    def ready() -> Response:
        return Response(b"{}", content_type="application/json")

    return app


class NullServer(Server):
    def load(self) -> object:
        return create_null()


def main() -> int:
    settings = Settings.from_environment(os.environ)
    NullServer(settings, read_tenants(settings, ())).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
