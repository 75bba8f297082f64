"""Local Ray clusters with several nodes."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

import pytest
from batches import ENVIRONMENT


ray = pytest.importorskip("ray")

NODE_BYTES = 100 << 20  # object store of a node
PATIENCE_SECONDS = 300


@contextlib.contextmanager
def local_cluster(num_nodes: int = 2, cpus: int = 1) -> Iterator:
    """Yields a `Cluster`, connected to this process, whose processes import the same code."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    # otherwise, proxies prefer replicas of their own node, and the tests use only the first node's proxy
    os.environ.update(ENVIRONMENT, RAY_USAGE_STATS_ENABLED="0", RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING="0")
    node = {"num_cpus": cpus, "object_store_memory": NODE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(num_nodes - 1):
            cluster.add_node(**node)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        if "ray.serve" in sys.modules:  # Ray Serve keeps state of the cluster after the connection is closed
            sys.modules["ray.serve"].shutdown()
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def actors(name: str) -> dict[int, str]:
    """Returns process id and node of each live actor of a class."""
    from ray.util.state import list_actors

    alive = list_actors(filters=[("state", "=", "ALIVE")])
    return {actor.pid: actor.node_id for actor in alive if name in actor.class_name}


def wait_for(condition, what: str):
    """Waits until `condition()` is true and returns its value."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.2)
    return found
