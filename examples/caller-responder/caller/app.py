"""The caller: keeps data of its own, and combines it with the responder's."""

import os
from collections import deque

import requests
from flask import Flask, jsonify, request
from werkzeug.exceptions import HTTPException

# The responder by its Service Connect name. It listens on the same port as this service.
RESPONDER_URL = os.getenv("RESPONDER_URL", "http://responder:5000/data")
# Headers that tie the two requests together in traces and logs; an application carries them on.
CARRIED_ON = ("traceparent", "tracestate", "x-amzn-trace-id", "x-request-id")

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
    return jsonify(message="Data stored successfully in Service A", stored_data=entry)


@app.get("/data")
def data():
    return jsonify(list(stored))


@app.get("/")
def combined():
    headers = {name: request.headers[name] for name in CARRIED_ON if name in request.headers}
    try:
        response = requests.get(RESPONDER_URL, headers=headers, timeout=5)
        response.raise_for_status()
        return jsonify(caller_service_data=list(stored), responder_service_data=response.json())
    except requests.RequestException as error:
        app.logger.error("%s: %s", RESPONDER_URL, error)
        return jsonify(caller_service_data=list(stored), error=str(error)), 502
