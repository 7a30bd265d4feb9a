"""The pages of `rq-dashboard` under /rq-dashboard, for gunicorn: its own command wants the password in an argument."""

from __future__ import annotations

import rq_dashboard
from flask import Flask
from wepppy.config.redis_settings import RedisDB, redis_url

app = Flask(__name__)
app.config.from_object(rq_dashboard.default_settings)
app.config["RQ_DASHBOARD_REDIS_URL"] = redis_url(RedisDB.RQ)
rq_dashboard.web.setup_rq_connection(app)
app.register_blueprint(rq_dashboard.blueprint, url_prefix="/rq-dashboard")
