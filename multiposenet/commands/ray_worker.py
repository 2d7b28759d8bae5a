"""What each worker of `infer.py --engine ray` does: one model, block after block of pictures."""

import json
import os
from pathlib import PurePath

import cv2
import numpy as np

from multiposenet.commands.common import quiet_tensorflow
from multiposenet.data.sources import read_source
from multiposenet.engines import load_engine
from multiposenet.errors import UserError
from multiposenet.prediction import Predictor


class Worker:
    """One model in a process of its own, for Ray Data's `map_batches` with one block a batch.

    Args:
        weights: path of a file that `load_engine` opens.
        config: `PredictConfig`.
        threads: that the worker may use, so that all together do not ask for more cores than there are.
    """

    def __init__(self, weights, config, threads):
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ[name] = str(threads)  # Keras' backends read them when they are imported
        cv2.setNumThreads(threads)
        with quiet_tensorflow():
            self.predictor = Predictor(load_engine(weights, threads=threads), config)

    def __call__(self, batch):
        """Find the people of one block.

        Args:
            batch: dict of `block`, (1,) its number, and `pictures`, (1,) JSON of ids and sources.

        Returns:
            Dict of `block` and `found`, (1,) JSON of records and report, see `Parts.save`.
        """
        found = self.find(*json.loads(batch["pictures"][0]))
        return {"block": batch["block"], "found": np.array([json.dumps(found)], object)}

    def find(self, ids, sources):
        """Records as `infer.py` writes them with the source as `path`, and the report."""
        records, people, skipped = [], 0, []
        for number, source in zip(ids, sources):
            try:
                found = self.predictor.predict(read_source(source))
            except UserError as error:
                skipped.append(dict(path=source, reason=str(error)))
                continue
            people += sum(person.box_score >= self.predictor.config.score_threshold for person in found)
            records += [person.as_coco(number, PurePath(source).name) | {"path": source} for person in found]
        return records, dict(people=people, skipped=skipped)
