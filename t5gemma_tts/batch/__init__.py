"""Speech for all rows of a dataset, in shards that can be killed and go on, here or over the machines of Ray."""
