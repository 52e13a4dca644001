"""The last lines of a training."""

from records import write_run
from scalenet_training.runs.summary import describe_end


def test_the_next_commands_can_be_pasted_for_a_folder_with_a_dash(here):
    told = describe_end(write_run("-d", (0.5,)))
    assert " ./-d --report ./-d/report" in told
    assert " ./-d --name d" in told
    assert told.endswith(" IMAGE --model ./-d")
