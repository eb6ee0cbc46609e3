"""Run by the python of an environment with ray: a cluster of two nodes here, then the demo on it.

python cluster.py WORDS...   words of `gossamer fleet demo`
"""

from __future__ import annotations

import sys

import ray
from ray.cluster_utils import Cluster

from gossamer import cli

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    print(f"ray {ray.__version__}: a cluster is up", flush=True)
    status = cli.main(["fleet", "--ray", cluster.address, "demo", *sys.argv[1:]])
    ray.shutdown()
    cluster.shutdown()
    sys.exit(status)
