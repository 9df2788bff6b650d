"""A server's clients, and what they saw.

The server is at $BOWLINE_ENDPOINT.
"""

import collections
import contextlib
import datetime
import json
import os
import re
import time
import urllib.request
import xml.etree.ElementTree

import boto3
import botocore.exceptions
import botocore.parsers
import botocore.session
from botocore.config import Config

import shapes

ENDPOINT = os.environ["BOWLINE_ENDPOINT"]
REGION = "us-east-1"
ACCOUNT = "000000000000"

# What an operation, (service, name), was seen to do: its error codes, and None for success.
SEEN = collections.defaultdict(set)

# Codes that a service may answer to anything, in its protocol's or AWS's common errors.
COMMON = {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "InvalidClientTokenId",
    "InvalidParameterValue",
    "SerializationException",
    "SignatureDoesNotMatch",
    "UnknownOperationException",
    "ValidationError",
    "ValidationException",
}


def client(service="ecs", validate=True, endpoint=ENDPOINT, key=("test", "test"), token=None, protocol=None):
    """A client whose every answer is checked; without `validate` it sends anything. Of a service that speaks several
    protocols, it speaks the first one that botocore knows, or the one given."""
    made = (_session(protocol) if protocol else boto3).client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=token,
        config=Config(
            parameter_validation=validate,
            retries={"max_attempts": 1},
            read_timeout=60,
            # `data-127.0.0.1` is no name.
            inject_host_prefix=False,
        ),
    )
    made.meta.events.register("after-call", _check_answer)
    return made


def _session(protocol):
    """A session for which services speak this protocol alone."""
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def load_with_protocol(service_name, type_name, api_version=None):
        loaded = load(service_name, type_name, api_version)
        if type_name != "service-2":
            return loaded
        return {**loaded, "metadata": {**loaded["metadata"], "protocols": [protocol]}}

    loader.load_service_model = load_with_protocol
    return boto3.Session(botocore_session=session)


def _check_answer(http_response, parsed, model, **_):
    service, operation = model.service_model.service_name, model.name
    seen = SEEN[service, operation]
    raw = http_response.content
    is_xml = http_response.headers.get("content-type") == "text/xml"
    assert http_response.headers.get("x-amzn-requestid"), "an answer without a request id"
    if http_response.status_code >= 300:
        code = parsed["Error"]["Code"]
        seen.add(code)
        modelled = {shape.error_code: shape for shape in model.error_shapes}
        if code not in modelled and code in _BEYOND_THE_MODEL.get((service, operation), ()):
            modelled[code] = model.service_model.shape_for(code)
        assert code in modelled or code in COMMON, f"{operation} has no error {code} in its model: {raw}"
        if code in modelled:
            shape = modelled[code]
            status = http_response.status_code
            # Services of awsJson answer 400, whatever stands in the model.
            if is_xml or service in REST:
                wanted = shape.metadata.get("error", {}).get("httpStatusCode", status)
                assert status == wanted, f"{operation} {code}: {status}"
            if not is_xml:
                extra = {name: value for name, value in _unwrapped(http_response).items() if name not in _OF_ALL_ERRORS}
                faults = shapes.faults_of(extra, shape, f"{operation} {code}")
                assert not faults, "\n".join(faults)
        return
    seen.add(None)
    # An answer without members has no body, and says nothing of its protocol.
    assert is_xml == (service in XML) or service in SEVERAL, http_response.headers
    body = _xml_body(raw, model) if is_xml else _unwrapped(http_response)
    if model.output_shape is not None:
        faults = shapes.faults_of(body, model.output_shape, operation)
        assert not faults, "\n".join(faults)


# Services of the query protocol, whose answers are XML.
XML = {"cloudformation", "iam", "sts"}

# Services of several protocols: clients choose.
SEVERAL = {"cloudwatch"}

# Services of restJson1: their errors have statuses of their own.
REST = {"fis", "xray"}

# Errors that an operation has although its model does not say so: FIS's have no errors at all for tags.
_BEYOND_THE_MODEL = {
    ("fis", operation): {"ResourceNotFoundException"}
    for operation in ("ListTagsForResource", "TagResource", "UntagResource")
}

_OF_ALL_ERRORS = ("__type", "message", "Message")


def _unwrapped(http_response):
    """An answer in JSON, or in CBOR as JSON would have it."""
    raw = http_response.content
    if http_response.headers.get("content-type") != "application/cbor":
        return json.loads(raw or b"{}")
    assert http_response.headers.get("smithy-protocol") == "rpc-v2-cbor", http_response.headers
    parser = botocore.parsers.RpcV2CBORParser()
    found = parser.parse_data_item(parser.get_peekable_stream_from_bytes(raw)) if raw else {}

    def moments(value):
        if isinstance(value, dict):
            return {name: moments(member) for name, member in value.items()}
        if isinstance(value, list):
            return [moments(item) for item in value]
        return value.timestamp() if isinstance(value, datetime.datetime) else value

    return moments(found)


def _xml_body(raw, model):
    """The result of an answer in XML, as JSON would have it."""
    root = xml.etree.ElementTree.fromstring(raw)
    name = shapes.local_name(root)
    assert name == f"{model.name}Response", f"{model.name} answers <{name}>"
    parts = {shapes.local_name(part): part for part in root}
    assert parts["ResponseMetadata"][0].text, f"{model.name} answers without a RequestId"
    if model.output_shape is None:
        return {}
    wrapper = model.output_shape.serialization.get("resultWrapper")
    assert set(parts) <= {wrapper, "ResponseMetadata"}, f"{model.name} answers {sorted(parts)}"
    # An answer without members may have no result.
    return shapes.from_xml(parts[wrapper], model.output_shape) if wrapper in parts else {}


def reset():
    """Makes the server forget everything."""
    request = urllib.request.Request(ENDPOINT + "/_bowline/reset", method="POST")
    with urllib.request.urlopen(request, timeout=40) as response:
        assert response.status == 204


@contextlib.contextmanager
def refused(code, message=""):
    """The calls inside must be refused with this code, and a message that `message` is found in."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, error
        assert found["Message"], f"{code} without a message"
        assert re.search(message, found["Message"]), found["Message"]
    else:
        raise AssertionError(f"it was done, {code} was expected")


def eventually(what, attempt, limit=60):
    """What `attempt` gives as soon as it gives something true, within `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = attempt()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(0.05)


def wait(ecs, waiter, limit=60, **arguments):
    """boto3's own waiter, asking more often than it would."""
    delay = 0.1
    ecs.get_waiter(waiter).wait(WaiterConfig={"Delay": delay, "MaxAttempts": int(limit / delay)}, **arguments)


def check_pages(operation, key, anothers_token, most=100, identity=lambda item: item, **arguments):
    """One item a page gives the whole list, in its order; sizes and tokens that are wrong are refused."""
    whole = operation(**arguments)[key]
    assert len(whole) >= 3, f"{len(whole)} items are too few to page through"
    items, token = [], None
    while True:
        page = operation(maxResults=1, **arguments, **({"nextToken": token} if token else {}))
        assert len(page[key]) == 1, page
        items += page[key]
        token = page.get("nextToken")
        if token is None:
            break
        assert len(items) < len(whole), "pages go on after the end"
    assert list(map(identity, items)) == list(map(identity, whole))
    for wrong in ("nothing-that-it-gave-out", anothers_token):
        with refused("InvalidParameterException", "[Ii]nvalid.*[Tt]oken"):
            operation(nextToken=wrong, **arguments)
    for size in (0, most + 1):
        with refused("InvalidParameterException", "maxResults"):
            operation(maxResults=size, **arguments)


def arn(resource):
    """The ARN of a resource of ECS here."""
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:{resource}"


# A container that serves HTTP on port 8080, and one that only waits.
WEB = {
    "name": "web",
    "image": "python:3",
    "command": ["python3", "-m", "http.server", "8080"],
    "portMappings": [{"name": "http", "containerPort": 8080, "appProtocol": "http"}],
}
IDLE = {"name": "idle", "image": "busybox", "command": ["sleep", "1000"]}


def define(ecs, family="web", container=None, **more):
    """Registers a task definition of one container and gives its ARN."""
    answer = ecs.register_task_definition(family=family, containerDefinitions=[container or WEB], **more)
    return answer["taskDefinition"]["taskDefinitionArn"]


def connect(alias="web", port=80, **more):
    """A serviceConnectConfiguration that offers the port `http` by an alias."""
    offered = {"portName": "http", "clientAliases": [{"port": port, "dnsName": alias}], **more}
    return {"enabled": True, "services": [offered]}


def serve(ecs, name="web", cluster="default", desired_count=1, definition="web", **more):
    """Creates a service."""
    created = ecs.create_service(
        cluster=cluster, serviceName=name, taskDefinition=definition, desiredCount=desired_count, **more
    )
    return created["service"]
