"""A small API over a cache in Redis, which it reaches in plain TCP by its Service Connect name."""

import os

import redis
from flask import Flask, jsonify, request
from werkzeug.exceptions import HTTPException

# One URL, or host and port as two variables.
REDIS_URL = os.getenv("REDIS_URL") or "redis://{}:{}/0".format(
    os.getenv("REDIS_HOST", "localhost"), os.getenv("REDIS_PORT", "6379")
)
# The most keys that /list-keys answers with.
MOST_KEYS = 1000

app = Flask(__name__)
app.json.sort_keys = False
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

# Connects when it is first used, and again after a connection was lost.
cache = redis.Redis.from_url(
    REDIS_URL,
    decode_responses=True,
    socket_connect_timeout=2,
    socket_timeout=2,
    health_check_interval=30,
)


@app.errorhandler(HTTPException)
def refused(error):
    return jsonify(error=error.description), error.code


@app.errorhandler(redis.RedisError)
def cache_failed(error):
    app.logger.error("Redis: %s", error)
    return jsonify(error="Cache unavailable"), 503


# Answers without Redis, so it serves as the health check too: an outage of the cache must not take
# the application's tasks down as well.
@app.get("/")
def home():
    return "Welcome to Python ECS Fargate Demo with Redis!"


@app.post("/set-cache")
def set_cache():
    data = request.get_json()
    key = data.get("key") if isinstance(data, dict) else None
    value = data.get("value") if isinstance(data, dict) else None
    if not isinstance(key, str) or not key or type(value) not in (str, int, float) or value == "":
        return jsonify(error="Invalid data"), 400
    cache.set(key, value)
    return jsonify(message=f"Cached key: {key} with value: {value}")


@app.get("/get-cache/<path:key>")
def get_cache(key):
    value = cache.get(key)
    if value is None:
        return jsonify(error="Key not found"), 404
    return jsonify({key: value})


@app.get("/list-keys")
def list_keys():
    # SCAN, not KEYS: it does not hold up the server's other clients, and may stop early.
    keys = set()
    for key in cache.scan_iter(count=100):
        keys.add(key)
        if len(keys) == MOST_KEYS:
            break
    return jsonify(keys=sorted(keys))


@app.delete("/delete-cache/<path:key>")
def delete_cache(key):
    if cache.delete(key) == 0:
        return jsonify(error="Key not found"), 404
    return jsonify(message=f"Deleted key: {key}")
