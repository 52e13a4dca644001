"""A server process that feeds SavedModels as TensorFlow Serving does, for tests.

It runs signatures in a session by the names of tensors, as the server's C++ does, and
without the check of shapes that Python's sessions and functions have before it. It
knows TensorFlow alone. Requests come and answers go as pickles, by pipes.
"""

import os
import pickle
import subprocess
import sys


class RefusedError(Exception):
    """What TensorFlow says of a request: the name of its error, and the message."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind
        # Without where in the graph it was noticed.
        self.message = message.partition("\n")[0]


def words(message):
    """A message without what TensorFlow's assertions put around it."""
    asserted = message.removeprefix("assertion failed: ")
    if asserted == message:
        return message
    text, *data = asserted.strip("[]").split("] [")
    return " ".join([text.strip(), *(f"[{part}]" for part in data)])


class Server:
    """A process that serves folders of SavedModels, by names; a context manager.

    Args:
        folders: {name: folder}.
        optimise: Whether TensorFlow's graph optimiser may do all that it can, and
            drop assertions.
    """

    def __init__(self, folders, optimise=False):
        arguments = [f"{name}={folder}" for name, folder in folders.items()]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), str(int(optimise)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def ask(self, model, signature, values):
        """The outputs of a signature for an array, by name.

        Raises:
            EOFError: The process has ended.
            RefusedError: The request failed.
        """
        try:
            pickle.dump((model, signature, values), self.process.stdin)
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise EOFError("the process has ended") from error
        outputs, refusal = pickle.load(self.process.stdout)
        if refusal is not None:
            raise RefusedError(*refusal)
        return outputs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def serve(folders, optimise):
    import tensorflow as tf
    from tensorflow.core.protobuf import rewriter_config_pb2

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between
    config = tf.compat.v1.ConfigProto()
    if optimise:
        rewrites = config.graph_options.rewrite_options
        for name in ("constant_folding", "shape_optimization", "debug_stripper"):
            setattr(rewrites, name, rewriter_config_pb2.RewriterConfig.AGGRESSIVE)
        for name in ("remapping", "dependency_optimization", "function_optimization"):
            setattr(rewrites, name, rewriter_config_pb2.RewriterConfig.AGGRESSIVE)
    signatures = {}
    for name, folder in folders.items():
        session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with session.graph.as_default():
            graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        session._extend_graph()
        signatures[name] = session, graph.signature_def
    while True:
        try:
            model, signature, values = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = run(*signatures[model], signature, values), None
        except tf.errors.OpError as error:
            answer = None, (type(error).__name__, error.message)
        pickle.dump(answer, answers)
        answers.flush()


def run(session, signature_def, signature, values):
    definition = signature_def[signature]

    def point(info):
        return session.graph.get_tensor_by_name(info.name)._as_tf_output()

    (fed,) = (point(info) for info in definition.inputs.values())
    fetched = [point(info) for info in definition.outputs.values()]
    results = session._call_tf_sessionrun(None, {fed: values}, fetched, [], None)
    return dict(zip(definition.outputs, results, strict=True))


if __name__ == "__main__":
    optimise, *named = sys.argv[1:]
    serve(dict(argument.split("=", 1) for argument in named), optimise == "1")
