"""Keys, requests and certificates by openssl, and what openssl says of those that the server made."""

import functools
import subprocess


def openssl(*arguments, input=None, check=True):
    """What openssl prints."""
    done = subprocess.run(["openssl", *arguments], input=input, capture_output=True, timeout=60)
    assert not check or done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout


@functools.cache
def key(kind="prime256v1", name=""):
    """A private key in PEM, one a kind and name."""
    if kind.startswith("rsa"):
        return openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[3:]}")
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{kind}")


def request(tmp_path, private=None, subject="/CN=web.example", names="DNS:web.example", extensions=()):
    """A certificate signing request in PEM."""
    (tmp_path / "request.key").write_bytes(private or key())
    wanted = [f"subjectAltName={names}"] if names else []
    more = [part for text in (*wanted, *extensions) for part in ("-addext", text)]
    return openssl("req", "-new", "-key", str(tmp_path / "request.key"), "-subj", subject, *more)


def certificate(
    tmp_path, private=None, subject="/CN=web.example", days=30, issuer=None, extensions=("subjectAltName=DNS:web.example",)
):
    """A certificate in PEM, self-signed or by (certificate, key)."""
    (tmp_path / "own.key").write_bytes(private or key())
    command = ["req", "-x509", "-new", "-key", str(tmp_path / "own.key"), "-subj", subject]
    if days < 0:
        command += ["-not_before", "20200101000000Z", "-not_after", "20200102000000Z"]
    elif days > 100_000:
        command += ["-not_before", "20900101000000Z", "-not_after", "20910101000000Z"]
    else:
        command += ["-days", str(days)]
    if issuer:
        (tmp_path / "issuer.pem").write_bytes(issuer[0])
        (tmp_path / "issuer.key").write_bytes(issuer[1])
        command += ["-CA", str(tmp_path / "issuer.pem"), "-CAkey", str(tmp_path / "issuer.key")]
    for extension in extensions:
        command += ["-addext", extension]
    return openssl(*command)


def authority(tmp_path, private, subject="/CN=Test root", **more):
    """A root certificate in PEM."""
    usage = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    return certificate(tmp_path, private, subject, extensions=usage, **more)


def text(pem):
    """A certificate as openssl prints it."""
    return openssl("x509", "-noout", "-text", input=pem if isinstance(pem, bytes) else pem.encode()).decode()


def verify(tmp_path, leaf, root, between="", purpose=None):
    """Whether openssl verifies a certificate under a root."""
    for name, pem in (("leaf.pem", leaf), ("root.pem", root), ("between.pem", between or "")):
        (tmp_path / name).write_text(pem)
    command = ["verify", "-x509_strict", "-CAfile", str(tmp_path / "root.pem")]
    if between:
        command += ["-untrusted", str(tmp_path / "between.pem")]
    if purpose:
        command += ["-purpose", purpose]
    done = openssl(*command, str(tmp_path / "leaf.pem"), check=False)
    return done.strip().endswith(b"OK")
