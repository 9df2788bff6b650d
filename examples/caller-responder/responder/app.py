"""The responder: keeps what it is given, and gives it to whoever asks."""

from collections import deque

from flask import Flask, jsonify, request
from werkzeug.exceptions import HTTPException

app = Flask(__name__)
app.json.sort_keys = False
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

# In memory only; the oldest entry goes when it is full. Appending to a deque is atomic.
stored = deque(maxlen=1000)


@app.errorhandler(HTTPException)
def refused(error):
    return jsonify(error=error.description), error.code


@app.get("/healthcheck")
def healthcheck():
    return jsonify(status="healthy")


@app.post("/data")
def store():
    entry = request.get_json()
    if not isinstance(entry, dict):
        return jsonify(error="Expected a JSON object"), 400
    stored.append(entry)
    return jsonify(message="Data stored successfully in Service B", stored_data=entry)


@app.get("/data")
def data():
    return jsonify(list(stored))
