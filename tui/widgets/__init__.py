"""Widgets: values in by reactives, messages out. None touches the runtime."""
