"""Write requests: built from proto/ by protoc and python3-protobuf, and by hand where a scenario
needs bytes that no library would write."""

import importlib
import os
import struct
import subprocess
import sys
import time

import snappy

STALE_BITS = 0x7FF0000000000002  # the NaN by which Prometheus says that a series has ended
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]

_HERE = os.path.dirname(os.path.abspath(__file__))
_PROTO = os.path.normpath(os.path.join(_HERE, "..", "..", "..", "proto"))

remote = None  # the generated modules
types = None
read = None


def compile_protos(directory):
    """Generate Python from proto/ and from the test's own read.proto into the directory."""
    global remote, types, read
    sources = [os.path.join(_PROTO, name) for name in os.listdir(_PROTO) if name.endswith(".proto")]
    sources.append(os.path.join(_HERE, "remote_read.proto"))
    subprocess.run(["protoc", f"-I{_PROTO}", f"-I{_HERE}", f"--python_out={directory}", *sources],
                   check=True)
    sys.path.insert(0, str(directory))
    types = importlib.import_module("types_pb2")
    remote = importlib.import_module("remote_pb2")
    read = importlib.import_module("remote_read_pb2")


def now_ms():
    return int(time.time() * 1000)


def series(name, *values, start_ms=1_700_000_000_000, step_ms=1000, **labels):
    """A series with one sample per value, sorted labels, evenly spaced times."""
    one = types.TimeSeries()
    add_labels(one, __name__=name, **labels)
    for position, value in enumerate(values):
        one.samples.add(value=value, timestamp=start_ms + position * step_ms)
    return one


def add_labels(message, **labels):
    for name in sorted(labels):
        message.labels.add(name=name, value=labels[name])


def write_request(*series_list, metadata=()):
    """The encoded WriteRequest with these series."""
    request = remote.WriteRequest(timeseries=series_list, metadata=metadata)
    return request.SerializeToString()


def body(*series_list, **options):
    """The same, compressed, as it goes over the wire."""
    return snappy.compress(write_request(*series_list, **options))


def parse(decoded):
    return remote.WriteRequest.FromString(decoded)


def names(request):
    """The metric names of a WriteRequest, series by series."""
    return [{label.name: label.value for label in one.labels}["__name__"]
            for one in request.timeseries]


def float_bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def integer_histogram(timestamp_ms, observations=11):
    """A native histogram with integer buckets, valid in the eyes of Prometheus 2.42."""
    return types.Histogram(
        count_int=observations, sum=18.5, schema=1, zero_threshold=0.001, zero_count_int=2,
        negative_spans=[types.BucketSpan(offset=0, length=2)], negative_deltas=[1, 1],
        positive_spans=[types.BucketSpan(offset=0, length=2), types.BucketSpan(offset=1, length=2)],
        positive_deltas=[1, 1, -1, 1], timestamp=timestamp_ms)  # 1+2 below zero, 1+2+1+2 above


def float_histogram(timestamp_ms):
    """The same with float buckets."""
    return types.Histogram(
        count_float=11.5, sum=18.5, schema=1, zero_threshold=0.001, zero_count_float=2.5,
        negative_spans=[types.BucketSpan(offset=0, length=2)], negative_counts=[1, 2],
        positive_spans=[types.BucketSpan(offset=0, length=2), types.BucketSpan(offset=1, length=2)],
        positive_counts=[1, 2, 1, 2], timestamp=timestamp_ms)


# By hand: the protobuf and snappy encodings in a few lines each.

def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field_bytes(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def field_varint(number, value):
    return varint(number << 3) + varint(value)


def field_fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def field_fixed32(number, value):
    return varint(number << 3 | 5) + struct.pack("<I", value)


def literal_block(data):
    """A snappy block of literals only: nothing is compressed."""
    pieces = [varint(len(data))]
    for at in range(0, len(data), 65536):
        piece = data[at:at + 65536]
        pieces += [bytes([61 << 2]), struct.pack("<H", len(piece) - 1), piece]
    return b"".join(pieces)
