"""Cloud Map (servicediscovery)."""

import time

import pytest

import harness
from harness import ACCOUNT, REGION, refused


@pytest.fixture(scope="module")
def loose():
    return harness.client("servicediscovery", validate=False)


@pytest.fixture
def namespace(cloud_map):
    """The id of an HTTP namespace `shop`."""
    return create(cloud_map, "shop")


@pytest.fixture
def service(cloud_map, namespace):
    """The id of a service `cart` with a custom health check."""
    made = cloud_map.create_service(
        Name="cart", NamespaceId=namespace, HealthCheckCustomConfig={"FailureThreshold": 1}
    )
    return made["Service"]["Id"]


def done(cloud_map, answer):
    """The operation that an answer names, which must have been a success."""
    operation = cloud_map.get_operation(OperationId=answer["OperationId"])["Operation"]
    assert operation["Status"] == "SUCCESS", operation
    assert operation["OwnerAccount"] == ACCOUNT and operation["UpdateDate"] >= operation["CreateDate"]
    return operation


def create(cloud_map, name, **more):
    """The id of a new HTTP namespace."""
    operation = done(cloud_map, cloud_map.create_http_namespace(Name=name, **more))
    assert operation["Type"] == "CREATE_NAMESPACE"
    return operation["Targets"]["NAMESPACE"]


def register(cloud_map, service, instance, **attributes):
    answer = cloud_map.register_instance(ServiceId=service, InstanceId=instance, Attributes=attributes or {"a": "b"})
    assert done(cloud_map, answer)["Targets"] == {"SERVICE": service, "INSTANCE": instance}


def check_pages(cloud_map, loose, operation, key, anothers_token, **arguments):
    """Pages of one item, by botocore's paginator, make the whole list; forged tokens and wrong sizes are refused."""
    call = getattr(cloud_map, operation)
    whole = call(**arguments)[key]
    assert len(whole) >= 3, whole
    pages = cloud_map.get_paginator(operation).paginate(PaginationConfig={"PageSize": 1}, **arguments)
    assert [page[key] for page in pages] == [[item] for item in whole]
    for wrong in ("nothing-that-it-gave-out", anothers_token):
        with refused("InvalidInput", "NextToken"):
            call(NextToken=wrong, **arguments)
    for size in (0, 101):
        with refused("InvalidInput", "maxResults"):
            getattr(loose, operation)(MaxResults=size, **arguments)


def test_an_http_namespace_from_its_creation_to_its_end(cloud_map):
    tags = [{"Key": "team", "Value": "a"}]
    id = create(cloud_map, "shop", Description="first", CreatorRequestId="one", Tags=tags)
    told = cloud_map.get_namespace(Id=id)["Namespace"]
    assert told["Arn"] == f"arn:aws:servicediscovery:{REGION}:{ACCOUNT}:namespace/{id}"
    assert (told["Name"], told["Type"], told["Description"]) == ("shop", "HTTP", "first")
    assert told["CreatorRequestId"] == "one" and told["Properties"]["HttpProperties"]["HttpName"] == "shop"
    assert told["ResourceOwner"] == ACCOUNT and told.get("ServiceCount", 0) == 0
    # By its ARN it is the same.
    assert cloud_map.get_namespace(Id=told["Arn"])["Namespace"] == told
    assert cloud_map.list_tags_for_resource(ResourceARN=told["Arn"])["Tags"] == tags

    answer = cloud_map.update_http_namespace(Id=id, UpdaterRequestId="u", Namespace={"Description": "second"})
    operation = done(cloud_map, answer)
    assert operation["Type"] == "UPDATE_NAMESPACE" and operation["Targets"] == {"NAMESPACE": id}
    assert cloud_map.get_namespace(Id=id)["Namespace"]["Description"] == "second"

    operation = done(cloud_map, cloud_map.delete_namespace(Id=id))
    assert operation["Type"] == "DELETE_NAMESPACE"
    with refused("NamespaceNotFound", id):
        cloud_map.get_namespace(Id=id)
    with refused("NamespaceNotFound", id):
        cloud_map.delete_namespace(Id=id)


def test_a_private_dns_namespace(cloud_map):
    properties = {"DnsProperties": {"SOA": {"TTL": 60}}}
    answer = cloud_map.create_private_dns_namespace(Name="shop.internal", Vpc="vpc-1", Properties=properties)
    id = done(cloud_map, answer)["Targets"]["NAMESPACE"]
    told = cloud_map.get_namespace(Id=id)["Namespace"]
    assert told["Type"] == "DNS_PRIVATE" and told["Properties"]["DnsProperties"]["SOA"] == {"TTL": 60}
    assert told["Properties"]["DnsProperties"]["HostedZoneId"].startswith("Z")
    change = {"Description": "x", "Properties": {"DnsProperties": {"SOA": {"TTL": 30}}}}
    done(cloud_map, cloud_map.update_private_dns_namespace(Id=id, Namespace=change))
    told = cloud_map.get_namespace(Id=id)["Namespace"]
    assert told["Description"] == "x" and told["Properties"]["DnsProperties"]["SOA"] == {"TTL": 30}
    # The update of another type is refused.
    with refused("InvalidInput", "no HTTP namespace"):
        cloud_map.update_http_namespace(Id=id, Namespace={"Description": "y"})
    with refused("InvalidInput", "no public DNS namespace"):
        cloud_map.update_public_dns_namespace(Id=id, Namespace={"Description": "y"})


def test_namespaces_that_are_refused(cloud_map, loose, namespace):
    private = {"Vpc": "vpc-1"}
    creations = (
        (loose.create_http_namespace, {}),
        (loose.create_private_dns_namespace, private),
        (loose.create_public_dns_namespace, {}),
    )
    many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    for creation, more in creations:
        with refused("InvalidInput"):
            creation(Name="with space", **more)
        with refused("InvalidInput"):
            creation(**more)
        with refused("InvalidInput"):
            creation(Name="other.example", Tags=[{"Key": "aws:x", "Value": ""}], **more)
    for creation, more in creations[:2]:
        with refused("TooManyTagsException"):
            creation(Name="other", Tags=many, **more)
        with refused("NamespaceAlreadyExists", "shop"):
            creation(Name="shop", **more)
        answer = creation(Name=f"again-{len(more)}", CreatorRequestId=f"one-{len(more)}", **more)
        # The same again is the same operation, and anything else with its id is refused.
        again = creation(Name=f"again-{len(more)}", CreatorRequestId=f"one-{len(more)}", **more)
        assert again["OperationId"] == answer["OperationId"]
        with refused("DuplicateRequest"):
            creation(Name="different", CreatorRequestId=f"one-{len(more)}", **more)
    updates = (
        (cloud_map.update_http_namespace, {"Description": "x"}),
        (cloud_map.update_private_dns_namespace, {"Description": "x"}),
        (cloud_map.update_public_dns_namespace, {"Description": "x"}),
    )
    for update, change in updates:
        with refused("NamespaceNotFound"):
            update(Id="ns-nothing", Namespace=change)
        with refused("InvalidInput"):
            update(Id=namespace, Namespace={"Description": "x" * 1025})
    zone = done(cloud_map, cloud_map.create_private_dns_namespace(Name="zone", Vpc="vpc-1"))["Targets"]["NAMESPACE"]
    for (update, change), id in zip(updates, (namespace, zone)):
        first = update(Id=id, UpdaterRequestId=id, Namespace=change)
        assert update(Id=id, UpdaterRequestId=id, Namespace=change)["OperationId"] == first["OperationId"]
        with refused("DuplicateRequest"):
            update(Id=id, UpdaterRequestId=id, Namespace={"Description": "z"})
    for operation in (loose.get_namespace, loose.delete_namespace):
        with refused("InvalidInput"):
            operation()


def test_a_namespace_in_use_is_not_deleted(cloud_map, namespace, service):
    with refused("ResourceInUse", namespace):
        cloud_map.delete_namespace(Id=namespace)
    assert cloud_map.get_namespace(Id=namespace)["Namespace"]["ServiceCount"] == 1


def test_pages_and_filters_of_namespaces(cloud_map, loose, namespace):
    create(cloud_map, "shelf")
    cloud_map.create_private_dns_namespace(Name="zone", Vpc="vpc-1")
    anothers = cloud_map.list_operations(MaxResults=1)["NextToken"]
    check_pages(cloud_map, loose, "list_namespaces", "Namespaces", anothers)

    def names(*filters):
        return {found["Name"] for found in cloud_map.list_namespaces(Filters=list(filters))["Namespaces"]}

    assert names({"Name": "TYPE", "Values": ["DNS_PRIVATE"], "Condition": "EQ"}) == {"zone"}
    assert names({"Name": "NAME", "Values": ["sh"], "Condition": "BEGINS_WITH"}) == {"shop", "shelf"}
    assert names({"Name": "HTTP_NAME", "Values": ["shop"]}) == {"shop"}
    assert names({"Name": "RESOURCE_OWNER", "Values": ["SELF"]}) == {"shop", "shelf", "zone"}
    assert names({"Name": "RESOURCE_OWNER", "Values": ["OTHER_ACCOUNTS"]}) == set()
    with refused("InvalidInput"):
        names({"Name": "NAME", "Values": ["a", "b"], "Condition": "BETWEEN"})


def test_a_service_from_its_creation_to_its_end(cloud_map, namespace):
    made = cloud_map.create_service(
        Name="cart",
        NamespaceId=namespace,
        CreatorRequestId="one",
        Description="first",
        HealthCheckCustomConfig={"FailureThreshold": 1},
        Tags=[{"Key": "team", "Value": "a"}],
    )["Service"]
    assert made["Arn"] == f"arn:aws:servicediscovery:{REGION}:{ACCOUNT}:service/{made['Id']}"
    assert (made["Name"], made["Type"], made["NamespaceId"]) == ("cart", "HTTP", namespace)
    assert made["CreatorRequestId"] == "one" and made["HealthCheckCustomConfig"] == {"FailureThreshold": 1}
    assert cloud_map.get_service(Id=made["Id"])["Service"] == made
    assert cloud_map.get_service(Id=made["Arn"])["Service"] == made
    assert cloud_map.list_tags_for_resource(ResourceARN=made["Arn"])["Tags"] == [{"Key": "team", "Value": "a"}]
    operation = done(cloud_map, cloud_map.update_service(Id=made["Id"], Service={"Description": "second"}))
    assert operation["Type"] == "UPDATE_SERVICE" and operation["Targets"] == {"SERVICE": made["Id"]}
    assert cloud_map.get_service(Id=made["Id"])["Service"]["Description"] == "second"
    assert len(cloud_map.delete_service(Id=made["Id"])) == 1
    for operation, arguments in (
        (cloud_map.get_service, {"Id": made["Id"]}),
        (cloud_map.delete_service, {"Id": made["Id"]}),
        (cloud_map.update_service, {"Id": made["Id"], "Service": {"Description": "x"}}),
    ):
        with refused("ServiceNotFound", made["Id"]):
            operation(**arguments)


def test_a_service_with_records(cloud_map):
    answer = cloud_map.create_private_dns_namespace(Name="shop.internal", Vpc="vpc-1")
    namespace = done(cloud_map, answer)["Targets"]["NAMESPACE"]
    records = {"DnsRecords": [{"Type": "A", "TTL": 60}], "RoutingPolicy": "MULTIVALUE"}
    made = cloud_map.create_service(Name="cart", NamespaceId=namespace, DnsConfig=records)["Service"]
    assert made["Type"] == "DNS_HTTP" and made["DnsConfig"]["DnsRecords"] == [{"Type": "A", "TTL": 60}]
    assert made["DnsConfig"]["NamespaceId"] == namespace
    done(cloud_map, cloud_map.update_service(Id=made["Id"], Service={"DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 5}]}}))
    assert cloud_map.get_service(Id=made["Id"])["Service"]["DnsConfig"]["DnsRecords"] == [{"Type": "A", "TTL": 5}]
    with refused("InvalidInput", "AWS_INSTANCE_IPV4"):
        cloud_map.register_instance(ServiceId=made["Id"], InstanceId="i", Attributes={"a": "b"})
    # What an instance is found with; CNAME needs weighted routing.
    with refused("InvalidInput", "CNAME"):
        cloud_map.create_service(
            Name="other", NamespaceId=namespace,
            DnsConfig={"DnsRecords": [{"Type": "CNAME", "TTL": 1}], "RoutingPolicy": "MULTIVALUE"},
        )  # fmt: skip


def test_services_that_are_refused(cloud_map, loose, namespace, service):
    with refused("ServiceAlreadyExists", "cart"):
        cloud_map.create_service(Name="cart", NamespaceId=namespace)
    with refused("NamespaceNotFound", "ns-nothing"):
        cloud_map.create_service(Name="other", NamespaceId="ns-nothing")
    for name in ("with space", "-a", "a" * 128):
        with refused("InvalidInput"):
            loose.create_service(Name=name, NamespaceId=namespace)
    with refused("InvalidInput", "[Nn]amespaceId"):
        cloud_map.create_service(Name="other")
    many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    with refused("TooManyTagsException"):
        cloud_map.create_service(Name="other", NamespaceId=namespace, Tags=many)
    with refused("InvalidInput"):
        cloud_map.update_service(Id=service, Service={"Description": "x" * 1025})
    for operation in (loose.get_service, loose.delete_service):
        with refused("InvalidInput"):
            operation()
    register(cloud_map, service, "one")
    with refused("ResourceInUse", service):
        cloud_map.delete_service(Id=service)


def test_pages_and_filters_of_services(cloud_map, loose, namespace):
    other = create(cloud_map, "other")
    for name in ("a", "b", "c"):
        cloud_map.create_service(Name=name, NamespaceId=namespace)
    cloud_map.create_service(Name="a", NamespaceId=other)
    anothers = cloud_map.list_operations(MaxResults=1)["NextToken"]
    check_pages(cloud_map, loose, "list_services", "Services", anothers)
    mine = [{"Name": "NAMESPACE_ID", "Values": [other], "Condition": "EQ"}]
    assert [found["Name"] for found in cloud_map.list_services(Filters=mine)["Services"]] == ["a"]
    with refused("InvalidInput"):
        cloud_map.list_services(Filters=[{"Name": "NAMESPACE_ID", "Values": [other], "Condition": "BETWEEN"}])


def test_attributes_of_a_service(cloud_map, loose, service):
    cloud_map.update_service_attributes(ServiceId=service, Attributes={"a": "1", "b": "2"})
    cloud_map.update_service_attributes(ServiceId=service, Attributes={"b": "3"})
    told = cloud_map.get_service_attributes(ServiceId=service)["ServiceAttributes"]
    assert told["Attributes"] == {"a": "1", "b": "3"} and told["ServiceArn"].endswith(service)
    cloud_map.delete_service_attributes(ServiceId=service, Attributes=["a", "nothing"])
    assert cloud_map.get_service_attributes(ServiceId=service)["ServiceAttributes"]["Attributes"] == {"b": "3"}
    with refused("ServiceAttributesLimitExceededException"):
        cloud_map.update_service_attributes(ServiceId=service, Attributes={f"k{n}": "" for n in range(30)})
    for operation, attributes in (
        (loose.update_service_attributes, {"Attributes": {"a": "b"}}),
        (loose.delete_service_attributes, {"Attributes": ["a"]}),
        (loose.get_service_attributes, {}),
    ):
        with refused("ServiceNotFound", "srv-nothing"):
            operation(ServiceId="srv-nothing", **attributes)
        with refused("InvalidInput"):
            operation(**attributes)


def test_instances(cloud_map, loose, service):
    first = cloud_map.register_instance(
        ServiceId=service,
        InstanceId="one",
        CreatorRequestId="c1",
        Attributes={"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80", "colour": "red"},
    )
    assert done(cloud_map, first)["Type"] == "REGISTER_INSTANCE"
    again = cloud_map.register_instance(
        ServiceId=service,
        InstanceId="one",
        CreatorRequestId="c1",
        Attributes={"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80", "colour": "red"},
    )
    assert again["OperationId"] == first["OperationId"]
    with refused("DuplicateRequest"):
        cloud_map.register_instance(ServiceId=service, InstanceId="two", CreatorRequestId="c1", Attributes={"a": "b"})
    told = cloud_map.get_instance(ServiceId=service, InstanceId="one")["Instance"]
    assert told["Id"] == "one" and told["CreatorRequestId"] == "c1"
    assert told["Attributes"] == {"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80", "colour": "red"}

    register(cloud_map, service, "two", AWS_INIT_HEALTH_STATUS="UNHEALTHY", colour="blue")
    health = cloud_map.get_instances_health_status(ServiceId=service)["Status"]
    assert health == {"one": "HEALTHY", "two": "UNHEALTHY"}
    cloud_map.update_instance_custom_health_status(ServiceId=service, InstanceId="two", Status="HEALTHY")
    one = cloud_map.get_instances_health_status(ServiceId=service, Instances=["two"])["Status"]
    assert one == {"two": "HEALTHY"}

    operation = done(cloud_map, cloud_map.deregister_instance(ServiceId=service, InstanceId="two"))
    assert operation["Type"] == "DEREGISTER_INSTANCE"
    for operation, arguments in (
        (cloud_map.get_instance, {"InstanceId": "two"}),
        (cloud_map.deregister_instance, {"InstanceId": "two"}),
        (cloud_map.get_instances_health_status, {"Instances": ["two"]}),
        (cloud_map.update_instance_custom_health_status, {"InstanceId": "two", "Status": "HEALTHY"}),
    ):
        with refused("InstanceNotFound", "two"):
            operation(ServiceId=service, **arguments)
        with refused("ServiceNotFound", "srv-nothing"):
            operation(ServiceId="srv-nothing", **arguments)
    for operation in (
        loose.get_instance,
        loose.deregister_instance,
        loose.get_instances_health_status,
        loose.update_instance_custom_health_status,
        loose.register_instance,
        loose.list_instances,
    ):
        with refused("InvalidInput"):
            operation()
    with refused("InvalidInput", "Status|status"):
        loose.update_instance_custom_health_status(ServiceId=service, InstanceId="one", Status="SLEEPY")
    with refused("ServiceNotFound"):
        register(cloud_map, "srv-nothing", "one")
    with refused("ServiceNotFound"):
        cloud_map.list_instances(ServiceId="srv-nothing")
    for attributes in ({"AWS_INSTANCE_PORT": "0"}, {"AWS_INSTANCE_IPV4": "ten"}, {"AWS_INIT_HEALTH_STATUS": "x"}):
        with refused("InvalidInput"):
            cloud_map.register_instance(ServiceId=service, InstanceId="x", Attributes=attributes)
    with refused("InvalidInput"):
        loose.register_instance(ServiceId=service, InstanceId="with space", Attributes={"a": "b"})


def test_health_is_not_said_of_a_service_without_a_check(cloud_map, namespace):
    plain = cloud_map.create_service(Name="plain", NamespaceId=namespace)["Service"]["Id"]
    register(cloud_map, plain, "one")
    with refused("CustomHealthNotFound"):
        cloud_map.update_instance_custom_health_status(ServiceId=plain, InstanceId="one", Status="HEALTHY")


def test_pages_of_instances_and_of_their_health(cloud_map, loose, service):
    for instance in ("a", "b", "c"):
        register(cloud_map, service, instance)
    anothers = cloud_map.list_operations(MaxResults=1)["NextToken"]
    check_pages(cloud_map, loose, "list_instances", "Instances", anothers, ServiceId=service)
    found, token = {}, {}
    for _ in range(3):
        page = cloud_map.get_instances_health_status(ServiceId=service, MaxResults=1, **token)
        assert len(page["Status"]) == 1
        found |= page["Status"]
        token = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert token is None and found == {"a": "HEALTHY", "b": "HEALTHY", "c": "HEALTHY"}
    with refused("InvalidInput", "NextToken"):
        cloud_map.get_instances_health_status(ServiceId=service, NextToken=anothers)


def test_discovery(cloud_map, loose, service):
    names = {"NamespaceName": "shop", "ServiceName": "cart"}
    empty = cloud_map.discover_instances(**names)
    assert empty["Instances"] == []
    register(cloud_map, service, "one", AWS_INSTANCE_IPV4="10.0.0.1", colour="red")
    register(cloud_map, service, "two", AWS_INSTANCE_IPV4="10.0.0.2", colour="blue")
    register(cloud_map, service, "three", AWS_INSTANCE_IPV4="10.0.0.3", colour="blue", AWS_INIT_HEALTH_STATUS="UNHEALTHY")

    def found(**arguments):
        return {one["InstanceId"] for one in cloud_map.discover_instances(**names, **arguments)["Instances"]}

    whole = cloud_map.discover_instances(**names, HealthStatus="ALL")
    assert whole["InstancesRevision"] > empty["InstancesRevision"]
    assert cloud_map.discover_instances_revision(**names)["InstancesRevision"] == whole["InstancesRevision"]
    one = next(one for one in whole["Instances"] if one["InstanceId"] == "one")
    assert (one["NamespaceName"], one["ServiceName"], one["HealthStatus"]) == ("shop", "cart", "HEALTHY")
    assert one["Attributes"] == {"AWS_INSTANCE_IPV4": "10.0.0.1", "colour": "red"}
    assert found(HealthStatus="ALL") == {"one", "two", "three"}
    assert found(HealthStatus="HEALTHY") == {"one", "two"} == found()
    assert found(HealthStatus="UNHEALTHY") == {"three"}
    assert found(QueryParameters={"colour": "blue"}, HealthStatus="ALL") == {"two", "three"}
    assert found(OptionalParameters={"colour": "green"}) == {"one", "two"}
    assert found(OptionalParameters={"colour": "red"}) == {"one"}
    assert len(found(MaxResults=1)) == 1
    for operation in (loose.discover_instances, loose.discover_instances_revision):
        with refused("NamespaceNotFound", "nothing"):
            operation(NamespaceName="nothing", ServiceName="cart")
        with refused("ServiceNotFound", "nothing"):
            operation(NamespaceName="shop", ServiceName="nothing")
        with refused("InvalidInput"):
            operation(NamespaceName="shop")
        with refused("InvalidInput", "OwnerAccount"):
            operation(**names, OwnerAccount="111111111111")
    with refused("InvalidInput", "maxResults"):
        loose.discover_instances(**names, MaxResults=1001)


def test_operations(cloud_map, loose, service):
    for instance in ("a", "b", "c"):
        register(cloud_map, service, instance)
    create(cloud_map, "other")
    anothers = cloud_map.list_namespaces(MaxResults=1)["NextToken"]
    check_pages(cloud_map, loose, "list_operations", "Operations", anothers)

    def found(name, condition, *values):
        filters = [{"Name": name, "Values": list(values), "Condition": condition}]
        return len(cloud_map.list_operations(Filters=filters)["Operations"])

    assert found("SERVICE_ID", "EQ", service) == 3
    assert found("TYPE", "IN", "CREATE_NAMESPACE", "DELETE_NAMESPACE") == 2
    assert found("STATUS", "EQ", "SUCCESS") == 5 and found("STATUS", "EQ", "FAIL") == 0
    now = time.time()
    assert found("UPDATE_DATE", "BETWEEN", str(now - 60), str(now + 60)) == 5
    assert found("UPDATE_DATE", "BETWEEN", "0", "1") == 0
    with refused("InvalidInput"):
        found("UPDATE_DATE", "EQ", "0")
    with refused("OperationNotFound", "nothing"):
        cloud_map.get_operation(OperationId="nothing")
    with refused("InvalidInput"):
        loose.get_operation()


def test_tags(cloud_map, loose, service):
    arn = cloud_map.get_service(Id=service)["Service"]["Arn"]
    cloud_map.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    cloud_map.tag_resource(ResourceARN=arn, Tags=[{"Key": "b", "Value": "3"}])
    cloud_map.untag_resource(ResourceARN=arn, TagKeys=["a", "nothing"])
    assert cloud_map.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "3"}]
    with refused("TooManyTagsException"):
        cloud_map.tag_resource(ResourceARN=arn, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    nothing = arn + "-nothing"
    for operation, arguments in (
        (loose.tag_resource, {"Tags": [{"Key": "a", "Value": "1"}]}),
        (loose.untag_resource, {"TagKeys": ["a"]}),
        (loose.list_tags_for_resource, {}),
    ):
        with refused("ResourceNotFoundException", "nothing"):
            operation(ResourceARN=nothing, **arguments)
        with refused("InvalidInput"):
            operation(**arguments)
    with refused("InvalidInput", "aws:"):
        cloud_map.tag_resource(ResourceARN=arn, Tags=[{"Key": "aws:a", "Value": "1"}])
