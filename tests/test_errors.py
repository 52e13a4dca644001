"""How commands end before their end."""

import pickle
import signal

from scalenet_training.errors import InterruptedRunError
from scalenet_training.train.divergence import DivergedError, diverged


def test_errors_reach_the_process_that_started_another():
    error = InterruptedRunError("stopped by SIGTERM", signal.SIGTERM)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, InterruptedRunError)
    assert (str(copy), copy.exit_code) == ("stopped by SIGTERM", 143)
    error = diverged("the loss became NaN at step 3 of 9", 0.1, None)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, DivergedError)
    assert str(copy) == str(error)
