"""`python -m infra.engines.qdrant.indexing FOLDER PARENT`: build the index of a copy of a shard.

The engine holds the interpreter's lock while it builds, for seconds to minutes; in the serving
process nothing would be answered meanwhile. So a process of its own works on a copy.
"""

import os
import sys

import qdrant_edge as engine

from infra.orphans import die_with_parent

NICE = 10  # queries come first


def main(arguments: list[str]) -> int:
    """Return once the shard in the folder is optimal and on disk."""
    die_with_parent()
    os.nice(NICE)
    folder, parent = arguments
    if os.getppid() != int(parent):  # it died before it could take this process along
        return 1
    shard = engine.EdgeShard.load(folder)
    shard.optimize()
    shard.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
