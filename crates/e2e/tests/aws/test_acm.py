"""AWS Certificate Manager: every operation, each of its errors that can be caused, pages, and what openssl says."""

import pytest

import pki
from harness import ACCOUNT, client, refused
from test_acm_pca import disable, own, root

HERE = f"arn:aws:acm:us-east-1:{ACCOUNT}"
NOBODY = f"{HERE}:certificate/11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def acm():
    return client("acm")


@pytest.fixture(scope="module")
def anything():
    return client("acm", validate=False)


@pytest.fixture(scope="module")
def pca():
    return client("acm-pca")


def describe(acm, arn):
    return acm.describe_certificate(CertificateArn=arn)["Certificate"]


def imported(acm, tmp_path, private=None, **more):
    private = private or pki.key()
    pem = pki.certificate(tmp_path, private)
    return acm.import_certificate(Certificate=pem, PrivateKey=private, **more)["CertificateArn"]


def test_importing_what_the_notes_make(acm, tmp_path):
    """`openssl genrsa` and `x509 -req`, self-signed and by a root of one's own."""
    for name in ("root", "a"):
        pki.openssl("genrsa", "-out", str(tmp_path / f"{name}.key"), "2048")
    root_key, key = ((tmp_path / f"{name}.key") for name in ("root", "a"))
    root_pem, csr, leaf = tmp_path / "root.pem", tmp_path / "a.csr", tmp_path / "a.pem"
    pki.openssl(
        "req", "-x509", "-new", "-nodes", "-key", str(root_key), "-sha256", "-days", "365",
        "-subj", "/CN=My Root CA", "-out", str(root_pem),
    )  # fmt: skip
    pki.openssl("req", "-new", "-key", str(key), "-subj", "/CN=serviceA", "-out", str(csr))
    pki.openssl(
        "x509", "-req", "-in", str(csr), "-CA", str(root_pem), "-CAkey", str(root_key), "-CAcreateserial",
        "-out", str(leaf), "-days", "365", "-sha256",
    )  # fmt: skip
    whole = {
        "Certificate": leaf.read_bytes(), "PrivateKey": key.read_bytes(), "CertificateChain": root_pem.read_bytes()
    }  # fmt: skip
    told = describe(acm, acm.import_certificate(**whole)["CertificateArn"])
    assert (told["DomainName"], told["Type"], told["Status"]) == ("serviceA", "IMPORTED", "ISSUED")
    assert (told["KeyAlgorithm"], told["SignatureAlgorithm"]) == ("RSA_2048", "SHA256WITHRSA")
    assert told["Issuer"] == "My Root CA" and told["RenewalEligibility"] == "INELIGIBLE"
    own_chain = {
        "Certificate": root_pem.read_bytes(), "PrivateKey": root_key.read_bytes(),
        "CertificateChain": root_pem.read_bytes(),
    }  # fmt: skip
    acm.import_certificate(**own_chain)
    selfsigned = pki.openssl("x509", "-req", "-in", str(csr), "-signkey", str(key), "-days", "9")
    acm.import_certificate(Certificate=selfsigned, PrivateKey=key.read_bytes())
    # What older versions of openssl write.
    traditional = pki.openssl("rsa", "-in", str(key), "-traditional")
    assert b"BEGIN RSA PRIVATE KEY" in traditional
    acm.import_certificate(Certificate=selfsigned, PrivateKey=traditional)


def test_what_is_not_imported(acm, tmp_path):
    key, other = pki.key(), pki.key(name="other")
    good = pki.certificate(tmp_path, key)
    issuer = (pki.authority(tmp_path, other), other)
    weak = pki.key("rsa1024")
    below = pki.certificate(tmp_path, key, issuer=issuer)
    encrypted = pki.openssl("pkcs8", "-topk8", "-passout", "pass:secret", input=key)
    not_authority = (pki.certificate(tmp_path, other, "/CN=No CA", extensions=("basicConstraints=critical,CA:FALSE",)), other)
    for certificate, private, chain, message in (
        (good, other, None, "do not match"),
        (pki.certificate(tmp_path, key, valid=(2020, 2021)), key, None, "expired"),
        (pki.certificate(tmp_path, key, valid=(2090, 2091)), key, None, "not valid before"),
        (below, key, None, "not self-signed"),
        (below, key, good, "not signed by"),
        (pki.certificate(tmp_path, key, issuer=not_authority), key, not_authority[0], "not a certificate authority"),
        (pki.certificate(tmp_path, weak), weak, None, "1024 bits is too weak"),
        (pki.certificate(tmp_path, pki.key("secp521r1")), pki.key("secp521r1"), None, "not supported"),
        (b"x", key, None, "PEM"),
        (good + good, key, None, "only one certificate"),
        (good.replace(b"\nMI", b"\nAA"), key, None, "X.509|PEM"),
        (good, b"x", None, "private key"),
        (good, encrypted, None, "encrypted"),
        (good, key, b"x", "chain is not in PEM"),
    ):
        more = {"CertificateChain": chain} if chain else {}
        with refused("ValidationException", message):
            acm.import_certificate(Certificate=certificate, PrivateKey=private, **more)
    whole = pki.certificate(tmp_path, key, issuer=issuer)
    acm.import_certificate(Certificate=whole, PrivateKey=key, CertificateChain=issuer[0])


def test_importing_again(acm, pca, tmp_path):
    arn = imported(acm, tmp_path, Tags=[{"Key": "team", "Value": "a"}])
    before = describe(acm, arn)
    assert imported(acm, tmp_path, CertificateArn=arn) == arn
    after = describe(acm, arn)
    assert before["Serial"] != after["Serial"] and after["ImportedAt"] >= before["ImportedAt"]
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    with refused("ValidationException", "Tags"):
        imported(acm, tmp_path, CertificateArn=arn, Tags=[{"Key": "x"}])
    with refused("ValidationException", "imported"):
        imported(acm, tmp_path, CertificateArn=private(acm, root(pca)))
    with refused("ResourceNotFoundException"):
        imported(acm, tmp_path, CertificateArn=NOBODY)
    with refused("InvalidArnException"):
        imported(acm, tmp_path, CertificateArn=f"{HERE}:other/a")
    for tags, code in (
        ([{"Key": "aws:x"}], "InvalidTagException"),
        ([{"Key": str(number)} for number in range(51)], "TooManyTagsException"),
    ):
        with refused(code):
            client("acm", validate=False).import_certificate(
                Certificate=pki.certificate(tmp_path), PrivateKey=pki.key(), Tags=tags
            )
    with refused("InvalidParameterException"):
        imported(acm, tmp_path, Tags=[{"Key": "x"}, {"Key": "x"}])


def private(acm, authority, name="web.example", key="EC_prime256v1", **more):
    made = acm.request_certificate(DomainName=name, CertificateAuthorityArn=authority, KeyAlgorithm=key, **more)
    return made["CertificateArn"]


@pytest.mark.parametrize("key", ["EC_prime256v1", "EC_secp384r1", "RSA_2048"])
def test_a_private_certificate_with_its_key(acm, pca, tmp_path, key):
    authority = root(pca)
    arn = private(acm, authority, key=key, SubjectAlternativeNames=["*.web.example", "web.example"])
    told = describe(acm, arn)
    assert (told["Status"], told["Type"], told["KeyAlgorithm"]) == ("ISSUED", "PRIVATE", key)
    assert told["SubjectAlternativeNames"] == ["web.example", "*.web.example"]
    assert told["CertificateAuthorityArn"] == authority and told["Issuer"] == "Shop"
    got = acm.get_certificate(CertificateArn=arn)
    assert got["CertificateChain"] == own(pca, authority)["Certificate"]
    assert pki.verify(tmp_path, got["Certificate"], got["CertificateChain"], purpose="sslserver")
    assert "DNS:web.example, DNS:*.web.example" in pki.text(got["Certificate"])

    given = acm.export_certificate(CertificateArn=arn, Passphrase=b"correct horse")
    assert (given["Certificate"], given["CertificateChain"]) == (got["Certificate"], got["CertificateChain"])
    opened = pki.openssl("pkey", "-passin", "pass:correct horse", "-pubout", input=given["PrivateKey"].encode())
    public = pki.openssl("x509", "-noout", "-pubkey", input=got["Certificate"].encode())
    assert opened == public
    assert not pki.openssl("pkey", "-passin", "pass:wrong", input=given["PrivateKey"].encode(), check=False)

    assert describe(acm, arn)["RenewalEligibility"] == "ELIGIBLE"
    acm.renew_certificate(CertificateArn=arn)
    renewed = acm.get_certificate(CertificateArn=arn)["Certificate"]
    assert renewed != got["Certificate"] and pki.verify(tmp_path, renewed, got["CertificateChain"])
    assert describe(acm, arn)["RenewalSummary"]["RenewalStatus"] == "SUCCESS"


def test_requesting(acm, pca, anything):
    authority = root(pca)
    token = {"IdempotencyToken": "once"}
    assert private(acm, authority, **token) == private(acm, authority, **token)
    public = acm.request_certificate(
        DomainName="Shop.example",
        ValidationMethod="DNS",
        DomainValidationOptions=[{"DomainName": "shop.example", "ValidationDomain": "example"}],
    )["CertificateArn"]
    told = describe(acm, public)
    assert (told["Status"], told["Type"], told["KeyAlgorithm"]) == ("PENDING_VALIDATION", "AMAZON_ISSUED", "RSA_2048")
    [validation] = told["DomainValidationOptions"]
    assert validation["ValidationStatus"] == "PENDING_VALIDATION"
    assert validation["ResourceRecord"]["Name"].endswith(".shop.example.")
    assert validation["ResourceRecord"]["Value"].endswith(".invalid.")
    for operation, more in (
        (acm.get_certificate, {}),
        (acm.renew_certificate, {}),
    ):
        with refused("RequestInProgressException"):
            operation(CertificateArn=public, **more)
    pca_short = root(pca, UsageMode="SHORT_LIVED_CERTIFICATE")
    disabled = root(pca)
    disable(pca, disabled)
    gone = authority[:-12] + "000000000000"
    for unusable, reason in (
        (pca_short, "PCA_INVALID_ARGS"),
        (disabled, "PCA_INVALID_STATE"),
        (gone, "PCA_RESOURCE_NOT_FOUND"),
    ):
        failed = private(acm, unusable)
        told = describe(acm, failed)
        assert (told["Status"], told["FailureReason"]) == ("FAILED", reason)
    with refused("RequestInProgressException"):
        acm.export_certificate(CertificateArn=failed, Passphrase=b"1234")
    with refused("InvalidStateException"):
        acm.update_certificate_options(
            CertificateArn=failed, Options={"CertificateTransparencyLoggingPreference": "DISABLED"}
        )
    name = {"DomainName": "a.example"}
    for wrong, code in (
        ({"DomainName": "a"}, "InvalidParameterException"),
        ({"DomainName": "-a.example"}, "InvalidParameterException"),
        ({**name, "SubjectAlternativeNames": ["a b.example"]}, "InvalidParameterException"),
        ({**name, "KeyAlgorithm": "EC_secp521r1"}, "InvalidParameterException"),
        ({**name, "CertificateAuthorityArn": authority, "ValidationMethod": "DNS"}, "InvalidParameterException"),
        ({**name, "CertificateAuthorityArn": f"{HERE}:certificate/a"}, "InvalidArnException"),
        ({**name, "Tags": [{"Key": "aws:x"}]}, "InvalidTagException"),
        ({**name, "Tags": [{"Key": str(number)} for number in range(51)]}, "TooManyTagsException"),
        (
            {**name, "DomainValidationOptions": [{"DomainName": "b.example", "ValidationDomain": "example"}]},
            "InvalidDomainValidationOptionsException",
        ),
        (
            {**name, "DomainValidationOptions": [{"DomainName": "a.example", "ValidationDomain": "other"}]},
            "InvalidDomainValidationOptionsException",
        ),
    ):
        with refused(code):
            anything.request_certificate(**wrong)


def test_nobodys_certificate_and_what_is_none(acm, anything):
    for operation in (
        anything.describe_certificate,
        anything.get_certificate,
        anything.delete_certificate,
        anything.list_tags_for_certificate,
    ):
        with refused("ValidationException"):
            operation()
    options = {"Options": {"CertificateTransparencyLoggingPreference": "ENABLED"}}
    for operation, arguments in (
        (acm.describe_certificate, {}),
        (acm.get_certificate, {}),
        (acm.export_certificate, {"Passphrase": b"1234"}),
        (acm.delete_certificate, {}),
        (acm.renew_certificate, {}),
        (acm.update_certificate_options, options),
        (acm.add_tags_to_certificate, {"Tags": [{"Key": "a"}]}),
        (acm.remove_tags_from_certificate, {"Tags": [{"Key": "a"}]}),
        (acm.list_tags_for_certificate, {}),
    ):
        with refused("ResourceNotFoundException"):
            operation(CertificateArn=NOBODY, **arguments)
        with refused("InvalidArnException"):
            operation(CertificateArn=f"{HERE}:other/aaaaaaaa", **arguments)


def test_refusals_that_a_certificates_kind_decides(acm, anything, pca, tmp_path):
    arn = imported(acm, tmp_path)
    with refused("ValidationException", "private"):
        acm.export_certificate(CertificateArn=arn, Passphrase=b"1234")
    with refused("ValidationException", "Passphrase"):
        anything.export_certificate(CertificateArn=arn, Passphrase=b"123")
    with refused("ValidationException", "renewed"):
        acm.renew_certificate(CertificateArn=arn)
    with refused("ValidationException", "imported"):
        acm.update_certificate_options(CertificateArn=arn, Options={})
    owned = private(acm, root(pca))
    with refused("ValidationException", "exported"):
        acm.renew_certificate(CertificateArn=owned)
    options = {"CertificateTransparencyLoggingPreference": "DISABLED"}
    acm.update_certificate_options(CertificateArn=owned, Options=options)
    assert describe(acm, owned)["Options"] == options
    acm.delete_certificate(CertificateArn=arn)
    with refused("ResourceNotFoundException"):
        acm.get_certificate(CertificateArn=arn)


def test_pages_filters_and_order(acm, anything, pca, tmp_path):
    authority = root(pca)
    arns = [private(acm, authority, f"{letter}.example", "RSA_2048") for letter in "abc"]
    elliptic = private(acm, authority)
    pending = acm.request_certificate(DomainName="public.example", ValidationMethod="DNS")["CertificateArn"]

    def listed(**arguments):
        return [found["CertificateArn"] for found in acm.list_certificates(**arguments)["CertificateSummaryList"]]

    assert listed() == [*arns, pending]
    assert listed(Includes={"keyTypes": ["EC_prime256v1"]}) == [elliptic]
    assert listed(CertificateStatuses=["PENDING_VALIDATION"]) == [pending]
    assert listed(Includes={"extendedKeyUsage": ["TLS_WEB_SERVER_AUTHENTICATION"], "keyUsage": ["DIGITAL_SIGNATURE"]}) == arns
    assert listed(Includes={"managedBy": "CLOUDFRONT"}) == listed(Includes={"exportOption": "ENABLED"}) == []
    order = {"SortBy": "CREATED_AT", "SortOrder": "DESCENDING"}
    for arguments in ({}, order):
        whole = listed(**arguments)
        pages = acm.get_paginator("list_certificates").paginate(**arguments, PaginationConfig={"PageSize": 1})
        paged = [[found["CertificateArn"] for found in page["CertificateSummaryList"]] for page in pages]
        assert [arn for page in paged for arn in page] == whole and max(map(len, paged)) == 1
    assert listed(**order) == listed()[::-1]
    [summary] = acm.list_certificates(Includes={"keyTypes": ["EC_prime256v1"]})["CertificateSummaryList"]
    assert (summary["DomainName"], summary["InUse"], summary["Exported"]) == ("web.example", False, False)
    with refused("InvalidArgsException"):
        acm.list_certificates(NextToken="nobody's")
    for wrong in ({"MaxItems": 0}, {"MaxItems": 1_001}, {"SortBy": "CREATED_AT"}, {"CertificateStatuses": ["X"]}):
        with refused("ValidationException"):
            anything.list_certificates(**wrong)


def test_tags(acm, anything, tmp_path):
    arn = imported(acm, tmp_path, Tags=[{"Key": "team", "Value": "a"}])
    named = {"CertificateArn": arn}
    acm.add_tags_to_certificate(Tags=[{"Key": "team", "Value": "b"}, {"Key": "x"}], **named)
    acm.remove_tags_from_certificate(Tags=[{"Key": "team", "Value": "other"}, {"Key": "x"}], **named)
    assert acm.list_tags_for_certificate(**named)["Tags"] == [{"Key": "team", "Value": "b"}]
    with refused("TooManyTagsException"):
        acm.add_tags_to_certificate(Tags=[{"Key": str(number)} for number in range(50)], **named)
    for operation in (acm.add_tags_to_certificate, acm.remove_tags_from_certificate):
        with refused("InvalidTagException"):
            operation(Tags=[{"Key": "aws:x"}], **named)
        with refused("InvalidParameterException"):
            operation(Tags=[{"Key": "x"}, {"Key": "x"}], **named)
    for operation in (anything.add_tags_to_certificate, anything.remove_tags_from_certificate):
        with refused("ValidationException"):
            operation(Tags=[], **named)


def test_the_accounts_configuration(acm, anything):
    assert acm.get_account_configuration()["ExpiryEvents"] == {"DaysBeforeExpiry": 45}
    acm.put_account_configuration(ExpiryEvents={"DaysBeforeExpiry": 10}, IdempotencyToken="a")
    assert acm.get_account_configuration()["ExpiryEvents"] == {"DaysBeforeExpiry": 10}
    for days in (0, 46):
        with refused("ValidationException"):
            anything.put_account_configuration(ExpiryEvents={"DaysBeforeExpiry": days}, IdempotencyToken="a")
