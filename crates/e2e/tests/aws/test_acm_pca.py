"""AWS Private CA: every operation, each of its errors that can be caused, pages, and what openssl says."""

import base64
import datetime
import json

import pytest

import pki
from harness import ACCOUNT, client, refused

HERE = f"arn:aws:acm-pca:us-east-1:{ACCOUNT}"
NOBODY = f"{HERE}:certificate-authority/11111111-2222-3333-4444-555555555555"
TEMPLATES = "arn:aws:acm-pca:::template"
CONFIGURATION = {
    "KeyAlgorithm": "EC_prime256v1",
    "SigningAlgorithm": "SHA256WITHECDSA",
    "Subject": {"CommonName": "Shop root", "Organization": "Shop", "Country": "DE"},
}
DAYS = {"Type": "DAYS", "Value": 3}
YEARS = {"Type": "YEARS", "Value": 10}


@pytest.fixture(scope="module")
def pca():
    return client("acm-pca")


@pytest.fixture(scope="module")
def anything():
    return client("acm-pca", validate=False)


def create(pca, kind="ROOT", key="EC_prime256v1", signing="SHA256WITHECDSA", name="Shop root", **more):
    """An authority without a certificate; its ARN."""
    subject = {"CommonName": name, "Organization": "Shop"}
    configuration = {"KeyAlgorithm": key, "SigningAlgorithm": signing, "Subject": subject}
    made = pca.create_certificate_authority(
        CertificateAuthorityType=kind, CertificateAuthorityConfiguration=configuration, **more
    )
    return made["CertificateAuthorityArn"]


def issue(pca, authority, csr, template=None, signing="SHA256WITHECDSA", validity=DAYS, **more):
    """A certificate's ARN, PEM and chain."""
    named = {"TemplateArn": f"{TEMPLATES}/{template}/V1"} if template else {}
    made = pca.issue_certificate(
        CertificateAuthorityArn=authority, Csr=csr, SigningAlgorithm=signing, Validity=validity, **named, **more
    )
    got = pca.get_certificate(CertificateAuthorityArn=authority, CertificateArn=made["CertificateArn"])
    return made["CertificateArn"], got["Certificate"], got.get("CertificateChain")


def root(pca, signing="SHA256WITHECDSA", validity=YEARS, **more):
    """An active root; its ARN."""
    arn = create(pca, signing=signing, **more)
    csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode()
    _, certificate, chain = issue(pca, arn, csr, "RootCACertificate", signing, validity)
    assert chain is None
    pca.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=certificate)
    return arn


def describe(pca, arn):
    return pca.describe_certificate_authority(CertificateAuthorityArn=arn)["CertificateAuthority"]


def own(pca, arn):
    return pca.get_certificate_authority_certificate(CertificateAuthorityArn=arn)


@pytest.mark.parametrize(
    "key, signing, shown",
    [
        ("EC_prime256v1", "SHA256WITHECDSA", "ecdsa-with-SHA256"),
        ("EC_secp384r1", "SHA512WITHECDSA", "ecdsa-with-SHA512"),
        ("RSA_2048", "SHA256WITHRSA", "sha256WithRSAEncryption"),
        ("RSA_4096", "SHA384WITHRSA", "sha384WithRSAEncryption"),
    ],
)
def test_every_kind_of_key_issues_what_openssl_verifies(pca, tmp_path, key, signing, shown):
    authority = root(pca, signing=signing, key=key)
    told = describe(pca, authority)
    assert (told["Status"], told["Type"], told["UsageMode"]) == ("ACTIVE", "ROOT", "GENERAL_PURPOSE")
    certificate = own(pca, authority)["Certificate"]
    text = pki.text(certificate)
    assert shown in text and "CA:TRUE" in text and "CN = Shop root" in text.replace("CN=", "CN = ")

    rsa = pki.request(tmp_path, pki.key("rsa2048"))
    arn, leaf, chain = issue(pca, authority, rsa, signing=signing)
    assert arn.startswith(f"{authority}/certificate/") and chain == certificate
    assert pki.verify(tmp_path, leaf, certificate, purpose="sslserver")
    assert pki.verify(tmp_path, leaf, certificate, purpose="sslclient")
    assert shown in pki.text(leaf) and "DNS:web.example" in pki.text(leaf)


def test_subordinates_down_to_their_path_length(pca, tmp_path):
    top = root(pca)
    arns, above = [top], own(pca, top)["Certificate"]
    for length in (1, 0):
        below = create(pca, "SUBORDINATE", name=f"Shop {length}", key="EC_secp384r1", signing="SHA384WITHECDSA")
        csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=below)["Csr"].encode()
        signing = "SHA256WITHECDSA" if arns[-1] == top else "SHA384WITHECDSA"
        _, certificate, chain = issue(
            pca, arns[-1], csr, f"SubordinateCACertificate_PathLen{length}", signing, {"Type": "YEARS", "Value": 5 + length}
        )
        pca.import_certificate_authority_certificate(
            CertificateAuthorityArn=below, Certificate=certificate, CertificateChain=chain
        )
        arns.append(below)
    for template in ("SubordinateCACertificate_PathLen0", "SubordinateCACertificate_PathLen1"):
        with refused("InvalidArgsException", "path length"):
            issue(pca, arns[-1], pki.request(tmp_path), template, "SHA384WITHECDSA")
    with refused("InvalidArgsException", "root"):
        issue(pca, arns[-1], pki.request(tmp_path), "RootCACertificate", "SHA384WITHECDSA")
    _, leaf, chain = issue(pca, arns[-1], pki.request(tmp_path), signing="SHA512WITHECDSA")
    assert chain.count("BEGIN CERTIFICATE") == 3 and chain.endswith(above)
    assert pki.verify(tmp_path, leaf, above, between=chain, purpose="sslserver")
    assert not pki.verify(tmp_path, leaf, above)
    assert own(pca, arns[-1])["CertificateChain"].count("BEGIN CERTIFICATE") == 2


def test_an_external_root(pca, tmp_path):
    outside, private = pki.authority(tmp_path, pki.key("rsa2048", "root")), pki.key("rsa2048", "root")
    below = create(pca, "SUBORDINATE", name="Shop below")
    csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=below)["Csr"]
    for name, content in (("in.csr", csr.encode()), ("root.pem", outside), ("root.key", private)):
        (tmp_path / name).write_bytes(content)

    def sign(*more):
        (tmp_path / "ext").write_text("\n".join(more))
        return pki.openssl(
            "x509", "-req", "-in", str(tmp_path / "in.csr"), "-CA", str(tmp_path / "root.pem"),
            "-CAkey", str(tmp_path / "root.key"), "-days", "30", "-extfile", str(tmp_path / "ext"),
        )  # fmt: skip

    signed = sign("basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign")
    use = {"CertificateAuthorityArn": below, "Certificate": signed, "CertificateChain": outside}
    anothers = pki.authority(tmp_path, pki.key("rsa2048", "other"), "/CN=Other root")
    for wrong, message in (
        ({"CertificateChain": anothers}, "not signed by"),
        ({"CertificateChain": b"x"}, "PEM"),
        ({"CertificateChain": b""}, "needs a certificate chain"),
        ({"CertificateChain": signed}, "not signed by|incomplete"),
        ({"CertificateChain": outside * 11}, "more than"),
        ({"Certificate": b"x"}, "PEM"),
        ({"Certificate": signed + outside}, "one certificate"),
        ({"Certificate": sign("basicConstraints=critical,CA:FALSE")}, "certificate authority"),
        ({"Certificate": sign("basicConstraints=critical,CA:TRUE", "keyUsage=digitalSignature")}, "authority"),
    ):
        with refused("MalformedCertificateException", message):
            pca.import_certificate_authority_certificate(**{**use, **wrong})
    with refused("CertificateMismatchException"):
        pca.import_certificate_authority_certificate(**{**use, "Certificate": outside})
    with refused("InvalidArnException"):
        pca.import_certificate_authority_certificate(**{**use, "CertificateAuthorityArn": f"{HERE}:x/y"})
    with refused("ResourceNotFoundException"):
        pca.import_certificate_authority_certificate(**{**use, "CertificateAuthorityArn": NOBODY})
    with refused("InvalidStateException"):
        own(pca, below)
    with refused("InvalidStateException"):
        issue(pca, below, pki.request(tmp_path))
    pca.import_certificate_authority_certificate(**use)
    _, leaf, chain = issue(pca, below, pki.request(tmp_path))
    assert pki.verify(tmp_path, leaf, outside.decode(), between=chain)

    top = root(pca)
    certificate = own(pca, top)["Certificate"]
    with refused("InvalidRequestException", "chain"):
        pca.import_certificate_authority_certificate(
            CertificateAuthorityArn=top, Certificate=certificate, CertificateChain=certificate
        )
    disable(pca, below)
    pca.delete_certificate_authority(CertificateAuthorityArn=below)
    with refused("InvalidStateException"):
        pca.import_certificate_authority_certificate(**use)


def disable(pca, arn, status="DISABLED"):
    pca.update_certificate_authority(CertificateAuthorityArn=arn, Status=status)


def test_creating(pca, anything):
    revocation = {
        "CrlConfiguration": {"Enabled": True, "S3BucketName": "crls", "ExpirationInDays": 7},
        "OcspConfiguration": {"Enabled": False},
    }
    token = "once"
    more = {"RevocationConfiguration": revocation, "IdempotencyToken": token, "UsageMode": "SHORT_LIVED_CERTIFICATE"}
    arn = create(pca, KeyStorageSecurityStandard="FIPS_140_2_LEVEL_3_OR_HIGHER", **more)
    assert create(pca, **more) == arn
    told = describe(pca, arn)
    assert told["RevocationConfiguration"]["CrlConfiguration"] == revocation["CrlConfiguration"]
    assert (told["Status"], told["UsageMode"]) == ("PENDING_CERTIFICATE", "SHORT_LIVED_CERTIFICATE")
    assert told["CertificateAuthorityConfiguration"]["Subject"] == {"CommonName": "Shop root", "Organization": "Shop"}
    assert told["OwnerAccount"] == ACCOUNT and "NotAfter" not in told
    csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
    assert "CN" in pki.openssl("req", "-verify", "-noout", "-subject", input=csr.encode()).decode()

    def with_(**changed):
        return {"CertificateAuthorityType": "ROOT", "CertificateAuthorityConfiguration": {**CONFIGURATION, **changed}}

    for wrong in (
        with_(KeyAlgorithm="EC_secp521r1"),
        with_(SigningAlgorithm="SHA256WITHRSA"),
        with_(Subject={}),
        with_(Subject={"CommonName": "x" * 65}),
        with_(Subject={"Country": "D1"}),
        with_(Subject={"CommonName": "x", "CustomAttributes": [{"ObjectIdentifier": "1.2.3", "Value": "v"}]}),
        {**with_(), "RevocationConfiguration": {"CrlConfiguration": {"Enabled": True}}},
    ):
        with refused("InvalidArgsException"):
            anything.create_certificate_authority(**wrong)
    for tags in (
        [{"Key": "aws:x", "Value": "y"}],
        [{"Key": "x"}, {"Key": "x"}],
        [{"Key": "x*"}],
        [{"Key": str(number)} for number in range(51)],
    ):
        with refused("InvalidTagException"):
            anything.create_certificate_authority(**with_(), Tags=tags)
    for wrong in (with_(KeyAlgorithm="X"), {}, {**with_(), "IdempotencyToken": "x" * 37}):
        with refused("ValidationException"):
            anything.create_certificate_authority(**wrong)


def test_as_many_as_there_may_be(pca):
    for _ in range(200):
        create(pca)
    with refused("LimitExceededException"):
        create(pca)


def test_pages(pca):
    arns = [create(pca, name=f"CA {number}") for number in range(3)]
    whole = [authority["Arn"] for authority in pca.list_certificate_authorities()["CertificateAuthorities"]]
    assert sorted(whole) == sorted(arns)
    pages = pca.get_paginator("list_certificate_authorities").paginate(PaginationConfig={"PageSize": 1})
    sizes = [[authority["Arn"] for authority in page["CertificateAuthorities"]] for page in pages]
    assert [arn for page in sizes for arn in page] == whole and max(map(len, sizes)) == 1
    assert pca.list_certificate_authorities(ResourceOwner="OTHER_ACCOUNTS")["CertificateAuthorities"] == []
    with refused("InvalidNextTokenException"):
        pca.list_certificate_authorities(NextToken="nobody's")


def test_a_life_from_active_to_gone(pca, anything):
    arn = root(pca)
    with refused("InvalidStateException", "disable"):
        pca.delete_certificate_authority(CertificateAuthorityArn=arn)
    disable(pca, arn)
    assert describe(pca, arn)["Status"] == "DISABLED"
    with refused("InvalidStateException"):
        issue(pca, arn, pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode())
    with refused("InvalidStateException"):
        pca.restore_certificate_authority(CertificateAuthorityArn=arn)
    with refused("ValidationException"):
        anything.delete_certificate_authority(CertificateAuthorityArn=arn, PermanentDeletionTimeInDays=6)
    pca.delete_certificate_authority(CertificateAuthorityArn=arn, PermanentDeletionTimeInDays=7)
    told = describe(pca, arn)
    left = told["RestorableUntil"] - datetime.datetime.now(datetime.timezone.utc)
    assert told["Status"] == "DELETED" and datetime.timedelta(6.9) < left < datetime.timedelta(7)
    named = {"CertificateAuthorityArn": arn}
    certificate = f"{arn}/certificate/00"
    deleted = [
        (pca.delete_certificate_authority, {}),
        (pca.get_certificate_authority_csr, {}),
        (pca.get_certificate_authority_certificate, {}),
        (pca.get_certificate, {"CertificateArn": certificate}),
        (pca.list_tags, {}),
        (pca.tag_certificate_authority, {"Tags": [{"Key": "a"}]}),
        (pca.untag_certificate_authority, {"Tags": [{"Key": "a"}]}),
        (pca.create_permission, {"Principal": "acm.amazonaws.com", "Actions": ["IssueCertificate"]}),
        (pca.delete_permission, {"Principal": "acm.amazonaws.com"}),
        (pca.list_permissions, {}),
        (pca.update_certificate_authority, {"Status": "ACTIVE"}),
        (pca.revoke_certificate, {"CertificateSerial": "01", "RevocationReason": "UNSPECIFIED"}),
        (
            pca.create_certificate_authority_audit_report,
            {"S3BucketName": "reports", "AuditReportResponseFormat": "JSON"},
        ),
    ]
    for operation, arguments in deleted:
        with refused("InvalidStateException"):
            operation(**named, **arguments)
    for operation, arguments in (
        (pca.get_policy, {}),
        (pca.delete_policy, {}),
        (pca.put_policy, {"Policy": policy("IssueCertificate")}),
    ):
        with refused("InvalidStateException"):
            operation(ResourceArn=arn, **arguments)
    pca.restore_certificate_authority(**named)
    assert describe(pca, arn)["Status"] == "DISABLED"
    disable(pca, arn, "ACTIVE")
    with refused("InvalidArgsException"):
        disable(pca, arn, "DELETED")
    pending = create(pca)
    with refused("InvalidStateException"):
        disable(pca, pending)
    pca.delete_certificate_authority(CertificateAuthorityArn=pending)
    pca.restore_certificate_authority(CertificateAuthorityArn=pending)
    assert describe(pca, pending)["Status"] == "PENDING_CERTIFICATE"


def policy(*actions):
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/clerk"},
        "Action": [f"acm-pca:{action}" for action in actions],
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_nobodys_authority_and_what_is_none(pca):
    report = {"S3BucketName": "reports", "AuditReportResponseFormat": "CSV"}
    permission = {"Principal": "acm.amazonaws.com", "Actions": ["GetCertificate"]}
    report_id = "11111111-2222-3333-4444-555555555555"
    for operation, arguments in (
        (pca.describe_certificate_authority, {}),
        (pca.create_certificate_authority_audit_report, report),
        (pca.describe_certificate_authority_audit_report, {"AuditReportId": report_id}),
        (pca.create_permission, permission),
        (pca.delete_permission, {"Principal": "acm.amazonaws.com"}),
        (pca.list_permissions, {}),
        (pca.delete_certificate_authority, {}),
        (pca.restore_certificate_authority, {}),
        (pca.get_certificate, {"CertificateArn": f"{NOBODY}/certificate/00"}),
        (pca.get_certificate_authority_certificate, {}),
        (pca.get_certificate_authority_csr, {}),
        (pca.list_tags, {}),
        (pca.tag_certificate_authority, {"Tags": [{"Key": "a"}]}),
        (pca.untag_certificate_authority, {"Tags": [{"Key": "a"}]}),
        (pca.update_certificate_authority, {}),
        (pca.revoke_certificate, {"CertificateSerial": "01", "RevocationReason": "SUPERSEDED"}),
        (pca.issue_certificate, {"Csr": b"x", "SigningAlgorithm": "SHA256WITHRSA", "Validity": DAYS}),
    ):
        with refused("ResourceNotFoundException"):
            operation(CertificateAuthorityArn=NOBODY, **arguments)
        for wrong in (f"arn:aws:ecs:us-east-1:{ACCOUNT}:certificate-authority/a", f"{HERE}:other/a", f"{NOBODY}/certificate/0"):
            with refused("InvalidArnException"):
                operation(CertificateAuthorityArn=wrong, **arguments)
    for operation, arguments in (
        (pca.get_policy, {}),
        (pca.delete_policy, {}),
        (pca.put_policy, {"Policy": policy("GetCertificate")}),
    ):
        with refused("ResourceNotFoundException"):
            operation(ResourceArn=NOBODY, **arguments)
        with refused("InvalidArnException"):
            operation(ResourceArn=f"{HERE}:other/a", **arguments)
    with refused("InvalidArgsException", "S3"):
        pca.create_certificate_authority_audit_report(CertificateAuthorityArn=create(pca), **report)


def test_issuing(pca, anything, tmp_path):
    arn = root(pca)
    csr = pki.request(tmp_path, names="DNS:web.example,IP:10.0.0.1", extensions=("keyUsage=critical,keyAgreement",))
    _, plain, _ = issue(pca, arn, csr)
    text = pki.text(plain)
    assert "DNS:web.example, IP Address:10.0.0.1" in text and "Digital Signature, Key Encipherment" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text and "CA:FALSE" in text
    server = pki.text(issue(pca, arn, csr, "EndEntityServerAuthCertificate")[1])
    assert "TLS Web Server Authentication" in server and "TLS Web Client" not in server
    blank = pki.text(issue(pca, arn, csr, "BlankEndEntityCertificate_CSRPassthrough")[1])
    assert "Key Agreement" in blank and "TLS Web" not in blank
    wanted = {
        "Subject": {"CommonName": "api.example"},
        "Extensions": {
            "SubjectAlternativeNames": [{"DnsName": "api.example"}, {"Rfc822Name": "a@b.example"}],
            "ExtendedKeyUsage": [{"ExtendedKeyUsageType": "EMAIL_PROTECTION"}],
            "KeyUsage": {"NonRepudiation": True},
            "CertificatePolicies": [
                {
                    "CertPolicyId": "1.2.3.4",
                    "PolicyQualifiers": [
                        {"PolicyQualifierId": "CPS", "Qualifier": {"CpsUri": "https://cps.example"}}
                    ],
                }
            ],
            "CustomExtensions": [{"ObjectIdentifier": "1.2.3.5", "Value": "BQA="}],
        },
    }
    api = pki.text(issue(pca, arn, csr, "BlankEndEntityCertificate_APIPassthrough", ApiPassthrough=wanted)[1])
    for said in ("api.example", "email:a@b.example", "E-mail Protection", "Non Repudiation", "cps.example", "1.2.3.5"):
        assert said in api, said
    assert "web.example" not in api
    assert "Code Signing" in pki.text(issue(pca, arn, csr, "CodeSigningCertificate")[1])

    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=40)
    for validity in (
        {"Type": "ABSOLUTE", "Value": int(until.timestamp())},
        {"Type": "END_DATE", "Value": int(until.strftime("%y%m%d%H%M%S"))},
        {"Type": "END_DATE", "Value": int(until.strftime("%Y%m%d%H%M%S"))},
    ):
        _, leaf, _ = issue(pca, arn, csr, validity=validity)
        assert until.strftime("%b %e %H:%M:%S %Y GMT") in pki.text(leaf)
    later = {"Type": "ABSOLUTE", "Value": int(until.timestamp()) - 1_000}
    _, leaf, _ = issue(pca, arn, csr, validity={"Type": "MONTHS", "Value": 2}, ValidityNotBefore=later)
    assert (until - datetime.timedelta(seconds=1_000)).strftime("Not Before: %b %e %H:%M:%S") in pki.text(leaf)

    order = {"CertificateAuthorityArn": arn, "Csr": csr, "SigningAlgorithm": "SHA256WITHECDSA", "Validity": DAYS}
    arns = [pca.issue_certificate(**order, IdempotencyToken=token)["CertificateArn"] for token in ("a", "a", "b")]
    assert arns[0] == arns[1] != arns[2]
    for wrong, message in (
        ({"TemplateArn": f"{TEMPLATES}/None/V1"}, "template"),
        ({"SigningAlgorithm": "SHA256WITHRSA"}, "does not sign so"),
        ({"Validity": {"Type": "YEARS", "Value": 11}}, "exceeds"),
        ({"Validity": {"Type": "ABSOLUTE", "Value": 1}}, "expired"),
        ({"Validity": {"Type": "END_DATE", "Value": 1}}, "Validity"),
        ({"ApiPassthrough": wanted}, "ApiPassthrough"),
        ({"TemplateArn": f"{TEMPLATES}/RootCACertificate/V1"}, "key of the certificate authority"),
    ):
        with refused("InvalidArgsException", message):
            pca.issue_certificate(**{**order, **wrong})
    altered = base64.encodebytes(pki.openssl("req", "-outform", "DER", input=csr).replace(b"web.example", b"wob.example"))
    altered = b"-----BEGIN CERTIFICATE REQUEST-----\n" + altered + b"-----END CERTIFICATE REQUEST-----\n"
    for wrong in (b"x", altered):
        with refused("MalformedCSRException"):
            pca.issue_certificate(**{**order, "Csr": wrong})
    for wrong in ({"IdempotencyToken": "x" * 37}, {"Validity": {"Type": "DAYS"}}):
        with refused("ValidationException"):
            anything.issue_certificate(**{**order, **wrong})
    with refused("InvalidArgsException"):
        anything.issue_certificate(**{**order, "Validity": {"Type": "DAYS", "Value": 0}})
    with refused("InvalidArnException"):
        pca.get_certificate(CertificateAuthorityArn=arn, CertificateArn=arn)


def test_identities_of_the_mesh_cannot_be_requested(pca, tmp_path):
    arn = root(pca)
    with refused("InvalidArgsException", "SPIFFE"):
        issue(pca, arn, pki.request(tmp_path, names="URI:spiffe://BOWLINE.local/ns/internal/service/a"))
    own = {"Extensions": {"SubjectAlternativeNames": [{"UniformResourceIdentifier": "spiffe://bowline.local/x"}]}}
    with refused("InvalidArgsException", "SPIFFE"):
        issue(pca, arn, pki.request(tmp_path), "BlankEndEntityCertificate_APIPassthrough", ApiPassthrough=own)
    issue(pca, arn, pki.request(tmp_path, names="URI:spiffe://elsewhere.example/a"))


def test_short_lived(pca, tmp_path):
    arn = root(pca, UsageMode="SHORT_LIVED_CERTIFICATE")
    issue(pca, arn, pki.request(tmp_path), validity={"Type": "DAYS", "Value": 7})
    with refused("InvalidArgsException", "7 days"):
        issue(pca, arn, pki.request(tmp_path), validity={"Type": "DAYS", "Value": 8})


def test_revoking(pca, anything, tmp_path):
    arn = root(pca)
    issued, leaf, _ = issue(pca, arn, pki.request(tmp_path))
    serial = issued.rsplit("/")[-1]
    with_colons = ":".join(serial[at : at + 2] for at in range(0, 32, 2))
    revoke = {"CertificateAuthorityArn": arn, "RevocationReason": "KEY_COMPROMISE"}
    for wrong, code in (
        ("x", "InvalidRequestException"),
        (describe(pca, arn)["Serial"], "InvalidRequestException"),
        ("0" + "1" * 31, "ResourceNotFoundException"),
    ):
        with refused(code):
            pca.revoke_certificate(CertificateSerial=wrong, **revoke)
    pca.revoke_certificate(CertificateSerial=with_colons, **revoke)
    with refused("RequestAlreadyProcessedException"):
        pca.revoke_certificate(CertificateSerial=serial, **revoke)
    with refused("ValidationException"):
        anything.revoke_certificate(CertificateSerial=serial, CertificateAuthorityArn=arn, RevocationReason="X")


def test_tags(pca):
    arn = create(pca, Tags=[{"Key": "team", "Value": "a"}])
    named = {"CertificateAuthorityArn": arn}
    pca.tag_certificate_authority(Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": "1"}, {"Key": "y"}], **named)
    pages = pca.get_paginator("list_tags").paginate(**named, PaginationConfig={"PageSize": 1})
    tags = [(tag["Key"], tag["Value"]) for page in pages for tag in page["Tags"]]
    assert tags == [("team", "b"), ("x", "1"), ("y", "")]
    pca.untag_certificate_authority(Tags=[{"Key": "team", "Value": "other"}, {"Key": "x"}], **named)
    assert [tag["Key"] for tag in pca.list_tags(**named)["Tags"]] == ["team", "y"]
    with refused("TooManyTagsException"):
        pca.tag_certificate_authority(Tags=[{"Key": str(number)} for number in range(49)], **named)
    for operation in (pca.tag_certificate_authority, pca.untag_certificate_authority):
        with refused("InvalidTagException"):
            operation(Tags=[{"Key": "aws:x"}], **named)
    with refused("ValidationException"):
        pca.list_tags(NextToken="nobody's", **named)


def test_permissions(pca, anything):
    arn = create(pca)
    named = {"CertificateAuthorityArn": arn}
    accounts = [f"{number:012}" for number in range(1, 4)]
    permission = {"Principal": "acm.amazonaws.com", "Actions": ["IssueCertificate", "GetCertificate"], **named}
    for account in accounts:
        pca.create_permission(SourceAccount=account, **permission)
    with refused("PermissionAlreadyExistsException"):
        pca.create_permission(SourceAccount=accounts[0], **permission)
    with refused("ValidationException"):
        pca.create_permission(**{**permission, "Principal": "ecs.amazonaws.com"})
    pages = pca.get_paginator("list_permissions").paginate(**named, PaginationConfig={"PageSize": 1})
    assert [found["SourceAccount"] for page in pages for found in page["Permissions"]] == accounts
    with refused("InvalidNextTokenException"):
        pca.list_permissions(NextToken="nobody's", **named)
    pca.delete_permission(Principal="acm.amazonaws.com", SourceAccount=accounts[0], **named)
    with refused("ResourceNotFoundException"):
        pca.delete_permission(Principal="acm.amazonaws.com", SourceAccount=accounts[0], **named)
    for number in range(100, 118):
        pca.create_permission(SourceAccount=f"{number:012}", **permission)
    with refused("LimitExceededException"):
        pca.create_permission(SourceAccount="9" * 12, **permission)


def test_policies(pca, iam):
    arn = create(pca)
    with refused("ResourceNotFoundException", "policy"):
        pca.get_policy(ResourceArn=arn)
    for wrong in ("{", json.dumps({"Statement": []}), "x" * 20_481):
        with refused("InvalidPolicyException"):
            pca.put_policy(ResourceArn=arn, Policy=wrong)
    iam.create_user(UserName="clerk")
    made = iam.create_access_key(UserName="clerk")["AccessKey"]
    clerk = client("acm-pca", key=(made["AccessKeyId"], made["SecretAccessKey"]))
    with refused("AccessDeniedException"):
        clerk.describe_certificate_authority(CertificateAuthorityArn=arn)
    pca.put_policy(ResourceArn=arn, Policy=policy("DescribeCertificateAuthority"))
    assert json.loads(pca.get_policy(ResourceArn=arn)["Policy"]) == json.loads(policy("DescribeCertificateAuthority"))
    assert describe(clerk, arn)["Arn"] == arn
    with refused("AccessDeniedException"):
        clerk.get_certificate_authority_csr(CertificateAuthorityArn=arn)
    pca.delete_policy(ResourceArn=arn)
    with refused("ResourceNotFoundException"):
        pca.get_policy(ResourceArn=arn)
