"""A strict receiver of OTLP: everything that comes must be as the protocol says, or it is refused and told.

    otlp_receiver.py grpc|http PORT

Writes a line of JSON for each message: what was in it, or what is wrong with it. The messages are OpenTelemetry's own
(the package opentelemetry-proto), and members that it does not know are wrong too.
"""

import concurrent.futures
import gzip
import http.server
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


def tell(**line):
    # One write: several threads tell.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def attributes(found):
    keys = [attribute.key for attribute in found]
    check(all(keys) and len(set(keys)) == len(keys), f"attributes are not there once each: {keys}")
    told = {}
    for attribute in found:
        kind = attribute.value.WhichOneof("value")
        check(kind in ("string_value", "int_value", "bool_value", "double_value"), f"{attribute.key} has no value")
        told[attribute.key] = getattr(attribute.value, kind)
    return told


def resource(of):
    told = attributes(of.resource.attributes)
    check(told.get("service.name"), f"no service.name: {told}")
    check(told.get("service.instance.id"), f"no service.instance.id: {told}")
    return told


def no_unknown(message, data):
    """Serialized again it has as many bytes: nothing was left out as unknown."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    check(copy.ByteSize() == message.ByteSize(), "there are members that OTLP does not have")
    check(data is None or message.ByteSize() == len(data), "it is not written as protocol buffers are")


def traces(message, data=None):
    no_unknown(message, data)
    count, services = 0, set()
    for of in message.resource_spans:
        services.add(resource(of)["service.name"])
        for scope in of.scope_spans:
            check(scope.scope.name, "a scope has no name")
            for span in scope.spans:
                check(len(span.trace_id) == 16 and any(span.trace_id), "a trace's id is none")
                check(len(span.span_id) == 8 and any(span.span_id), "a span's id is none")
                check(len(span.parent_span_id) in (0, 8), "a parent's id is none")
                check(span.name, "a span has no name")
                check(span.kind in (trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_CLIENT), "a span's kind")
                check(10**18 < span.start_time_unix_nano <= span.end_time_unix_nano, "a span's times")
                for event in span.events:
                    check(event.name and event.time_unix_nano >= span.start_time_unix_nano, "an event")
                    attributes(event.attributes)
                told = attributes(span.attributes)
                if "http.request.method" in told and span.status.code != trace_pb2.Status.STATUS_CODE_ERROR:
                    check(isinstance(told["http.response.status_code"], int), f"no status: {told}")
                check(("error.type" in told) == (span.status.code == trace_pb2.Status.STATUS_CODE_ERROR), "error.type")
                count += 1
    tell(spans=count, services=sorted(services))
    return trace_service_pb2.ExportTraceServiceResponse()


def metrics(message, data=None):
    no_unknown(message, data)
    requests, names = 0, set()
    for of in message.resource_metrics:
        resource(of)
        for scope in of.scope_metrics:
            check(scope.scope.name, "a scope has no name")
            for metric in scope.metrics:
                check(metric.name and metric.name not in names or len(message.resource_metrics) > 1, "a name, once")
                names.add(metric.name)
                kind = metric.WhichOneof("data")
                check(kind in ("sum", "gauge", "exponential_histogram"), f"{metric.name} is {kind}")
                data_of = getattr(metric, kind)
                if kind != "gauge":
                    check(
                        data_of.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE,
                        f"{metric.name} is not cumulative",
                    )
                check(data_of.data_points, f"{metric.name} has no points")
                sets = [json.dumps(attributes(point.attributes), sort_keys=True) for point in data_of.data_points]
                check(len(set(sets)) == len(sets), f"{metric.name} has two points of the same attributes")
                for point in data_of.data_points:
                    check(0 < point.start_time_unix_nano <= point.time_unix_nano, f"{metric.name}: times")
                    if kind == "exponential_histogram":
                        buckets = sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
                        check(point.count == point.zero_count + buckets > 0, f"{metric.name}: counts")
                        check(point.min <= point.sum / point.count <= point.max, f"{metric.name}: mean")
                        base = 2 ** (2**-point.scale)
                        last = point.positive.offset + len(point.positive.bucket_counts)
                        check(point.max <= base**last * 1.000001, f"{metric.name}: the greatest is in no bucket")
                    else:
                        check(point.WhichOneof("value") in ("as_int", "as_double"), f"{metric.name}: no value")
                if metric.name == "bowline.requests":
                    requests += sum(point.as_int for point in data_of.data_points)
    tell(metrics=sorted(names), requests=requests)
    return metrics_service_pb2.ExportMetricsServiceResponse()


KINDS = {
    "/v1/traces": (trace_service_pb2.ExportTraceServiceRequest, traces),
    "/v1/metrics": (metrics_service_pb2.ExportMetricsServiceRequest, metrics),
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": (
        trace_service_pb2.ExportTraceServiceRequest,
        traces,
    ),
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics,
    ),
}


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = self.rfile.read(int(self.headers["content-length"]))
        kind, content_type = KINDS.get(self.path), self.headers["content-type"]
        try:
            check(kind, f"there is no {self.path}")
            if self.headers["content-encoding"] == "gzip":
                data = gzip.decompress(data)
            is_json = content_type == "application/json"
            check(is_json or content_type == "application/x-protobuf", f"it is {content_type}")
            if is_json:
                # Ids are hexadecimal in OTLP's JSON, where protocol buffers' own JSON has base64.
                message = json_format.ParseDict(_base64_ids(json.loads(data)), kind[0]())
            else:
                message = kind[0].FromString(data)
            answer = kind[1](message, None if is_json else data)
            body = json_format.MessageToJson(answer).encode() if is_json else answer.SerializeToString()
            self.send_response(200)
        except Exception as error:
            tell(wrong=repr(error))
            body = b""
            self.send_response(400)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def _base64_ids(value):
    import base64

    if isinstance(value, dict):
        return {
            name: base64.b64encode(bytes.fromhex(member)).decode()
            if name in ("traceId", "spanId", "parentSpanId")
            else _base64_ids(member)
            for name, member in value.items()
        }
    return [_base64_ids(item) for item in value] if isinstance(value, list) else value


def serve_grpc(port):
    import grpc

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            kind = KINDS.get(details.method)
            if kind is None:
                return None

            def answer(data, context):
                try:
                    return kind[1](kind[0].FromString(data), data)
                except Exception as error:
                    tell(wrong=repr(error))
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "it is not as it should be")

            return grpc.unary_unary_rpc_method_handler(answer, response_serializer=lambda message: message.SerializeToString())

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Handler(),))
    check(server.add_insecure_port(f"127.0.0.1:{port}") == port, "the port is in use")
    server.start()
    tell(listening=port)
    server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "grpc":
        serve_grpc(int(sys.argv[2]))
    else:
        with http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver) as server:
            tell(listening=int(sys.argv[2]))
            server.serve_forever()
