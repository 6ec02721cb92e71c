"""The WSGI entry for any server: `app:app`. `make run` uses cds_service.server instead."""

from cds_service import logs
from cds_service.application import create_app

logs.configure()
app = create_app()
