"""Who runs, and on which bytes. Imports engines, tuning and models."""
