#!/usr/bin/python3
# components PSQL QUERY: connected components of a query's edges, two columns of bigint, by psql, numpy and scipy.
#
# Prints how many milliseconds it took, without the start of Python, and how many components there are.
import subprocess
import sys
import time

import numpy
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

start = time.time()
command = [sys.argv[1], "-X", "-q", "-c", "COPY (%s) TO STDOUT (FORMAT binary)" % sys.argv[2]]
raw = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
# a header of 19 bytes; rows of a count and two columns, each a length and 8 bytes; an end of 2
rows = numpy.frombuffer(raw, dtype=numpy.dtype([("n", ">i2"), ("la", ">i4"), ("a", ">i8"), ("lb", ">i4"), ("b", ">i8")]),
                        count=(len(raw) - 21) // 26, offset=19)
nodes, ends = numpy.unique(numpy.concatenate([rows["a"].astype(numpy.int64), rows["b"].astype(numpy.int64)]), return_inverse=True)
ones = numpy.ones(len(rows), dtype=numpy.int8)
graph = coo_matrix((ones, (ends[:len(rows)], ends[len(rows):])), shape=(len(nodes), len(nodes)))
n, labels = connected_components(graph, directed=False)
print(int((time.time() - start) * 1000), n)
