"""AWS KMS: every operation, each of its errors that can be caused, and pages."""

import json

import pytest

from harness import ACCOUNT, REGION, client, refused

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
NOBODY = "00000000-0000-0000-0000-000000000000"
NO_ARN = "arn:aws:kms"
CONTEXT = {"service": "shop", "table": "orders"}


def policy(principal=ROOT, action="kms:*", effect="Allow"):
    statement = {"Effect": effect, "Principal": {"AWS": principal}, "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def kms():
    return client("kms")


@pytest.fixture(scope="module")
def anything():
    return client("kms", validate=False)


@pytest.fixture
def key(kms):
    return kms.create_key(Description="of the shop")["KeyMetadata"]["KeyId"]


@pytest.fixture
def going(kms):
    """A key on its way out."""
    made = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=made)
    return made


@pytest.fixture
def disabled(kms):
    made = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=made)
    return made


@pytest.fixture
def managed(kms):
    return kms.describe_key(KeyId="alias/aws/secretsmanager")["KeyMetadata"]["KeyId"]


def state(kms, key):
    return kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


def test_a_key_lives(kms, key):
    told = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert told["Arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"
    assert (told["KeyState"], told["Enabled"], told["KeyManager"]) == ("Enabled", True, "CUSTOMER")
    assert told["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"] and told["Description"] == "of the shop"
    kms.disable_key(KeyId=told["Arn"])
    assert state(kms, key) == "Disabled"
    kms.enable_key(KeyId=key)
    assert state(kms, key) == "Enabled"
    kms.update_key_description(KeyId=key, Description="other")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "other"
    scheduled = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert scheduled["KeyState"] == "PendingDeletion" and scheduled["PendingWindowInDays"] == 7
    assert "DeletionDate" in kms.describe_key(KeyId=key)["KeyMetadata"]
    assert kms.cancel_key_deletion(KeyId=key)["KeyId"] == told["Arn"]
    assert state(kms, key) == "Disabled"


def test_creating(kms, anything):
    made = kms.create_key(
        Policy=policy(),
        KeySpec="SYMMETRIC_DEFAULT",
        KeyUsage="ENCRYPT_DECRYPT",
        Origin="AWS_KMS",
        Tags=[{"TagKey": "team", "TagValue": "a"}],
    )["KeyMetadata"]["KeyId"]
    assert kms.list_resource_tags(KeyId=made)["Tags"] == [{"TagKey": "team", "TagValue": "a"}]
    for arguments in ({"KeySpec": "RSA_2048"}, {"KeyUsage": "SIGN_VERIFY"}, {"Origin": "EXTERNAL"}, {"MultiRegion": True}):
        with refused("UnsupportedOperationException"):
            kms.create_key(**arguments)
    for arguments in (
        {"KeySpec": "DES"},
        {"Description": "x" * 8_193},
        {"XksKeyId": "x"},
        {"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"},
    ):
        with refused("ValidationException"):
            anything.create_key(**arguments)
    for bad in ("x", "{}", policy(f"arn:aws:iam::{ACCOUNT}:user/ann"), policy(action="kms:Encrypt")):
        with refused("MalformedPolicyDocumentException"):
            kms.create_key(Policy=bad)
    kms.create_key(Policy=policy(action="kms:Encrypt"), BypassPolicyLockoutSafetyCheck=True)
    with refused("CustomKeyStoreNotFoundException"):
        kms.create_key(CustomKeyStoreId="cks-1")
    with refused("LimitExceededException"):
        kms.create_key(Policy=policy() + " " * 32_768)
    with refused("TagException"):
        kms.create_key(Tags=[{"TagKey": "aws:x", "TagValue": ""}])


# Operations that take a key's id alone, or with these arguments.
OF_A_KEY = {
    "cancel_key_deletion": {},
    "create_grant": {"GranteePrincipal": ROOT, "Operations": ["Encrypt"]},
    "describe_key": {},
    "disable_key": {},
    "disable_key_rotation": {},
    "enable_key": {},
    "enable_key_rotation": {},
    "get_key_policy": {},
    "get_key_rotation_status": {},
    "list_aliases": {},
    "list_grants": {},
    "list_key_policies": {},
    "list_key_rotations": {},
    "list_resource_tags": {},
    "put_key_policy": {"Policy": policy()},
    "revoke_grant": {"GrantId": "0" * 64},
    "rotate_key_on_demand": {},
    "schedule_key_deletion": {},
    "tag_resource": {"Tags": []},
    "untag_resource": {"TagKeys": []},
    "update_key_description": {"Description": ""},
}


@pytest.mark.parametrize("operation", OF_A_KEY)
def test_keys_that_are_not_there(kms, operation):
    for given in (NOBODY, f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{NOBODY}", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{NOBODY}"):
        with refused("NotFoundException"):
            getattr(kms, operation)(KeyId=given, **OF_A_KEY[operation])
    with refused("InvalidArnException"):
        getattr(kms, operation)(KeyId=NO_ARN, **OF_A_KEY[operation])


def test_retiring_by_what_is_no_arn(kms, key):
    with refused("InvalidArnException"):
        kms.retire_grant(KeyId=key, GrantId="0" * 64)
    with refused("InvalidArnException"):
        kms.list_retirable_grants(RetiringPrincipal="ann")


@pytest.mark.parametrize(
    "operation",
    [
        "create_grant",
        "disable_key",
        "disable_key_rotation",
        "enable_key",
        "enable_key_rotation",
        "get_key_rotation_status",
        "list_grants",
        "list_key_rotations",
        "rotate_key_on_demand",
        "schedule_key_deletion",
        "tag_resource",
        "untag_resource",
        "update_key_description",
    ],
)
def test_keys_on_their_way_out(kms, going, operation):
    with refused("KMSInvalidStateException", "pending deletion"):
        getattr(kms, operation)(KeyId=going, **OF_A_KEY[operation])


def test_a_key_that_is_not_on_its_way_out(kms, key):
    with refused("KMSInvalidStateException", "not pending"):
        kms.cancel_key_deletion(KeyId=key)


@pytest.mark.parametrize(
    "operation", ["create_grant", "disable_key_rotation", "enable_key_rotation", "rotate_key_on_demand"]
)
def test_disabled_keys(kms, disabled, operation):
    with refused("DisabledException"):
        getattr(kms, operation)(KeyId=disabled, **OF_A_KEY[operation])


def test_the_days_until_a_key_goes(kms, key):
    for days in (6, 31):
        with refused("ValidationException"):
            kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=days)


def test_pages_of_keys(kms):
    made = sorted(kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(5))
    seen, marker = [], {}
    while True:
        page = kms.list_keys(Limit=2, **marker)
        seen += [entry["KeyId"] for entry in page["Keys"]]
        assert page["Truncated"] == ("NextMarker" in page)
        if not page["Truncated"]:
            break
        marker = {"Marker": page["NextMarker"]}
    assert seen == made
    with refused("InvalidMarkerException"):
        kms.list_keys(Marker="nobody's")
    for limit in (0, 1_001):
        with refused("ValidationException"):
            client("kms", validate=False).list_keys(Limit=limit)


def test_aliases(kms, key, going):
    for name in ("alias/a", "alias/b", "alias/c"):
        kms.create_alias(AliasName=name, TargetKeyId=key)
    assert kms.describe_key(KeyId="alias/a")["KeyMetadata"]["KeyId"] == key
    assert kms.describe_key(KeyId=f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/a")["KeyMetadata"]["KeyId"] == key
    first = kms.list_aliases(Limit=2)
    second = kms.list_aliases(Marker=first["NextMarker"])
    names = [alias["AliasName"] for alias in first["Aliases"] + second["Aliases"]]
    assert names == ["alias/a", "alias/b", "alias/c"]
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.update_alias(AliasName="alias/b", TargetKeyId=other)
    assert [alias["AliasName"] for alias in kms.list_aliases(KeyId=other)["Aliases"]] == ["alias/b"]
    kms.delete_alias(AliasName="alias/c")
    for call in (
        lambda: kms.delete_alias(AliasName="alias/c"),
        lambda: kms.update_alias(AliasName="alias/c", TargetKeyId=key),
        lambda: kms.describe_key(KeyId="alias/c"),
        lambda: kms.create_alias(AliasName="alias/x", TargetKeyId=NOBODY),
        lambda: kms.create_alias(AliasName="alias/x", TargetKeyId=NO_ARN),
        lambda: kms.enable_key(KeyId="alias/a"),
    ):
        with refused("NotFoundException"):
            call()
    with refused("AlreadyExistsException"):
        kms.create_alias(AliasName="alias/a", TargetKeyId=key)
    for name in ("alias/a b", "alias/aws/mine", "alias/"):
        with refused("InvalidAliasNameException"):
            kms.create_alias(AliasName=name, TargetKeyId=key)
    with refused("ValidationException"):
        kms.create_alias(AliasName="a", TargetKeyId=key)
    with refused("InvalidMarkerException"):
        kms.list_aliases(Marker="nobody's")
    with refused("KMSInvalidStateException"):
        kms.create_alias(AliasName="alias/x", TargetKeyId=going)
    with refused("KMSInvalidStateException"):
        kms.update_alias(AliasName="alias/a", TargetKeyId=going)


def test_more_aliases_than_there_may_be(kms, key):
    for number in range(50):
        kms.create_alias(AliasName=f"alias/{number}", TargetKeyId=key)
    with refused("LimitExceededException"):
        kms.create_alias(AliasName="alias/more", TargetKeyId=key)
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/other", TargetKeyId=other)
    with refused("LimitExceededException"):
        kms.update_alias(AliasName="alias/other", TargetKeyId=key)


def test_encrypting_and_decrypting(kms, anything, key):
    text = kms.encrypt(KeyId=key, Plaintext=b"\x00plain", EncryptionContext=CONTEXT)
    arn = text["KeyId"]
    assert arn.endswith(key) and b"plain" not in text["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=text["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyId"]) == (b"\x00plain", arn)
    assert opened["KeyMaterialId"] == kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    for context in ({}, {"service": "shop"}, {**CONTEXT, "table": "carts"}):
        with refused("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=text["CiphertextBlob"], EncryptionContext=context)
    for blob in (b"x", text["CiphertextBlob"][:-1], text["CiphertextBlob"] + b"x"):
        with refused("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    with refused("IncorrectKeyException"):
        kms.decrypt(CiphertextBlob=text["CiphertextBlob"], EncryptionContext=CONTEXT, KeyId=other)
    kms.encrypt(KeyId=key, Plaintext=b"x" * 4_096)
    for arguments in (
        {"Plaintext": b""},
        {"Plaintext": b"x" * 4_097},
        {"EncryptionAlgorithm": "ROT13"},
        {"EncryptionContext": {"x": "x" * 8_192}},
        {"KeyId": ""},
    ):
        with refused("ValidationException"):
            anything.encrypt(**{"KeyId": key, "Plaintext": b"x", **arguments})
    for arguments in ({}, {"CiphertextBlob": b"x", "Recipient": {}}, {"CiphertextBlob": b""}):
        with refused("ValidationException"):
            anything.decrypt(**arguments)


def test_re_encrypting(kms, key):
    text = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    moved = kms.re_encrypt(
        CiphertextBlob=text,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=other,
        DestinationEncryptionContext={"a": "b"},
    )
    assert moved["SourceKeyId"].endswith(key) and moved["KeyId"].endswith(other)
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"a": "b"})["Plaintext"] == b"x"
    with refused("InvalidCiphertextException"):
        kms.re_encrypt(CiphertextBlob=text, DestinationKeyId=other)
    with refused("IncorrectKeyException"):
        kms.re_encrypt(
            CiphertextBlob=text, SourceEncryptionContext=CONTEXT, SourceKeyId=other, DestinationKeyId=other
        )
    with refused("DryRunOperationException"):
        kms.re_encrypt(CiphertextBlob=text, SourceEncryptionContext=CONTEXT, DestinationKeyId=other, DryRun=True)


def test_data_keys(kms, anything, key):
    for wanted, length in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 7}, 7)):
        made = kms.generate_data_key(KeyId=key, EncryptionContext=CONTEXT, **wanted)
        assert len(made["Plaintext"]) == length
        opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
        assert opened["Plaintext"] == made["Plaintext"]
        without = kms.generate_data_key_without_plaintext(KeyId=key, EncryptionContext=CONTEXT, **wanted)
        assert "Plaintext" not in without
        opened = kms.decrypt(CiphertextBlob=without["CiphertextBlob"], EncryptionContext=CONTEXT)
        assert len(opened["Plaintext"]) == length
    for operation in (anything.generate_data_key, anything.generate_data_key_without_plaintext):
        for wanted in ({}, {"KeySpec": "AES_256", "NumberOfBytes": 7}, {"KeySpec": "DES"}, {"NumberOfBytes": 1_025}):
            with refused("ValidationException"):
                operation(KeyId=key, **wanted)


def test_random_bytes(kms, anything):
    assert len(kms.generate_random(NumberOfBytes=1_024)["Plaintext"]) == 1_024
    assert kms.generate_random(NumberOfBytes=16)["Plaintext"] != kms.generate_random(NumberOfBytes=16)["Plaintext"]
    for arguments in ({}, {"NumberOfBytes": 0}, {"NumberOfBytes": 1_025}):
        with refused("ValidationException"):
            anything.generate_random(**arguments)
    with refused("CustomKeyStoreNotFoundException"):
        kms.generate_random(NumberOfBytes=1, CustomKeyStoreId="cks-1")
    with refused("UnsupportedOperationException"):
        kms.generate_random(NumberOfBytes=1, Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"})


USES = {
    "encrypt": lambda kms, key, text, **more: kms.encrypt(KeyId=key, Plaintext=b"x", **more),
    "decrypt": lambda kms, key, text, **more: kms.decrypt(KeyId=key, CiphertextBlob=text, **more),
    "re_encrypt": lambda kms, key, text, **more: kms.re_encrypt(CiphertextBlob=text, DestinationKeyId=key, **more),
    "generate_data_key": lambda kms, key, text, **more: kms.generate_data_key(KeyId=key, KeySpec="AES_256", **more),
    "generate_data_key_without_plaintext": lambda kms, key, text, **more: kms.generate_data_key_without_plaintext(
        KeyId=key, KeySpec="AES_256", **more
    ),
}


@pytest.mark.parametrize("operation", USES)
def test_using_a_key_that_cannot_be_used(kms, key, managed, operation):
    use = USES[operation]
    text = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    with refused("DryRunOperationException"):
        use(kms, key, text, DryRun=True)
    with refused("InvalidGrantTokenException"):
        use(kms, key, text, GrantTokens=["nobody's"])
    for given in (NOBODY, NO_ARN, "alias/none"):
        with refused("NotFoundException"):
            use(kms, given, text)
    if operation in ("encrypt", "decrypt"):
        with refused("InvalidKeyUsageException"):
            use(kms, key, text, EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    if operation == "re_encrypt":
        with refused("InvalidKeyUsageException"):
            use(kms, key, text, SourceEncryptionAlgorithm="RSAES_OAEP_SHA_1")
    if operation not in ("decrypt",):
        with refused("AccessDeniedException", "AWS managed"):
            use(kms, managed, text)
    kms.disable_key(KeyId=key)
    with refused("DisabledException"):
        use(kms, key, text)
    kms.schedule_key_deletion(KeyId=key)
    with refused("KMSInvalidStateException"):
        use(kms, key, text)


def test_rotation(kms, key):
    text = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    first = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
    told = kms.get_key_rotation_status(KeyId=key)
    assert (told["KeyRotationEnabled"], told["RotationPeriodInDays"]) == (True, 180) and "NextRotationDate" in told
    kms.disable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    with refused("ValidationException"):
        client("kms", validate=False).enable_key_rotation(KeyId=key, RotationPeriodInDays=89)
    assert kms.rotate_key_on_demand(KeyId=key)["KeyId"].endswith(key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"] != first
    assert kms.decrypt(CiphertextBlob=text)["KeyMaterialId"] == first
    (rotation,) = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialState"]) == ("ON_DEMAND", "CURRENT")
    every = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL", Limit=1)
    assert every["Rotations"][0]["KeyMaterialId"] == first and every["Truncated"]
    more = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL", Marker=every["NextMarker"])
    assert more["Rotations"][0]["KeyMaterialState"] == "CURRENT"
    with refused("InvalidMarkerException"):
        kms.list_key_rotations(KeyId=key, Marker="nobody's")
    with refused("ValidationException"):
        kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="SOME")
    for _ in range(24):
        kms.rotate_key_on_demand(KeyId=key)
    with refused("LimitExceededException"):
        kms.rotate_key_on_demand(KeyId=key)


def test_policies(kms, key):
    got = kms.get_key_policy(KeyId=key)
    assert got["PolicyName"] == "default" and ROOT in got["Policy"]
    assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy())
    assert kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"] == policy()
    with refused("NotFoundException"):
        kms.get_key_policy(KeyId=key, PolicyName="other")
    for bad in ("x", "{}", policy(effect="Deny"), policy(action="kms:Decrypt")):
        with refused("MalformedPolicyDocumentException"):
            kms.put_key_policy(KeyId=key, Policy=bad)
    kms.put_key_policy(KeyId=key, Policy=policy(action="kms:Decrypt"), BypassPolicyLockoutSafetyCheck=True)
    with refused("LimitExceededException"):
        kms.put_key_policy(KeyId=key, Policy=policy() + " " * 32_768)
    with refused("ValidationException"):
        kms.list_key_policies(KeyId=key, Marker="nobody's")


def test_grants(kms, anything, key):
    ann = f"arn:aws:iam::{ACCOUNT}:user/ann"
    arguments = {"KeyId": key, "GranteePrincipal": ann, "RetiringPrincipal": ROOT}
    made = kms.create_grant(
        **arguments, Operations=["Encrypt", "Decrypt"], Name="one", Constraints={"EncryptionContextEquals": CONTEXT}
    )
    again = kms.create_grant(
        **arguments, Operations=["Decrypt", "Encrypt"], Name="one", Constraints={"EncryptionContextEquals": CONTEXT}
    )
    assert again["GrantId"] == made["GrantId"]
    second = kms.create_grant(**arguments, Operations=["DescribeKey"])
    third = kms.create_grant(**arguments, Operations=["DescribeKey"])
    (told,) = kms.list_grants(KeyId=key, GrantId=made["GrantId"])["Grants"]
    assert (told["GranteePrincipal"], told["Operations"], told["Name"]) == (ann, ["Decrypt", "Encrypt"], "one")
    assert told["Constraints"] == {"EncryptionContextEquals": CONTEXT} and told["IssuingAccount"] == ROOT
    for listing in (
        lambda **more: kms.list_grants(KeyId=key, GranteePrincipal=ann, **more),
        lambda **more: kms.list_retirable_grants(RetiringPrincipal=ROOT, **more),
    ):
        first = listing(Limit=2)
        rest = listing(Marker=first["NextMarker"])
        ids = {grant["GrantId"] for grant in first["Grants"] + rest["Grants"]}
        assert ids == {made["GrantId"], second["GrantId"], third["GrantId"]}
        with refused("InvalidMarkerException"):
            listing(Marker="nobody's")
    assert kms.list_grants(KeyId=key, GranteePrincipal=ROOT)["Grants"] == []
    kms.encrypt(KeyId=key, Plaintext=b"x", GrantTokens=[made["GrantToken"]])

    with refused("DryRunOperationException"):
        kms.revoke_grant(KeyId=key, GrantId=made["GrantId"], DryRun=True)
    with refused("DryRunOperationException"):
        kms.retire_grant(GrantToken=second["GrantToken"], DryRun=True)
    with refused("DryRunOperationException"):
        kms.create_grant(**arguments, Operations=["Encrypt"], DryRun=True)
    kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    kms.retire_grant(GrantToken=second["GrantToken"])
    kms.retire_grant(KeyId=told["KeyId"], GrantId=third["GrantId"])
    assert kms.list_grants(KeyId=key)["Grants"] == []
    for call in (
        lambda: kms.revoke_grant(KeyId=key, GrantId=made["GrantId"]),
        lambda: kms.retire_grant(GrantToken=second["GrantToken"]),
        lambda: kms.list_grants(KeyId=key, GrantId=made["GrantId"]),
    ):
        with refused("NotFoundException"):
            call()
    for call in (
        lambda: kms.revoke_grant(KeyId=key, GrantId="x"),
        lambda: kms.retire_grant(KeyId=told["KeyId"], GrantId="x"),
        lambda: kms.list_grants(KeyId=key, GrantId="x"),
    ):
        with refused("InvalidGrantIdException"):
            call()
    for call in (
        lambda: kms.retire_grant(GrantToken="nobody's"),
        lambda: kms.create_grant(**arguments, Operations=["Encrypt"], GrantTokens=["nobody's"]),
    ):
        with refused("InvalidGrantTokenException"):
            call()
    for wrong in (
        {"Operations": []},
        {"Operations": ["Fly"]},
        {"Operations": ["Sign"]},
        {"Operations": ["Encrypt"], "Name": "a b"},
        {"Operations": ["Encrypt"], "GranteeServicePrincipal": "ecs.amazonaws.com"},
    ):
        with refused("ValidationException"):
            anything.create_grant(**{**arguments, **wrong})
    for call in (anything.retire_grant, anything.list_retirable_grants):
        with refused("ValidationException"):
            call()
    with refused("InvalidArnException"):
        kms.create_grant(KeyId=key, GranteePrincipal="ann", Operations=["Encrypt"])


def test_tags(kms, key):
    tags = [{"TagKey": name, "TagValue": "x"} for name in "abc"]
    kms.tag_resource(KeyId=key, Tags=tags)
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "y"}])
    first = kms.list_resource_tags(KeyId=key, Limit=2)
    rest = kms.list_resource_tags(KeyId=key, Marker=first["NextMarker"])
    assert {tag["TagKey"]: tag["TagValue"] for tag in first["Tags"] + rest["Tags"]} == {"a": "y", "b": "x", "c": "x"}
    kms.untag_resource(KeyId=key, TagKeys=["a", "b"])
    assert kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "c", "TagValue": "x"}]
    with refused("InvalidMarkerException"):
        kms.list_resource_tags(KeyId=key, Marker="nobody's")
    for wrong in ([{"TagKey": "aws:x", "TagValue": ""}], [tags[0], tags[0]]):
        with refused("TagException"):
            kms.tag_resource(KeyId=key, Tags=wrong)
    with refused("TagException"):
        kms.untag_resource(KeyId=key, TagKeys=["aws:x"])
    with refused("LimitExceededException"):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": str(number), "TagValue": ""} for number in range(51)])


def test_keys_of_aws(kms, managed):
    told = kms.describe_key(KeyId=managed)["KeyMetadata"]
    assert told["KeyManager"] == "AWS"
    assert kms.describe_key(KeyId="alias/aws/secretsmanager")["KeyMetadata"]["KeyId"] == managed
    assert [alias["AliasName"] for alias in kms.list_aliases(KeyId=managed)["Aliases"]] == ["alias/aws/secretsmanager"]
    assert kms.get_key_rotation_status(KeyId=managed)["KeyRotationEnabled"] is True
    for call in (
        lambda: kms.disable_key(KeyId=managed),
        lambda: kms.schedule_key_deletion(KeyId=managed),
        lambda: kms.put_key_policy(KeyId=managed, Policy=policy()),
        lambda: kms.create_alias(AliasName="alias/mine", TargetKeyId=managed),
        lambda: kms.delete_alias(AliasName="alias/aws/secretsmanager"),
    ):
        with refused("AccessDeniedException"):
            call()


def user(name, *statements):
    """A client of a new user who may do this."""
    iam = client("iam")
    iam.create_user(UserName=name)
    if statements:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return client("kms", key=(made["AccessKeyId"], made["SecretAccessKey"]))


def test_who_may_use_a_key(kms, key):
    everything = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    ann, bob = user("ann", everything), user("bob")
    carol = user(
        "carol",
        {
            "Effect": "Allow",
            "Action": "kms:Encrypt",
            "Resource": "*",
            "Condition": {"StringEquals": {"kms:EncryptionContext:service": "shop"}},
        },
    )
    # The account is in the key's policy: IAM's policies decide.
    ann.encrypt(KeyId=key, Plaintext=b"x")
    carol.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)
    for call in (
        lambda: bob.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: carol.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: bob.create_key(),
        lambda: bob.describe_key(KeyId=key),
    ):
        with refused("AccessDeniedException"):
            call()
    # A key whose policy does not name the account is closed to IAM's policies, and open to whom it names.
    arn = f"arn:aws:iam::{ACCOUNT}:user/bob"
    closed = kms.create_key(Policy=policy(arn), BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    with refused("AccessDeniedException"):
        ann.encrypt(KeyId=closed, Plaintext=b"x")
    text = bob.encrypt(KeyId=closed, Plaintext=b"x")["CiphertextBlob"]
    with refused("AccessDeniedException"):
        ann.decrypt(CiphertextBlob=text)
    assert bob.decrypt(CiphertextBlob=text)["Plaintext"] == b"x"
    with refused("AccessDeniedException"):
        bob.re_encrypt(CiphertextBlob=text, DestinationKeyId=key)


def test_a_grant_allows_what_no_policy_does(kms, key):
    dora = user("dora")
    erin = user("erin")
    arn = f"arn:aws:iam::{ACCOUNT}:user/dora"
    made = kms.create_grant(
        KeyId=key,
        GranteePrincipal=arn,
        Operations=["Encrypt", "RetireGrant"],
        Constraints={"EncryptionContextSubset": {"service": "shop"}},
    )
    dora.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)
    for call in (
        lambda: dora.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: dora.describe_key(KeyId=key),
        lambda: erin.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT),
        lambda: erin.retire_grant(GrantToken=made["GrantToken"]),
    ):
        with refused("AccessDeniedException"):
            call()
    dora.retire_grant(GrantToken=made["GrantToken"])
    with refused("AccessDeniedException"):
        dora.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)


def test_keys_of_a_template(kms):
    formation = client("cloudformation")
    template = {
        "Resources": {
            "Key": {
                "Type": "AWS::KMS::Key",
                "Properties": {
                    "Description": "of a stack",
                    "EnableKeyRotation": True,
                    "RotationPeriodInDays": 100,
                    "KeyPolicy": json.loads(policy()),
                    "Tags": [{"Key": "team", "Value": "a"}],
                },
            },
            "Alias": {
                "Type": "AWS::KMS::Alias",
                "Properties": {"AliasName": "alias/of-a-stack", "TargetKeyId": {"Ref": "Key"}},
            },
        },
        "Outputs": {"Key": {"Value": {"Fn::GetAtt": ["Key", "Arn"]}}},
    }
    formation.create_stack(StackName="keys", TemplateBody=json.dumps(template))
    formation.get_waiter("stack_create_complete").wait(StackName="keys", WaiterConfig={"Delay": 1})
    arn = formation.describe_stacks(StackName="keys")["Stacks"][0]["Outputs"][0]["OutputValue"]
    told = kms.describe_key(KeyId="alias/of-a-stack")["KeyMetadata"]
    assert (told["Arn"], told["Description"], told["Enabled"]) == (arn, "of a stack", True)
    assert kms.get_key_rotation_status(KeyId=arn)["RotationPeriodInDays"] == 100
    assert kms.list_resource_tags(KeyId=arn)["Tags"] == [{"TagKey": "team", "TagValue": "a"}]
    text = kms.encrypt(KeyId="alias/of-a-stack", Plaintext=b"x")["CiphertextBlob"]

    properties = template["Resources"]["Key"]["Properties"]
    properties.update(Description="changed", Enabled=False)
    formation.update_stack(StackName="keys", TemplateBody=json.dumps(template))
    formation.get_waiter("stack_update_complete").wait(StackName="keys", WaiterConfig={"Delay": 1})
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["Description"] == "changed"
    with refused("DisabledException"):
        kms.decrypt(CiphertextBlob=text)
    formation.delete_stack(StackName="keys")
    formation.get_waiter("stack_delete_complete").wait(StackName="keys", WaiterConfig={"Delay": 1})
    assert state(kms, arn) == "PendingDeletion"
    with refused("NotFoundException"):
        kms.describe_key(KeyId="alias/of-a-stack")


def test_keys_that_other_services_are_given(kms, key, disabled):
    secrets = client("secretsmanager")
    secrets.create_secret(Name="a", SecretString="x", KmsKeyId=key)
    assert secrets.get_secret_value(SecretId="a")["SecretString"] == "x"
    for given in (NOBODY, disabled, "alias/none"):
        with refused("EncryptionFailure"):
            secrets.create_secret(Name="b", SecretString="x", KmsKeyId=given)
        with refused("EncryptionFailure"):
            secrets.update_secret(SecretId="a", KmsKeyId=given)
    kms.disable_key(KeyId=key)
    with refused("DecryptionFailure"):
        secrets.get_secret_value(SecretId="a")
    with refused("EncryptionFailure"):
        secrets.put_secret_value(SecretId="a", SecretString="y")
    kms.enable_key(KeyId=key)
    assert secrets.get_secret_value(SecretId="a")["SecretString"] == "x"
