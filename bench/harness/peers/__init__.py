"""The proxies that are compared. To add one: a class with these members, and a line in `ALL`."""

from .bowline import Bowline
from .envoy import Envoy
from .haproxy import Haproxy
from .nginx import Nginx

# In the order of the tables.
ALL = {peer.name: peer for peer in (Bowline(), Envoy(), Haproxy(), Nginx())}
