"""Work on the rows of a dataset in shards, which can be killed and goes on: here, or over the machines of Ray."""
