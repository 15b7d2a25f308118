"""What TensorBoard's own reader sees in a folder of event files."""

import logging

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

logging.getLogger("tensorboard").setLevel(logging.ERROR)


def read(folder):
    """{tag: [(step, value), ..]} in the reader's order, all of them."""
    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    accumulator.Reload()
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()[SCALARS]}
