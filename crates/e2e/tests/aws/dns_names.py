"""What the DNS test asks for, by boto3: `dns_names.py ENDPOINT make|break|mend`, or `time DNS-PORT SERVICES`."""

import json
import random
import socket
import statistics
import struct
import sys
import time

import boto3
from botocore.config import Config

ENDPOINT, COMMAND = sys.argv[1:3]
CLIENT = boto3.client(
    "servicediscovery",
    endpoint_url=ENDPOINT,
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
    config=Config(inject_host_prefix=False),
)


def namespace(name):
    started = CLIENT.create_private_dns_namespace(Name=name, Vpc="vpc-1")
    return CLIENT.get_operation(OperationId=started["OperationId"])["Operation"]["Targets"]["NAMESPACE"]


def service(of, name, records, policy="MULTIVALUE", custom=False):
    config = {"RoutingPolicy": policy, "DnsRecords": [{"Type": kind, "TTL": ttl} for kind, ttl in records]}
    health = {"HealthCheckCustomConfig": {"FailureThreshold": 1}} if custom else {}
    return CLIENT.create_service(Name=name, NamespaceId=of, DnsConfig=config, **health)["Service"]["Id"]


def register(of, instance, **attributes):
    CLIENT.register_instance(ServiceId=of, InstanceId=instance, Attributes=attributes)


def make():
    shop = namespace("shop.internal")
    api = service(shop, "api", [("A", 10), ("AAAA", 20)], custom=True)
    register(api, "one", AWS_INSTANCE_IPV4="10.1.0.1", AWS_INSTANCE_IPV6="fd00::1")
    register(api, "two", AWS_INSTANCE_IPV4="10.1.0.2", AWS_INSTANCE_IPV6="fd00::2")
    database = service(shop, "db", [("SRV", 30)])
    for number in range(8):
        name = f"instance-{number}-{'x' * 40}"
        register(database, name, AWS_INSTANCE_IPV4=f"10.2.0.{number}", AWS_INSTANCE_PORT="5432")
    # As on AWS: more than one value is for A, AAAA and SRV.
    outside = service(shop, "www", [("CNAME", 40)], policy="WEIGHTED")
    register(outside, "there", AWS_INSTANCE_CNAME="api.shop.internal")
    print(json.dumps({"api": api}))


def health(status):
    services = CLIENT.list_services()["Services"]
    api = next(found["Id"] for found in services if found["Name"] == "api")
    CLIENT.update_instance_custom_health_status(ServiceId=api, InstanceId="one", Status=status)


def has_answer(port, name):
    """Whether DNS has an address of `name`."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(2)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    number = random.randrange(65536)
    asker.sendto(struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1), ("127.0.0.1", port))
    answer = asker.recv(1500)
    assert answer[:2] == struct.pack("!H", number)
    return struct.unpack("!H", answer[6:8])[0] > 0


def measure():
    """Milliseconds from a registration's answer to its name in DNS and in DiscoverInstances: the median of eleven."""
    port, many = int(sys.argv[3]), int(sys.argv[4])
    big = namespace("big.internal")
    ids = [service(big, f"service-{number}", [("A", 5)]) for number in range(many)]
    times = {"dns": [], "discover": []}
    for number in random.sample(range(many), 11):
        name = f"service-{number}"
        register(ids[number], "one", AWS_INSTANCE_IPV4="10.9.0.1")
        done = time.monotonic()
        seen = {
            "dns": lambda name=name: has_answer(port, f"{name}.big.internal"),
            "discover": lambda name=name: CLIENT.discover_instances(NamespaceName="big.internal", ServiceName=name)["Instances"],
        }
        for where, is_seen in seen.items():
            while not is_seen():
                assert time.monotonic() - done < 10, f"{name} never came to {where}"
                # Who asks all the while is not answered any more.
                time.sleep(0.001)
            times[where].append(round((time.monotonic() - done) * 1000))
    # Not the worst: this is of the server, and a busy machine may let it wait for longer than that.
    print(json.dumps({where: statistics.median(of) for where, of in times.items()}))


match COMMAND:
    case "make":
        make()
    case "break":
        health("UNHEALTHY")
    case "mend":
        health("HEALTHY")
    case "time":
        measure()
