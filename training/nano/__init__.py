"""The small voice `nano`: its corpus of synthetic speech, and the stages that make a checkpoint of it."""
