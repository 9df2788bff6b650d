"""Service B of the TLS demo: a FastAPI application that knows nothing of certificates or of a mesh."""

import os
import socket

import psutil
import requests
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

SERVICE_NAME = os.getenv("SERVICE_NAME", "service-b")
SERVER_HOST = os.getenv("SERVER_HOST", "0.0.0.0")
SERVER_PORT = int(os.getenv("SERVER_PORT", "8202"))
SERVICE_A_URL = os.getenv("SERVICE_A_URL", "http://service-a-sc:8201/service-a/status")

# Headers that tie the two requests together in traces and logs; an application carries them on.
CARRIED_ON = ("traceparent", "tracestate", "x-amzn-trace-id", "x-request-id")

app = FastAPI(title="Service B")
process = psutil.Process()
# psutil measures a process's CPU use since the previous call, so the first only starts the measurement.
process.cpu_percent()


@app.get("/service-b/healthcheck")
def healthcheck():
    return {"service": SERVICE_NAME, "status": "healthy"}


@app.get("/service-b/status")
def status():
    return {
        "service": SERVICE_NAME,
        "status": "running",
        "cpu_percent": psutil.cpu_percent(interval=0.1),
        "memory_percent": psutil.virtual_memory().percent,
        "process_cpu_percent": round(process.cpu_percent() / (psutil.cpu_count() or 1), 1),
        "process_memory_bytes": process.memory_info().rss,
        "host": socket.gethostname(),
    }


@app.get("/service-b/other-status")
def other_status(request: Request):
    headers = {name: request.headers[name] for name in CARRIED_ON if name in request.headers}
    try:
        response = requests.get(SERVICE_A_URL, headers=headers, timeout=5)
        response.raise_for_status()
        return {"service": SERVICE_NAME, "service_a_response": response.json()}
    except requests.RequestException as error:
        return JSONResponse({"service": SERVICE_NAME, "error": str(error)}, status_code=502)


if __name__ == "__main__":
    # Connections stay open longer than a proxy keeps them idle, so that it is the proxy that closes them
    # and no request meets a connection that is just being closed.
    uvicorn.run(app, host=SERVER_HOST, port=SERVER_PORT, timeout_keep_alive=350, timeout_graceful_shutdown=25)
