# A machine of its own for `bowline up`, with another one beside it, both network namespaces. Run by
# `unshare --map-root-user --net --mount`; then becomes the command that it is given.
set -eu
here=$1
shift
ip link set lo up
# The other machine: HTTP, DNS, and what a cloud has at 169.254.169.254. It ends when this process does.
python3 "$here/elsewhere.py" "$$" other &
other=$!
while [ "$(readlink "/proc/$other/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do
    kill -0 "$other"
    sleep 0.01
done
ip link add near type veth peer name far netns "$other"
ip address add 192.0.2.1/24 dev near
ip address add 192.0.2.3/24 dev near
ip address add 203.0.113.7/32 dev lo
ip link set near up
ip route add default via 192.0.2.2
nsenter --net="/proc/$other/ns/net" sh -c '
    ip link set lo up
    ip address add 192.0.2.2/24 dev far
    ip address add 169.254.169.254/32 dev lo
    ip link set far up'
# This machine's own service, on all of its addresses.
python3 "$here/elsewhere.py" "$$" own &
echo 'nameserver 192.0.2.2' > "$here/resolv.conf"
mount --bind "$here/resolv.conf" /etc/resolv.conf
exec "$@"
