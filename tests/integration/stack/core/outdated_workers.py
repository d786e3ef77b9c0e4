"""Workers of a release whose states know no messages yet: every message becomes a dead letter."""

import os
import sys

import msgspec

from helix.events import ConversationCompleted, ConversationCreated
from helix.settings import from_env
from helix.topology.model import Store
from runtime.__main__ import work
from runtime.pipelines import PIPELINES

if __name__ == "__main__":
    wanted = [
        msgspec.structs.replace(pipeline, events=ConversationCreated | ConversationCompleted)
        if pipeline.store is Store.POSTGRES
        else pipeline
        for pipeline in PIPELINES
    ]
    sys.exit(work(from_env(os.environ), wanted))  # noqa: TID251 - the composition root
