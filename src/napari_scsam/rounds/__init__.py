"""Rounds and tunings: started as child processes, watched, estimated, and chosen among."""
