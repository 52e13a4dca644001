"""Trains as its JSON argument says and leaves the numbers in .npz files.

For tests that compare processes: each has its own devices, or is a worker of several.
Argument: a list of jobs {"config", "workdir", "output", "float64",
"freeze_batch_norm", "inspected", "signal": [name, worker, step]}; the signal is sent
to the process itself before that step.
"""

import functools
import json
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf
from scalenet_training.cli import running
from scalenet_training.devices import placement as distribution
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train import loop, plan
from scalenet_training.train.interruption import StopRequest

COLLECTIVES = ("Collective", "Nccl", "AllReduce")


def main():
    open_placement = distribution.open_placement
    placements = {}

    def opened_once(*arguments):
        # A process joins a cluster once.
        if arguments not in placements:
            placements[arguments] = open_placement(*arguments)
        return placements[arguments]

    distribution.open_placement = opened_once
    for job in json.loads(sys.argv[1]):
        running.run(functools.partial(run, job))


def run(job):
    floatx = "float64" if job.get("float64") else "float32"
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    config = TrainConfig(**{**job["config"], "milestones": (0.5, 0.75)})
    prepared = plan.prepare(config)
    if job.get("freeze_batch_norm"):
        for layer in prepared.learner.model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    with StopRequest() as stop, distribution.lost_workers(prepared.placement):
        train(job, prepared, stop)


def train(job, prepared, stop):
    losses, inspected, trainers = [], {}, []
    make_train_step = loop.make_train_step

    def make_noted(*arguments):  # once, or again where more layers begin to train
        step = make_train_step(*arguments)

        def noted(batch, stop):
            if job.get("inspected") and not losses:
                inspected.update(inspect(step.traced, batch))
            name, worker, moment = job.get("signal") or (None, None, None)
            if trainers[0].state.step == moment and prepared.placement.worker == worker:
                os.kill(os.getpid(), signal.Signals[name])
            report = step(batch, stop)
            losses.append(report.sums.numpy()[0])
            return report

        return noted

    loop.make_train_step = make_noted
    try:
        trainers.append(loop.Trainer(prepared, RunFolder(job["workdir"]), stop))
        row = trainers[0].run()
    finally:
        loop.make_train_step = make_train_step
    learner = prepared.learner
    arrays = {f"weight/{v.path}": v.numpy() for v in learner.model.weights}
    # By position: their names count the optimizers of the process.
    late = learner.late.variables if learner.late is not None else []
    slots = enumerate([*learner.optimizer.variables, *late])
    arrays |= {f"slot/{number}": v.numpy() for number, v in slots}
    if learner.average is not None:
        arrays |= {f"average/{v.path}": v.numpy() for v in learner.average.weights}
    del row["images_per_second"]
    if prepared.placement.chief:
        np.savez(
            job["output"],
            losses=losses,
            **{f"row/{name}": value for name, value in row.items()},
            **inspected,
            **{name.replace("/", "|"): value for name, value in arrays.items()},
        )


def inspect(traced, batch):
    """What the traced step holds: compiled functions, and collectives inside them."""
    graph = traced.get_concrete_function(
        batch, tf.constant(0.0, keras.config.floatx())
    ).graph.as_graph_def()
    functions = {f.signature.name: f for f in graph.library.function}

    def called(nodes):
        names = {
            attribute.func.name
            for node in nodes
            for attribute in node.attr.values()
            if attribute.WhichOneof("value") == "func"
        }
        return names & functions.keys()

    def all_operations(name, seen):
        if name in seen:
            return set()
        seen.add(name)
        nodes = functions[name].node_def
        return {node.op for node in nodes}.union(
            *(all_operations(other, seen) for other in called(nodes))
        )

    compiled = [name for name, f in functions.items() if f.attr["_XlaMustCompile"].b]
    inside = set().union(*(all_operations(name, set()) for name in compiled))
    outside = {node.op for node in graph.node}.union(
        *(all_operations(name, set()) for name in functions)
    )
    return {
        "compiled": len(compiled),
        "collectives_inside": count_collectives(inside),
        "collectives": count_collectives(outside),
    }


def count_collectives(operations):
    return sum(op.startswith(COLLECTIVES) for op in operations)


if __name__ == "__main__":
    main()
