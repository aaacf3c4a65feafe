import warnings
from collections.abc import Iterator

import pytest

from tests.cluster.nodes import RayCluster, cluster


@pytest.fixture(scope="module")  # and no longer: an idle cluster takes its part of the processor
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with cluster(tmp_path_factory.mktemp("ray")) as made:
        if made.network == "loopback":
            warnings.warn("no network namespaces here: all nodes of the cluster are on 127.0.0.1", stacklevel=1)
        yield made
