"""Keys, requests and certificates by openssl, and what openssl says of those that the server made."""

import functools
import subprocess


def openssl(*arguments, input=None, check=True):
    """What openssl prints."""
    done = subprocess.run(["openssl", *arguments], input=input, capture_output=True, timeout=180)
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


CA_CONFIGURATION = """[ca]
default_ca = own
[own]
database = {directory}/index
serial = {directory}/serial
new_certs_dir = {directory}
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def certificate(
    tmp_path, private=None, subject="/CN=web.example", valid=None, issuer=None, extensions=("subjectAltName=DNS:web.example",)
):
    """A certificate in PEM, self-signed or by (certificate, key); `valid`: the years from which and to which."""
    (tmp_path / "own.key").write_bytes(private or key())
    more = [part for extension in extensions for part in ("-addext", extension)]
    if valid:
        (tmp_path / "own.csr").write_bytes(request(tmp_path, private, subject, names="", extensions=extensions))
        (tmp_path / "index").write_text("")
        (tmp_path / "serial").write_text("01")
        (tmp_path / "ca.conf").write_text(CA_CONFIGURATION.format(directory=tmp_path))
        return openssl(
            "ca", "-batch", "-notext", "-selfsign", "-config", str(tmp_path / "ca.conf"), "-in", str(tmp_path / "own.csr"),
            "-keyfile", str(tmp_path / "own.key"), "-startdate", f"{valid[0]}0101000000Z", "-enddate", f"{valid[1]}0101000000Z",
        )  # fmt: skip
    command = ["req", "-x509", "-new", "-key", str(tmp_path / "own.key"), "-subj", subject, "-days", "30", *more]
    if issuer:
        (tmp_path / "issuer.pem").write_bytes(issuer[0])
        (tmp_path / "issuer.key").write_bytes(issuer[1])
        command += ["-CA", str(tmp_path / "issuer.pem"), "-CAkey", str(tmp_path / "issuer.key")]
    return openssl(*command)


def authority(tmp_path, private, subject="/CN=Test root"):
    """A root certificate in PEM."""
    usage = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    return certificate(tmp_path, private, subject, extensions=usage)


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
