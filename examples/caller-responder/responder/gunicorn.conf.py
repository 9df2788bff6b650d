# How gunicorn serves the application; it finds this file by its name.
import os

bind = f"{os.getenv('SERVER_HOST', '0.0.0.0')}:5000"
# One process, because what is stored lives in its memory; threads serve requests side by side.
workers = 1
threads = 8
# Longer than a proxy keeps an idle connection, so that it is the proxy that closes it.
keepalive = 350
# Requests under way when SIGTERM comes; ECS sends SIGKILL after 30 s.
graceful_timeout = 25
accesslog = "-"
# The socket would lie in the home directory, where the tasks of a service would fight over it.
control_socket_disable = True
