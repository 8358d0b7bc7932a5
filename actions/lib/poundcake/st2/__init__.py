"""StackStorm: its API, the rows in its datastore, its triggers and executions."""
