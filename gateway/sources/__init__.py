"""Where telemetry comes from: playlists, segments, streams, metrics and logs of the watched platform."""
