"""The mesh's certificates for one run: P-256, SPIFFE ids, made by openssl and deleted with the run."""

from dataclasses import dataclass
from pathlib import Path

from .process import run
from .setup import which

TRUST_DOMAIN = "bench.internal"


@dataclass(frozen=True)
class Svid:
    """One identity: files in PEM, the key as PKCS#8."""

    spiffe_id: str
    dns_name: str
    certificate: Path
    key: Path
    # Certificate and key in one file, as HAProxy wants them.
    combined: Path


@dataclass(frozen=True)
class Certificates:
    """Who takes part."""

    roots: Path
    client: Svid
    server: Svid
    # Of the same CA, but nobody whom a proxy should let in.
    stranger: Svid


def make(directory):
    """Makes a CA and three identities below `directory`."""
    directory = Path(directory)
    openssl = which("openssl")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    run(
        [
            openssl, "req", "-x509", *curve, "-days", "2", "-subj", "/CN=bench CA",
            "-addext", f"subjectAltName=URI:spiffe://{TRUST_DOMAIN}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", str(ca_key), "-out", str(ca),
        ]
    )  # fmt: skip

    def svid(name):
        spiffe_id = f"spiffe://{TRUST_DOMAIN}/ns/bench/cluster/bench/svc/{name}"
        dns_name = f"{name}.bench.internal"
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
        # The DNS name and the common name are for HAProxy and nginx, which cannot match a URI SAN.
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
            f"subjectAltName=URI:{spiffe_id},DNS:{dns_name}\n"
        )
        # A `/` separates names in -subj, so the id's own are escaped.
        subject = "/CN=" + spiffe_id.replace("/", "\\/")
        run([openssl, "req", "-new", *curve, "-subj", subject, "-keyout", str(key), "-out", str(request)])
        run(
            [
                openssl, "x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key),
                "-CAcreateserial", "-days", "1", "-sha256", "-extfile", str(extensions), "-out", str(certificate),
            ]
        )  # fmt: skip
        combined = directory / f"{name}.combined.pem"
        combined.write_text(certificate.read_text() + key.read_text())
        combined.chmod(0o600)
        return Svid(spiffe_id, dns_name, certificate, key, combined)

    return Certificates(roots=ca, client=svid("client"), server=svid("server"), stranger=svid("stranger"))
