"""macOS' own libraries, called by ctypes. What is absent gives None; on other systems everything is. Imports hw alone."""
