"""Moves the bytes of a fleet's captures between the stages of synscope, on Apache Spark.

`plan` finds the captures and cuts them into ranges, `worker` runs one stage of synscope over Arrow batches, `job` puts
the stages together. Nothing here knows TCP.
"""
