"""Reference language models small enough to train on two cores, with the tasks and scripts they come from."""
