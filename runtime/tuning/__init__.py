"""From a profile and a model to a plan of how to run it. Imports hw, formats and models."""
